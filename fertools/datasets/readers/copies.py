"""Copies of one thing in a raw folder: one is taken, the others are named and set aside."""

from collections.abc import Iterable
from pathlib import Path

from fertools.datasets.base import DatasetError, Quarantined


def set_aside(
    root: Path, what: str, found: Iterable[tuple[int, Path]], reason: str = "a copy of {taken}, which is taken"
) -> tuple[Path, list[Quarantined]]:
    """Return the path to take, and the others.

    Args:
        root: the raw folder.
        what: is there in several copies, in words.
        found: (rank, path) of each, paths below root; the lowest rank is nearest to the original and taken.
        reason: why the others are not.

    Raises:
        DatasetError: two are nearest.
    """
    (best, taken), *others = sorted(found)
    for rank, path in others:
        if rank == best:
            raise DatasetError(f"{root}: {what} is there twice, {taken} and {path}; --raw can name one's folder")
    return taken, [Quarantined(path, reason.format(taken=taken), "duplicate") for _, path in others]
