"""DICE-FER's critics: how much a feature map and a code have in common, globally and at each position."""

import math

import torch
from torch import Tensor, nn

from trainer.methods.objectives.mutual_information import ESTIMATORS, donsker_varadhan, mine
from trainer.methods.settings.dicefer import DiceFerConfig
from trainer.networks.critics import CRITICS, flatten_map, positions

NUM_POSITIONS = 16  # of the last map of a 112 px face


class Critics(nn.Module):
    """The global and the local critic of one stage.

    Of several ranks, each estimates from its share of the batch, whose fewer negatives lower the ceiling of InfoNCE and
    raise the bias of Donsker-Varadhan.

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
        self.only_local = global_weight == 0  # a critic of no weight learns nothing, and finds nothing
        self.register_buffer("global_average", torch.full((1,), -math.inf))  # MINE's, in log space
        self.register_buffer("local_average", torch.full((NUM_POSITIONS,), -math.inf))

    def forward(self, feature_map: Tensor, codes: Tensor, estimator: str, classes: Tensor) -> dict[str, Tensor]:
        """Return estimates of the information that the map and the code share: globally, and at a mean position.

        `nats` is a lower bound from the global scores, or the local ones where these alone are trained: InfoNCE where
        they were trained by it, else Donsker-Varadhan.
        """
        global_scores = self.global_critic(flatten_map(feature_map), codes, classes)
        local_scores = self.local_critic(positions(feature_map), codes, classes)
        found = {
            "global": self._estimate(estimator, global_scores, "global_average"),
            "local": self._estimate(estimator, local_scores, "local_average"),
        }
        if estimator in ("dv", "nce"):  # bounds themselves
            return found | {"nats": found["local" if self.only_local else "global"].detach()}
        scores = local_scores if self.only_local else global_scores
        return found | {"nats": donsker_varadhan(*(side.detach() for side in scores)).mean()}

    def _estimate(self, estimator: str, scores: tuple[Tensor, Tensor], average: str) -> Tensor:
        if estimator != "mine":
            return ESTIMATORS[estimator](*scores).mean()
        estimate, renewed = mine(*scores, self.get_buffer(average))
        self.get_buffer(average).copy_(renewed)
        return estimate.mean()
