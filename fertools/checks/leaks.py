"""What two parts of a split share: test faces whose person, recording, file or photograph is in another part too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fertools.checks.splits import Split
from fertools.faces.near_copies import Copies

KINDS = ("subject", "sequence", "exact copy", "near copy", "group")
AGAINST = ("train", "validation")

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Leak:
    """How many test faces share something with another part."""

    kind: str
    part: str  # train or validation
    faces: int
    judged: int  # test faces of which it is known
    rate: float | None  # null: of none
    interval: tuple[float, float] | None  # 95 %, Wilson


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What was found in one split, or in all together."""

    name: str
    num_test: int
    num_validation: int
    num_train: int
    leaks: list[Leak]

    @property
    def clean(self) -> bool:
        """Whether no test face shares anything."""
        return not any(leak.faces for leak in self.leaks)

    @property
    def num_known(self) -> int:
        """Of how many test faces it is known who they show, by published subjects or by groups."""
        judged: dict[str, int] = dict.fromkeys(AGAINST, 0)
        for leak in self.leaks:
            judged[leak.part] += leak.judged * (leak.kind in ("subject", "group"))
        return max(judged.values())


def examine(split: Split, keys: Mapping[str, Integers], copies: Copies | None = None) -> Audited:
    """Count the test faces of a split that share something with its other parts.

    Args:
        split: rows of the parts.
        keys: kind of leak to one number a row: what faces share whose numbers are equal; negative: not known.
        copies: pairs of rows that are near copies; null: they were not sought.
    """
    leaks = []
    for name, part in zip(AGAINST, (split.train, split.validation), strict=True):
        if not len(part):
            continue
        for kind in KINDS:
            if kind in keys:
                shared = shares_key(keys[kind], split.test, part)
                leaks.append(_leak(kind, name, int(shared.sum()), int((keys[kind][split.test] >= 0).sum())))
            elif copies and kind == "near copy":
                shared = np.isin(split.test, partners(copies, split.test, part)[0])
                leaks.append(_leak(kind, name, int(shared.sum()), len(split.test)))
    return Audited(
        name=split.name, num_test=len(split.test), num_validation=len(split.validation), num_train=len(split.train),
        leaks=leaks,
    )  # fmt: skip


def shares_key(keys: Integers, test: Integers, part: Integers) -> NDArray[np.bool_]:
    """Return which test rows have the key of a row of another part."""
    there = np.zeros(keys.max(initial=0) + 2, bool)
    there[keys[part]] = True
    there[-1] = False  # not known is shared with nothing
    shared: NDArray[np.bool_] = there[keys[test]]
    return shared


def partners(copies: Copies, test: Integers, part: Integers) -> tuple[Integers, Integers, NDArray[np.float32]]:
    """Return test rows, rows of another part and correlations of the near copies between the two."""
    found = []
    for one, other in ((copies.left, copies.right), (copies.right, copies.left)):
        across = np.isin(one, test) & np.isin(other, part)
        found.append((one[across], other[across], copies.correlation[across]))
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))  # type: ignore[return-value]


def _leak(kind: str, part: str, faces: int, judged: int) -> Leak:
    from scipy.stats import binomtest

    rate = interval = None
    if judged:
        found = binomtest(faces, judged).proportion_ci(method="wilson")
        rate, interval = faces / judged, (float(found.low), float(found.high))
    return Leak(kind=kind, part=part, faces=faces, judged=judged, rate=rate, interval=interval)


def pooled(audited: Sequence[Audited]) -> Audited:
    """Return the counts of all splits together; a face counts as often as it tests."""
    leaks = []
    for part in AGAINST:
        for kind in KINDS:
            if mine := [leak for one in audited for leak in one.leaks if (leak.kind, leak.part) == (kind, part)]:
                leaks.append(_leak(kind, part, sum(leak.faces for leak in mine), sum(leak.judged for leak in mine)))
    return Audited(
        name="all", num_test=sum(one.num_test for one in audited),
        num_validation=sum(one.num_validation for one in audited), num_train=sum(one.num_train for one in audited),
        leaks=leaks,
    )  # fmt: skip
