"""Is a method as often right for one group of people as for another?

Gaps are those of fairlearn 0.12, largest less smallest over groups: `MetricFrame.difference("between_groups")` of
accuracy and macro recall, and `equal_opportunity_difference`, that of the true positive rate (fairlearn.org, user
guide, "Assessment"; Hardt et al. 2016, arXiv:1610.02413). Fairlearn's is of two classes; here each expression is held
against all others in turn, and the largest difference is told.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.metrics.statistics import cluster_bootstrap

Labels = NDArray[Any]  # (faces,)
FEW = 30  # faces: a smaller group is shown with a note, and no gap is told of it
LEAST_SHOWN = 10  # faces of an expression that a group must have for a true positive rate
NUM_PERMUTATIONS, AT_ONCE = 999, 250
CLAIMED = 0.01  # p below which a gap is more than chance
AGES = {0: "0-3", 4: "4-19", 20: "20-39", 40: "40-69", 70: "70+"}  # years from which a group begins: those of RAF-DB


def age_groups(ages: Labels) -> Labels:
    """Return ages in whole years as age groups; what is none (a range, null) stays as it is."""
    return np.array([_age_group(age) for age in ages], object)


def _age_group(age: str | None) -> str | None:
    if age is None or not age.isdecimal():
        return age
    return AGES[max(years for years in AGES if years <= int(age))]


def fairness(truth: Labels, predicted: Labels, subjects: Labels, groups: Labels) -> dict[str, Any]:
    """Score predicted expressions by group of people, and tell the gaps between groups.

    Args:
        truth: (faces,) expressions.
        predicted: (faces,) likewise.
        subjects: (faces,) who is shown.
        groups: (faces,) of the person; null where it is not known.

    Returns:
        unknown: faces of no known group. groups: name -> faces, people, accuracy and macro recall (over the expressions
        that the group shows), each with a 95 % interval over people (null where all faces are of one person).
        gaps: as `gaps` tells, null where fewer than two groups have FEW faces.
    """
    known = np.array([group is not None for group in groups], bool)
    truth, predicted, subjects, groups = truth[known], predicted[known], subjects[known], groups[known].astype(str)
    found = {}
    for name in np.unique(groups):
        of_group = groups == name
        found[str(name)] = _scores(truth[of_group], predicted[of_group], subjects[of_group])
    return {"unknown": int((~known).sum()), "groups": found, "gaps": gaps(truth, predicted, subjects, groups)}


def _scores(truth: Labels, predicted: Labels, subjects: Labels) -> dict[str, Any]:
    expressions, shown = np.unique(truth, return_inverse=True)
    correct, every = truth == predicted, np.arange(len(truth))

    def accuracy(faces: NDArray[np.intp]) -> float:
        return float(correct[faces].mean())

    def macro_recall(faces: NDArray[np.intp]) -> float:
        num = np.bincount(shown[faces], minlength=len(expressions))
        right = np.bincount(shown[faces], correct[faces], minlength=len(expressions))
        return float((right[num > 0] / num[num > 0]).mean())

    people = len(np.unique(subjects))
    scores: dict[str, Any] = {"faces": len(truth), "people": people}
    for name, statistic in (("accuracy", accuracy), ("macro_recall", macro_recall)):
        scores[name] = statistic(every)
        scores[f"{name}_interval"] = cluster_bootstrap(statistic, subjects) if people > 1 else None
    return scores


def gaps(
    truth: Labels, predicted: Labels, subjects: Labels, groups: Labels, seed: int = 0
) -> dict[str, dict[str, Any]] | None:
    """Return the gaps between groups of at least FEW faces, and how often people at random have as large ones.

    A gap is never below 0, so that it says nothing without its p: the share of permutations, 999 and the observed one,
    of people's groups in which it is as large. A gap of accuracy may come of the expressions that groups show; the
    others do not.

    Args:
        truth: (faces,) expressions.
        predicted: (faces,) likewise.
        subjects: (faces,) who is shown; people keep their faces together.
        groups: (faces,) of the person, all known.
        seed: of the permutations.

    Returns:
        accuracy, macro_recall, equal_opportunity: each with gap, highest and lowest (groups), p; equal_opportunity also
        with its expression, and left out where no two groups have LEAST_SHOWN faces of one. Null: fewer than two
        groups.
    """
    names, num_faces = np.unique(groups, return_counts=True)
    names = names[num_faces >= FEW]
    if len(names) < 2:
        return None
    kept = np.isin(groups, names)
    expressions, shown = np.unique(truth[kept], return_inverse=True)
    person = np.unique(subjects[kept], return_inverse=True)[1]
    group = np.searchsorted(names, groups[kept])
    both, unit = np.unique(person * len(names) + group, return_inverse=True)
    cell, num_cells = unit * len(expressions) + shown, len(both) * len(expressions)
    counts = [np.bincount(cell, weights, num_cells) for weights in (truth[kept] == predicted[kept], None)]
    table = np.stack(counts).reshape(2, len(both), len(expressions)).swapaxes(0, 1).astype(np.float64)
    of_unit = both % len(names)
    observed = _rates(table, of_unit[None], len(names))
    largest = {what: _between(rates).max() for what, rates in observed.items()}
    rng, as_large = np.random.default_rng(seed), dict.fromkeys(observed, 1)
    for first in range(0, NUM_PERMUTATIONS, AT_ONCE):
        num = min(AT_ONCE, NUM_PERMUTATIONS - first)
        permuted = _rates(table, rng.permuted(np.tile(of_unit, (num, 1)), axis=1), len(names))
        for what, rates in permuted.items():
            as_large[what] += int((_between(rates).max(1) >= largest[what] - 1e-9).sum())
    return {
        what: _told(rates[0], names, expressions) | {"p": as_large[what] / (NUM_PERMUTATIONS + 1)}
        for what, rates in observed.items()
        if largest[what] >= 0
    }


def _rates(table: NDArray[np.float64], groups: NDArray[np.intp], num_groups: int) -> dict[str, NDArray[np.float64]]:
    """Return scores by group, (draws, groups, 1 or expressions); nan where a group has too few faces.

    Args:
        table: (units, 2, expressions) right faces and all faces.
        groups: (draws, units) of each unit.
        num_groups: how many there are.
    """
    member = (groups[:, None] == np.arange(num_groups)[:, None]).astype(np.float64)
    right, faces = np.moveaxis(np.tensordot(member, table, 1), 2, 0)
    with np.errstate(invalid="ignore"):
        recall = right / faces
        accuracy = right.sum(2, keepdims=True) / faces.sum(2, keepdims=True)
        macro = np.nan_to_num(recall).sum(2, keepdims=True) / (faces > 0).sum(2, keepdims=True)
    return {
        "accuracy": accuracy, "macro_recall": macro,
        "equal_opportunity": np.where(faces >= LEAST_SHOWN, recall, np.nan),
    }  # fmt: skip


def _between(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return gaps of scores by group: (draws, groups, columns) to (draws, columns); -1: fewer than two have one."""
    known = ~np.isnan(rates)
    gap = np.where(known, rates, -np.inf).max(1) - np.where(known, rates, np.inf).min(1)
    between: NDArray[np.float64] = np.where(known.sum(1) > 1, gap, -1.0)
    return between


def _told(rates: NDArray[np.float64], names: Labels, expressions: Labels) -> dict[str, Any]:
    """Return the largest gap of a score and whose it is.

    Args:
        rates: (groups, 1 or expressions).
        names: of the groups.
        expressions: their names.
    """
    gap = _between(rates[None])[0]
    column = int(gap.argmax())
    of_column = rates[:, column]
    found = {
        "gap": float(gap[column]),
        "highest": str(names[np.nanargmax(of_column)]), "lowest": str(names[np.nanargmin(of_column)]),
    }  # fmt: skip
    return found | ({"expression": str(expressions[column])} if len(gap) > 1 else {})
