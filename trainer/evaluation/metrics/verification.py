"""Whether two faces show one person, told by how alike their codes are; judged on people that no training saw.

LFW's protocol (Huang et al. 2007, UMass 07-49) and the rates of the face recognition vendor tests (Grother et al. 2019,
NISTIR 8271).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]  # (faces,)
Places = NDArray[np.int64]  # (pairs,)
Values = NDArray[np.float64]  # (pairs,)
NUM_FOLDS, DRAWS = 10, 500
RATES = (1e-2, 1e-3, 1e-4)  # of false acceptance
FEWEST_ACCEPTED = 10  # false acceptances that a rate must mean, or it is not told
MOST = {True: 100_000, False: 1_000_000}  # pairs of one person, of two


@dataclass(frozen=True)
class Pairs:
    """Pairs of faces.

    Attributes:
        left: place of one face.
        right: place of the other.
        same: whether both show one person.
        people: (pairs, 2) a number for who is on each side; for LFW's, the fold.
        fold: of both people, from 0; -1 where they are in two folds.
        drawn_by: what intervals are over: people, or folds.
    """

    left: Places
    right: Places
    same: NDArray[np.bool_]
    people: NDArray[np.int64]
    fold: Places
    drawn_by: str


def pairs_of_people(subjects: Labels, seed: int = 0) -> Pairs:
    """Return all pairs of faces, or as many drawn by chance as `MOST` says; people are dealt to ten folds.

    Raises:
        ValueError: nobody is on two faces, or one person is on all.
    """
    names, person = np.unique(subjects, return_inverse=True)
    generator = np.random.default_rng(seed)
    same = _few(np.concatenate([_pairs_within(np.flatnonzero(person == one)) for one in range(len(names))]), True, seed)
    if len(person) ** 2 <= 4 * MOST[False]:
        other = _pairs_within(np.arange(len(person)))
    else:
        drawn = np.sort(generator.integers(0, len(person), (2 * MOST[False], 2)), axis=1)
        other = np.stack(np.divmod(np.unique(drawn @ [len(person), 1]), len(person)), axis=1)
    other = _few(other[person[other[:, 0]] != person[other[:, 1]]], False, seed)
    if not len(same) or not len(other):
        raise ValueError(f"{len(person)} faces of {len(names)} people make no pairs of one person and of two")
    left, right = np.concatenate([same, other]).T
    folds = generator.permutation(np.arange(len(names)) % min(NUM_FOLDS, max(2, len(names) // 2)))[person]
    return Pairs(
        left, right, np.arange(len(left)) < len(same), person[np.stack([left, right], axis=1)],
        np.where(folds[left] == folds[right], folds[left], -1), "people",
    )  # fmt: skip


def published_pairs(same: NDArray[np.bool_]) -> Pairs:
    """Return pairs as LFW's are published: faces 2i and 2i + 1, ten folds of different people, one after the other."""
    place = np.arange(len(same))
    fold = place * NUM_FOLDS // len(same)
    return Pairs(2 * place, 2 * place + 1, same, np.stack([fold, fold], axis=1), fold, "folds")


def cosines(codes: NDArray[np.float32], pairs: Pairs) -> Values:
    """Return how alike the faces of each pair are."""
    unit = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
    parts = np.array_split(np.arange(len(pairs.left)), len(pairs.left) // 50_000 + 1)
    return np.concatenate([(unit[pairs.left[part]] * unit[pairs.right[part]]).sum(1, dtype=float) for part in parts])


def verification(alike: Values, pairs: Pairs, seed: int = 0) -> dict[str, Any]:
    """Return how well pairs of one person are told from pairs of two.

    `accuracy` is LFW's: each fold is judged by the threshold that is best on the other nine, pairs of one person
    counting for as much as pairs of two (of LFW they are as many). `auc` is the area under the ROC. `tar` is, for each
    rate of false acceptance that at least 10 pairs of two people can show, the share of pairs of one person accepted.
    Intervals (95 %) are over people, each drawn with all pairs: a pair counts as often as both of its people are drawn.

    Source:
        Owen 2007, the pigeonhole bootstrap, doi:10.1214/07-AOAS122.
    """
    order = np.argsort(-alike, kind="stable")
    alike, same, people = alike[order], pairs.same[order], pairs.people[order]
    right, judged = _judged(alike, same, pairs.fold[order])
    rates = [rate for rate in RATES if rate * (~same).sum() >= FEWEST_ACCEPTED]
    step = np.append(np.flatnonzero(np.diff(alike)), len(alike) - 1)  # last of each run of equal pairs

    def measure(weight: Values) -> list[float]:
        accepted, falsely = (np.cumsum(weight * kind)[step] for kind in (same, ~same))
        tars = [tar_at_far(accepted, falsely, rate) for rate in rates]
        return [_balanced(right, weight * judged, same), _area(accepted, falsely), *tars]

    names = ["accuracy", "auc", *(f"{rate:g}" for rate in rates)]
    found = dict(zip(names, measure(np.ones(len(same))), strict=True))
    spread = dict(zip(names, _intervals(measure, people, same, seed), strict=True))
    scores = {name: {"value": found[name], "interval": spread[name]} for name in names}
    return {
        "accuracy": scores["accuracy"], "auc": scores["auc"], "tar": {name: scores[name] for name in names[2:]},
        "same_pairs": int(same.sum()), "other_pairs": int((~same).sum()), "judged_pairs": int(judged.sum()),
        "people": len(np.unique(people)), "intervals_over": pairs.drawn_by, "chance": 0.5,
    }  # fmt: skip


def tar_at_far(accepted: Values, falsely: Values, rate: float) -> float:
    """Return the share of pairs of one person that are accepted where at most `rate` of the others are.

    Args:
        accepted: weight of the pairs of one person at each threshold, ever lower; the last is all.
        falsely: that of the pairs of two.
        rate: of false acceptance.
    """
    held = np.searchsorted(falsely, rate * falsely[-1] * (1 + 1e-9), side="right")
    return float(accepted[held - 1] / accepted[-1]) if held else 0.0


def _area(accepted: Values, falsely: Values) -> float:
    return float(np.trapezoid(np.append(0, accepted), np.append(0, falsely)) / (accepted[-1] * falsely[-1]))


def _judged(alike: Values, same: NDArray[np.bool_], fold: Places) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pairs the threshold of the other folds is right about, and which it was asked about."""
    right, judged = np.zeros(len(same), bool), fold >= 0
    for held_out in range(fold.max(initial=-1) + 1):
        mine, others = fold == held_out, judged & (fold != held_out)
        right[mine] = (alike[mine] > _threshold(alike[others], same[others])) == same[mine]
    return right, judged


def _threshold(alike: Values, same: NDArray[np.bool_]) -> float:
    """Return what best tells pairs of one person from others, midway between two pairs; pairs are in falling order."""
    gained = np.cumsum(same / max(same.sum(), 1) - ~same / max((~same).sum(), 1))
    step = np.flatnonzero(np.diff(alike))
    if not len(step):
        return float(alike[0]) if len(alike) else 0.0
    best = step[np.argmax(gained[step])]
    return float((alike[best] + alike[best + 1]) / 2)


def _balanced(right: NDArray[np.bool_], weight: Values, same: NDArray[np.bool_]) -> float:
    shares = [np.sum(weight * right * kind) / max(np.sum(weight * kind), 1e-12) for kind in (same, ~same)]
    return float(np.mean(shares))


def _intervals(
    measure: Callable[[Values], list[float]], people: NDArray[np.int64], same: NDArray[np.bool_], seed: int
) -> list[list[float]]:
    """Return the 2.5th and 97.5th percentiles of measures when people are drawn anew."""
    number = people.max() + 1
    once, generator = people[:, 0] == people[:, 1], np.random.default_rng(seed)
    values: list[list[float]] = []
    while len(values) < DRAWS:
        times = np.bincount(generator.integers(0, number, number), minlength=number)
        weight = np.where(once, times[people[:, 0]], times[people[:, 0]] * times[people[:, 1]]).astype(float)
        if (weight * same).any() and (weight * ~same).any():  # of very few people, a draw may hold one alone
            values.append(measure(weight))
    return [[float(bound) for bound in bounds] for bounds in np.percentile(values, [2.5, 97.5], axis=0).T]


def _pairs_within(faces: Places) -> NDArray[np.int64]:
    """Return all pairs of some faces: (pairs, 2)."""
    return faces[np.stack(np.triu_indices(len(faces), 1), axis=1)]


def _few(pairs: NDArray[np.int64], same: bool, seed: int) -> NDArray[np.int64]:
    """Return pairs, or as many drawn by chance as are at most taken."""
    if len(pairs) <= MOST[same]:
        return pairs
    return pairs[np.sort(np.random.default_rng(seed).choice(len(pairs), MOST[same], replace=False))]
