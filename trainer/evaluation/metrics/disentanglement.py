"""Does each dimension of the codes belong to one factor? MIG, DCI and SAP, where factors are known.

All three hold the axes of T = [E, I] to mean something. DICE-FER's losses do not ask for that: a rotation inside E or
inside I serves them as well, and lowers all three. What the method claims is about whole codes (expression in E, person
in I); `dci` therefore also gives the share of each code in what tells a factor. As trees split along axes, a rotation
lowers that too, but by about a quarter where it takes three quarters of the disentanglement (in the tests).

A factor of floating type is continuous and is cut into 10 bins of equal mass; any other is categorical. A factor with
one value on these faces is left out and named under `constant`. Codes and factors come by name.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.float32]  # (faces, dims)
Labels = NDArray[Any]  # (faces,)
Classes = NDArray[np.int64]  # (faces,), 0 to classes - 1
CODE_BINS, FACTOR_BINS, NUM_FOLDS, NUM_PERMUTATIONS = 20, 10, 3, 5


def mutual_information_gap(codes: Mapping[str, Codes], factors: Mapping[str, Labels], seed: int = 0) -> dict[str, Any]:
    """Return the traditional MIG: how much more of a factor's entropy the best dimension tells than the next best.

    Not the difference that DICE-FER calls MIG. Mutual information is read from histograms of 20 bins of equal width, as
    in disentanglement_lib, which overstate it when faces are few: `null` is the MIG of 5 permutations of the faces.

    Source:
        Chen et al. 2018, Eq. 6 (arXiv:1802.04942).
    """
    bins = np.stack([_equal_width(dimension) for dimension in _side_by_side(codes).T])
    classes, constant = _classes(factors)
    gaps = {name: _gap(bins, values) for name, values in classes.items()}
    generator = np.random.default_rng(seed)
    null = [_gap(bins, generator.permutation(values)) for values in classes.values() for _ in range(NUM_PERMUTATIONS)]
    return {"gap": _mean(list(gaps.values())), "null": _mean(null), "factors": gaps, "constant": constant}


def dci(codes: Mapping[str, Codes], factors: Mapping[str, Labels], groups: Labels, seed: int = 0) -> dict[str, Any]:
    """Return disentanglement, completeness and informativeness, and each code's share in what tells a factor.

    The importance of a dimension is that of extremely randomised trees that see all dimensions at every split.
    disentanglement_lib takes gradient boosting: at 400 faces and 128 dimensions 23 times slower for 7 classes, 114 for
    22. Trees are fitted three times, each without a third of the groups, on which informativeness (the mean over
    classes of the share recognised) is judged. Trees never quite ignore a dimension, so that a score of 1 is not
    reached. Useless codes share the importance by their number of dimensions.

    Args:
        groups: what may not stand on both sides: sequences, whose frames are near copies.

    Source:
        Eastwood & Williams 2018, section 2 (openreview.net/forum?id=By-7dz-AZ).
    """
    joined, (classes, constant) = _side_by_side(codes), _classes(factors)
    code_of = np.repeat(list(codes), [code.shape[1] for code in codes.values()])
    read: dict[str, dict[str, Any]] = {}
    importances = []
    for name, values in classes.items():
        importance, accuracy = _trees(joined, values, groups, seed)
        importances.append(importance)
        shares = {code: float(importance[code_of == code].sum()) for code in codes}
        read[name] = {"informativeness": accuracy, "chance": 1 / (int(values.max()) + 1), "share": shares}
    matrix = np.array(importances).reshape(-1, joined.shape[1])  # (factors, dims); each row sums to 1
    return {
        "disentanglement": _disentanglement(matrix),
        "completeness": _mean([_concentration(row) for row in matrix]),
        "informativeness": _mean([factor["informativeness"] for factor in read.values()]),
        "factors": read, "constant": constant,
    }  # fmt: skip


def attribute_predictability(
    codes: Mapping[str, Codes], factors: Mapping[str, Labels], groups: Labels
) -> dict[str, Any]:
    """Return SAP: how much better the best dimension alone predicts a factor than the next best, held out.

    A dimension predicts the class whose mean is nearest. Kumar et al. take linear SVMs, one class against the rest,
    which cannot single out a class in the middle; and for continuous factors the squared correlation, here binned.

    Args:
        groups: what may not stand on both sides, as for `dci`.

    Source:
        Kumar et al. 2018, section 3 (arXiv:1711.00848).
    """
    joined, (classes, constant) = _side_by_side(codes), _classes(factors)
    gaps = {}
    for name, values in classes.items():
        second, best = np.sort(_alone(joined, values, groups))[-2:]
        gaps[name] = float(best - second)
    return {"gap": _mean(list(gaps.values())), "factors": gaps, "constant": constant}


# --- codes and factors


def _side_by_side(codes: Mapping[str, Codes]) -> NDArray[np.float64]:
    return np.concatenate(list(codes.values()), axis=1).astype(np.float64)


def _classes(factors: Mapping[str, Labels]) -> tuple[dict[str, Classes], list[str]]:
    """Return the class of every face for each factor that varies, and the names of those that do not."""
    classes = {name: np.unique(_binned(values), return_inverse=True)[1] for name, values in factors.items()}
    varying = {name: values for name, values in classes.items() if values.max() > 0}
    return varying, [name for name in factors if name not in varying]


def _binned(values: Labels) -> Labels:
    if not np.issubdtype(values.dtype, np.floating):
        return values
    edges = np.quantile(values, np.arange(1, FACTOR_BINS) / FACTOR_BINS)
    return np.digitize(values, edges, right=True)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


# --- MIG


def _equal_width(dimension: NDArray[np.float64]) -> Classes:
    return np.digitize(dimension, np.histogram_bin_edges(dimension, CODE_BINS)[1:-1])


def _gap(bins: Classes, classes: Classes) -> float:
    """Return the MIG of one factor.

    Args:
        bins: (dims, faces).
    """
    from scipy.special import entr

    num_dims, num_classes = len(bins), int(classes.max()) + 1
    cell = (np.arange(num_dims)[:, None] * CODE_BINS + bins) * num_classes + classes
    counts = np.bincount(cell.ravel(), minlength=num_dims * CODE_BINS * num_classes)
    joint = counts.reshape(num_dims, CODE_BINS, num_classes) / len(classes)
    entropy = entr(joint[0].sum(0)).sum()
    told = entropy + entr(joint.sum(2)).sum(1) - entr(joint).sum((1, 2))  # (dims,), nats
    second, best = np.sort(told)[-2:]
    return float((best - second) / entropy)


# --- DCI


def _trees(
    codes: NDArray[np.float64], classes: Classes, groups: Labels, seed: int
) -> tuple[NDArray[np.float64], float]:
    """Return the importance of each dimension (they sum to 1), and the held-out accuracy, averaged over classes."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import GroupKFold

    importance, hit = np.zeros(codes.shape[1]), np.zeros(len(classes), bool)
    for train, test in GroupKFold(NUM_FOLDS).split(codes, groups=groups):
        trees = ExtraTreesClassifier(
            50, max_features=None, min_samples_leaf=3, class_weight="balanced", random_state=seed
        ).fit(codes[train], classes[train])
        importance += trees.feature_importances_ / NUM_FOLDS
        hit[test] = trees.predict(codes[test]) == classes[test]
    return importance, float(np.mean([hit[classes == value].mean() for value in np.unique(classes)]))


def _disentanglement(matrix: NDArray[np.float64]) -> float:
    """Return the mean over dimensions, by their importance, of how much each belongs to one factor."""
    if len(matrix) < 2:
        return float("nan")
    weights = matrix.sum(0)
    used = weights > 0
    alone = [_concentration(column) for column in (matrix[:, used] / weights[used]).T]
    return float(np.average(alone, weights=weights[used]))


def _concentration(shares: NDArray[np.float64]) -> float:
    """Return 1 where one has all, 0 where all have the same."""
    from scipy.special import entr

    return float(1 - entr(shares.clip(0)).sum() / np.log(len(shares)))  # trees round an importance of 0 below it


# --- SAP


def _alone(codes: NDArray[np.float64], classes: Classes, groups: Labels) -> NDArray[np.float64]:
    """Return the held-out accuracy, averaged over classes, of each dimension by itself."""
    from sklearn.model_selection import GroupKFold

    hit = np.zeros(codes.shape, bool)
    for train, test in GroupKFold(NUM_FOLDS).split(codes, groups=groups):
        known = np.unique(classes[train])
        means = np.stack([codes[train][classes[train] == value].mean(0) for value in known])
        for dimension in range(codes.shape[1]):
            nearest = np.abs(codes[test, dimension, None] - means[:, dimension]).argmin(1)
            hit[test, dimension] = known[nearest] == classes[test]
    accuracies: NDArray[np.float64] = np.mean([hit[classes == value].mean(0) for value in np.unique(classes)], axis=0)
    return accuracies
