"""DICE-FER's critics: how much a feature map and a code have in common, globally and at each position."""

import math

import torch
from torch import Tensor, nn

from trainer.methods.objectives.mutual_information import ESTIMATORS, donsker_varadhan, mine
from trainer.methods.settings.dicefer import DiceFerConfig
from trainer.networks.critics import CRITICS, flatten_map, positions
from trainer.runs.distributed import all_gather, all_gather_own_first, local_sizes

NUM_POSITIONS = 16  # of the last map of a 112 px face


class Critics(nn.Module):
    """The global and the local critic of one stage.

    Where they are `gathered`, a process scores its maps with the codes of all processes, and estimates are made of the
    scores of all: as one process would make them of the whole batch. Else each estimates from its share, whose fewer
    negatives lower the ceiling of InfoNCE and raise the bias of Donsker-Varadhan.

    Args:
        channels: of the feature map.
        code_size: length of the code.
        config: the settings.
        global_weight: mu of the stage; 0: information is reported as the local critic finds it.
    """

    def __init__(self, channels: int, code_size: int, config: DiceFerConfig, global_weight: float) -> None:
        super().__init__()
        critic, rest = CRITICS[config.critic], (code_size, config.critic_width, config.negatives)
        self.global_critic = critic(channels * NUM_POSITIONS, *rest)
        self.local_critic = critic(channels, *rest)
        self.gathered = config.gathered
        self.tell_locally = global_weight == 0  # a critic of no weight learns nothing, and finds nothing
        self.register_buffer("whole_average", torch.full((1,), -math.inf))  # MINE's, in log space
        self.register_buffer("local_average", torch.full((NUM_POSITIONS,), -math.inf))

    def forward(self, feature_map: Tensor, codes: Tensor, estimator: str, classes: Tensor) -> dict[str, Tensor]:
        """Return estimates of the information that the map and the code share: globally, and at a mean position.

        `nats` is a lower bound from the global scores, or the local ones where these alone are trained: InfoNCE where
        they were trained by it, else Donsker-Varadhan.
        """
        sizes = local_sizes(len(codes)) if self.gathered else []
        if sizes:
            codes, classes = all_gather_own_first(codes.float(), sizes), all_gather_own_first(classes, sizes)
        whole_scores = _everybodys(self.global_critic(flatten_map(feature_map), codes, classes), sizes)
        local_scores = _everybodys(self.local_critic(positions(feature_map), codes, classes), sizes)
        found = {
            "global": self._estimate(estimator, whole_scores, "whole_average"),
            "local": self._estimate(estimator, local_scores, "local_average"),
        }
        if estimator in ("dv", "nce"):  # bounds themselves
            return found | {"nats": found["local" if self.tell_locally else "global"].detach()}
        told = local_scores if self.tell_locally else whole_scores
        return found | {"nats": donsker_varadhan(*(scores.detach() for scores in told)).mean()}

    def _estimate(self, estimator: str, scores: tuple[Tensor, Tensor], average: str) -> Tensor:
        if estimator != "mine":
            return ESTIMATORS[estimator](*scores).mean()
        estimate, renewed = mine(*scores, self.get_buffer(average))
        self.get_buffer(average).copy_(renewed)
        return estimate.mean()


def _everybodys(scores: tuple[Tensor, Tensor], sizes: list[int]) -> tuple[Tensor, Tensor]:
    """Return the scores of all processes' maps.

    Args:
        scores: of this process's, joint and marginal.
        sizes: how many maps each process has; of none, scores are not gathered.
    """
    if not sizes:
        return scores
    joint, marginal = scores
    times = len(marginal) // len(joint)
    return all_gather(joint, sizes), all_gather(marginal, [times * size for size in sizes])
