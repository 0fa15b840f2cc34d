"""Critics: scores of (feature map, code) pairs, for those that belong together and for those put together by chance.

Neither batch normalisation nor dropout: what differs between joint and marginal passes would hand a critic a shortcut.
There may be more codes than maps: those of the maps come first, then any others, with their classes.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

MOST_HIDDEN = 2**25  # values of a hidden layer that are held at once: 128 MiB in float32
NEGATIVES = ("all", "shift", "other")

Scores = tuple[Float[Tensor, "batch positions"], Float[Tensor, "pairs positions"]]
Classes = Int[Tensor, " codes"] | None  # of the faces: only negatives of `other` classes read them


class ConcatCritic(nn.Module):
    """Three linear layers on a map's features and a code, joined (Hjelm et al. 2019, section 4 and appendix A.2).

    The first layer of [features, code] is a sum of two, so all pairs of a batch cost one pass of it and a sum. Where
    the hidden layers of all pairs are too large, they are made a few rows at a time, and again in the backward pass.

    Args:
        features: length of the feature vector.
        code: length of the code.
        width: units of both hidden layers.
        negatives: `all` B (B - 1) pairs of a batch that do not belong together, those one `shift` away, or those of
            `other` classes: all pairs, and -inf, which InfoNCE does not count, where two share a class.
    """

    def __init__(self, features: int, code: int, width: int, negatives: str) -> None:
        super().__init__()
        self.of_features = nn.Linear(features, width)
        self.of_code = nn.Linear(code, width, bias=False)
        self.score = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.negatives = negatives

    def forward(
        self,
        features: Float[Tensor, "batch positions features"],
        codes: Float[Tensor, "codes code"],
        classes: Classes = None,
    ) -> Scores:
        """Return the scores of (features i, code i) and of pairs (features i, code j), j not i, at each position."""
        left, right = self.of_features(features), self.of_code(codes).unsqueeze(1)
        if self.negatives == "shift":
            _refuse_one(len(codes))
            joint, apart = (left + part[: len(left)] for part in (right, right.roll(1, 0)))
            return self.score(joint).squeeze(-1), self.score(apart).squeeze(-1)
        rows = max(1, MOST_HIDDEN // (len(codes) * left[0].numel()))
        if rows >= len(left):
            scores = self._all_pairs(left, right)
        else:
            parts = [checkpoint(self._all_pairs, part, right, use_reentrant=False) for part in left.split(rows)]
            scores = torch.cat(parts)
        return joint_and_marginal(scores, self.negatives, classes)

    def _all_pairs(
        self, left: Float[Tensor, "rows positions width"], right: Float[Tensor, "codes 1 width"]
    ) -> Float[Tensor, "rows codes positions"]:
        scores: Tensor = self.score(left.unsqueeze(1) + right.unsqueeze(0)).squeeze(-1)
        return scores


class BilinearCritic(nn.Module):
    """The inner product of a linear map of the features and one of the code (van den Oord et al. 2018, Eq. 3).

    All pairs of a batch cost one matrix product. Arguments as for ConcatCritic; `width` is the product's length.
    """

    def __init__(self, features: int, code: int, width: int, negatives: str) -> None:
        super().__init__()
        self.of_features = nn.Linear(features, width)
        self.of_code = nn.Linear(code, width)
        self.negatives = negatives

    def forward(
        self,
        features: Float[Tensor, "batch positions features"],
        codes: Float[Tensor, "codes code"],
        classes: Classes = None,
    ) -> Scores:
        """Return the scores of (features i, code i) and of pairs (features i, code j), j not i, at each position."""
        left, right = self.of_features(features), self.of_code(codes)
        scores = torch.einsum("ipd,jd->ijp", left, right) / left.shape[-1] ** 0.5
        return joint_and_marginal(scores, self.negatives, classes)

    @torch.no_grad()
    def align(self, head: nn.Linear) -> None:
        """Start as the inner product of two codes, so that what two faces share counts from the first step.

        Args:
            head: the map from the features of one position to the code.
        """
        positions = self.of_features.in_features // head.in_features
        nn.init.eye_(self.of_code.weight)
        nn.init.zeros_(self.of_code.bias)
        weight = self.of_code.weight @ head.weight / positions
        self.of_features.weight.copy_(weight.repeat_interleave(positions, dim=1))  # as `flatten_map` lays a map out
        self.of_features.bias.copy_(self.of_code.weight @ head.bias)


class SeparableCritic(nn.Module):
    """The inner product of a hidden layer of the features and one of the code, each linearly mapped.

    All pairs of a batch cost one matrix product. Arguments as for ConcatCritic; `width` is also the product's length.
    """

    def __init__(self, features: int, code: int, width: int, negatives: str) -> None:
        super().__init__()
        self.of_features = nn.Sequential(nn.Linear(features, width), nn.ReLU())
        self.of_code = nn.Sequential(nn.Linear(code, width), nn.ReLU())
        self.product = BilinearCritic(width, width, width, negatives)

    def forward(
        self,
        features: Float[Tensor, "batch positions features"],
        codes: Float[Tensor, "codes code"],
        classes: Classes = None,
    ) -> Scores:
        """Return the scores of (features i, code i) and of pairs (features i, code j), j not i, at each position."""
        scores: Scores = self.product(self.of_features(features), self.of_code(codes), classes)
        return scores


CRITICS = {"concat": ConcatCritic, "bilinear": BilinearCritic, "separable": SeparableCritic}


def joint_and_marginal(
    scores: Float[Tensor, "batch codes positions"], negatives: str, classes: Classes = None
) -> Scores:
    """Split the scores of (features i, code j), at row i and column j, into those of i = j and the `negatives`.

    Raises:
        ValueError: one face alone, which has no negatives; or negatives of `other` classes, and no classes.
    """
    num, num_codes = scores.shape[:2]
    _refuse_one(num_codes)
    joint = scores.diagonal().T
    if negatives == "shift":
        return joint, torch.cat([scores[:1, -1], scores.diagonal(-1).T])
    if negatives == "other":
        if classes is None:
            raise ValueError("negatives=other: expected the classes of the batch, to leave out pairs of one class")
        scores = scores.masked_fill((classes[:num, None] == classes)[..., None], -torch.inf)
    until, period = (num - 1) * (num_codes + 1), num_codes + 1  # every so many scores one of i = j
    flat = scores.flatten(0, 1)[1:]
    apart = flat[:until].reshape(num - 1, period, scores.shape[2])[:, :-1].flatten(0, 1)
    return joint, torch.cat([apart, flat[until:]]) if num_codes > num else apart


def _refuse_one(num: int) -> None:
    if num < 2:
        raise ValueError(f"a batch of {num}: expected two or more, for a face alone is its own negative")


def positions(feature_map: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch positions channels"]:
    """Return a map as one feature vector a position: what a local critic reads (DICE-FER Eq. 5)."""
    return feature_map.flatten(2).transpose(1, 2)


def flatten_map(feature_map: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch 1 features"]:
    """Return a map as one long feature vector: what a global critic reads (DICE-FER Eq. 4)."""
    return feature_map.flatten(1).unsqueeze(1)
