"""Critics: scores of (feature map, code) pairs, for those that belong together and for those put together by chance.

Neither batch normalisation nor dropout: what differs between joint and marginal passes would hand a critic a shortcut.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

NEGATIVES = ("all", "shift")


class Critic(nn.Module):
    """Three linear layers on a map's features and a code, joined (Hjelm et al. 2019, section 4 and appendix A.2).

    The first layer of [features, code] is a sum of two, so all pairs of a batch cost one pass of it and a sum.

    Args:
        features: length of the feature vector.
        code: length of the code.
        width: units of both hidden layers.
        negatives: `all` B (B - 1) pairs of a batch that do not belong together, or those one `shift` away.
    """

    def __init__(self, features: int, code: int, width: int, negatives: str) -> None:
        super().__init__()
        self.of_features = nn.Linear(features, width)
        self.of_code = nn.Linear(code, width, bias=False)
        self.score = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.negatives = negatives

    def forward(
        self, features: Float[Tensor, "batch positions features"], codes: Float[Tensor, "batch code"]
    ) -> tuple[Float[Tensor, "batch positions"], Float[Tensor, "pairs positions"]]:
        """Return the scores of (features i, code i) and of pairs (features i, code j), j not i, at each position."""
        left, right = self.of_features(features), self.of_code(codes).unsqueeze(1)
        if self.negatives == "shift":
            return self.score(left + right).squeeze(-1), self.score(left + right.roll(1, 0)).squeeze(-1)
        scores = self.score(left.unsqueeze(1) + right.unsqueeze(0)).squeeze(-1)  # row i, column j: features i, code j
        return scores.diagonal().T, scores[~torch.eye(len(codes), dtype=torch.bool, device=codes.device)]


def positions(feature_map: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch positions channels"]:
    """Return a map as one feature vector a position: what a local critic reads (DICE-FER Eq. 5)."""
    return feature_map.flatten(2).transpose(1, 2)


def whole(feature_map: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch 1 features"]:
    """Return a map as one long feature vector: what a global critic reads (DICE-FER Eq. 4)."""
    return feature_map.flatten(1).unsqueeze(1)
