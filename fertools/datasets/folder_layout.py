"""What folders say of the images in them: the expression, the person, the part of a split, in whichever order."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fertools.datasets.base import Quarantined
from fertools.inputs.expressions import part_of
from manifests.text import printable


@dataclass(frozen=True, slots=True)
class Claim:
    """What one row or one image's folders say, as it is written."""

    path: Path  # of the image, below the raw folder
    label: str
    subject: str | None
    split: str
    source: str  # line or folder, in words
    gender: str = ""
    age: str = ""
    race: str = ""

    @property
    def said(self) -> str:
        """What is said, in words."""
        cells = (self.label, self.subject, self.split, self.gender, self.age, self.race)
        return ", ".join(printable(cell, 40) for cell in cells if cell)


@dataclass
class Layout:
    """What the folders say of all images."""

    claims: list[Claim] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    numbered: list[str] = field(default_factory=list)  # folders that are called by a number, where no expression is


Parts = tuple[str, ...]


def read_layout(images: Sequence[Path], is_label: Callable[[str], bool]) -> Layout:
    """Return what folders say: the expression, an official part, and, of what is left, first the person.

    A level of folders is the expression's, or the split's, where most images have such a name in it: a person who is
    called Joy stays one. Folders around everything say nothing.

    Args:
        images: paths below the raw folder.
        is_label: whether a folder's name is an expression.
    """
    layout = Layout()
    parents = [path.parts[:-1] for path in images]
    start = _wrapper(parents, lambda name: is_label(name) or part_of(name) is not None)
    rests = [parts[start:] for parts in parents]
    at_split = _level(rests, lambda name: part_of(name) is not None, least=len(images) / 2)
    at_label = _level(rests, is_label, least=1)
    if at_label is None:
        layout.numbered = sorted({name for parts in parents for name in parts if name.isdecimal()})
        return layout
    constant = _constant(rests, at_label) - {at_split}
    if start or constant:
        names = "/".join([*parents[0][:start], *(rests[0][level] for level in sorted(constant))])
        layout.notes.append(f"folders around all images say nothing of them: {printable(names)}")
    for path, parts in zip(images, rests, strict=True):
        split = parts[at_split] if at_split is not None and len(parts) > at_split else ""
        others = [name for at, name in enumerate(parts) if at not in (at_split, at_label) and at not in constant]
        if len(parts) <= at_label or not is_label(parts[at_label]):
            layout.quarantined.append(Quarantined(path, "in no folder of an expression"))
        elif len(others) > 2:
            layout.quarantined.append(Quarantined(path, "in more folders than expression, person and session"))
        elif at_split is not None and part_of(split) is None:
            layout.quarantined.append(Quarantined(path, f"{printable(split, 40)!r} is not train, validation or test"))
        else:
            person = others[0] if others else None
            layout.claims.append(Claim(path, parts[at_label], person, split, printable(path.parent)))
    return layout


def _wrapper(parents: Sequence[Parts], says: Callable[[str], bool]) -> int:
    """Return how many folders are around all images and say nothing."""
    first, last = min(parents, default=()), max(parents, default=())
    start = 0
    while start < min(len(first), len(last)) and first[start] == last[start] and not says(first[start]):
        start += 1
    return start


def _level(rests: Sequence[Parts], says: Callable[[str], bool], least: float) -> int | None:
    """Return the level of folders in which most images have a name that says something; null: none has least."""
    known = {name: says(name) for parts in rests for name in parts}
    counts = Counter(at for parts in rests for at, name in enumerate(parts) if known[name])
    level = max(counts, key=lambda at: (counts[at], -at), default=None)
    return level if level is not None and counts[level] >= least else None


def _constant(rests: Sequence[Parts], at_label: int) -> set[int]:
    """Return the levels above the expression in which all images have one name."""
    names = {at: {parts[at] for parts in rests if len(parts) > at} for at in range(at_label)}
    return {at for at, found in names.items() if len(found) == 1}
