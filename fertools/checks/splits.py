"""Who trains, validates and tests: a manifest's folds, its official split, a user's own list, or a rule of places."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fertools.errors import FertoolsError
from fertools.inputs.expressions import part_of
from fertools.inputs.names import SourceIndex
from fertools.inputs.table import Broken, open_table
from manifests import schema
from manifests.text import printable

PARTS = ("train", "validation", "test")
COLUMNS = {
    "file": ("path", "filename", "file_name", "source", "image", "image_path"),
    "part": ("split", "set", "subset", "usage", "partition"),
    "fold": ("fold_id",),
}
Integers = NDArray[np.int64]


class SplitError(FertoolsError):
    """A split that is not there, or a list that is none."""


@dataclass(frozen=True)
class Split:
    """Rows of the three parts; a row that a list names twice is in two."""

    name: str
    test: Integers
    validation: Integers
    train: Integers


@dataclass(frozen=True)
class Listed:
    """The splits of a user's list, and the files on it that the manifest does not have."""

    splits: list[Split]
    unknown: list[str]
    notes: list[str]  # how the list was read, where that is not plain


def of_manifest(faces: pa.Table, folds: Sequence[int] = ()) -> list[Split]:
    """Return the folds of a manifest, all of them by default; before make-folds, its official split.

    Raises:
        SplitError: it has neither.
        ManifestError: it has no such fold.
    """
    if num_folds := schema.num_folds(faces):
        chosen = folds or range(1, num_folds + 1)
        return [Split(f"fold {fold}", **schema.parts(faces, fold)) for fold in chosen]
    usable = np.array(faces["usable"])
    rows = {part: np.flatnonzero(usable & pc.equal(faces["split"], part).fill_null(False).to_numpy()) for part in PARTS}
    if not (len(rows["test"]) and len(rows["train"])):
        raise SplitError(
            "the manifest has no folds and no official split; deal folds with: fertools make-folds, or name a list of "
            "your own: --splits FILE.csv"
        )
    return [Split("official split", **rows)]


def of_list(path: Path, faces: pa.Table, folds: Sequence[int] = ()) -> Listed:
    """Return the splits of a CSV with columns file, part and perhaps fold.

    Args:
        path: of the CSV. A file is named by the manifest's source, or by the end of it that no other has.
        faces: a manifest without images; faces that are not usable are left out.
        folds: of the list; all by default.

    Raises:
        SplitError: no such file, no such list, or a fold without test or training part.
    """
    usable, by_source = np.array(faces["usable"]), defaultdict(list)
    for row, source in enumerate(faces["source"].to_pylist()):
        by_source[source].append(row)
    index = SourceIndex(by_source)
    rows: dict[str, dict[str, list[int]]] = defaultdict(lambda: {part: [] for part in PARTS})
    unknown: list[str] = []
    notes: list[str] = []
    for line, file, part, fold in _lines(path, notes):
        if len(sources := index.find(file)) > 1:
            either = " or ".join(sources[:2])
            raise SplitError(f"{printable(path)} line {line}: {printable(file)!r} may be {either}; give its path")
        if not sources:
            unknown.append(printable(file))
        for source in sources:
            rows[fold][part] += [row for row in by_source[source] if usable[row]]
    if index.num_folded:
        notes.append(f"{index.num_folded} names match a face only without case, blanks or Unicode form")
    wanted = {str(fold) for fold in folds}
    if missing := wanted - set(rows):
        known = ", ".join(sorted(rows)) or "none"
        raise SplitError(f"{printable(path)} has no fold {', '.join(sorted(missing))}; it has {known}")
    if not rows:
        raise SplitError(f"{path}: none of its files is in the manifest; it names {', '.join(unknown[:3]) or 'none'}")
    splits = []
    for fold, parts in rows.items():
        if not wanted or fold in wanted:
            if empty := [part for part in ("test", "train") if not parts[part]]:
                raise SplitError(f"{path}: no usable face of the manifest is in the {empty[0]} part of fold {fold!r}")
            splits.append(
                Split(
                    f"fold {fold}".strip(),
                    **{name: np.unique(np.array(those, np.int64)) for name, those in parts.items()},
                )
            )
    return Listed(splits, unknown, notes)


def _lines(path: Path, notes: list[str]) -> Iterator[tuple[int, str, str, str]]:
    """Yield line number, file, part and fold of each row of a list, and note how the list was read."""
    table = open_table(path, COLUMNS, ("file", "part"))
    notes += table.notes
    for row in table.rows():
        if isinstance(row, Broken):
            raise SplitError(f"{printable(path)} line {row.line}: {row.reason}")
        if (part := part_of(row.cells["part"])) is None:
            written = printable(row.cells["part"], 40)
            raise SplitError(f"{printable(path)} line {row.line}: part {written!r}; known: {', '.join(PARTS)}")
        yield row.line, row.cells["file"], part, row.cells.get("fold", "")


def contiguous(classes: Sequence[str], num_test: Mapping[str, int], num_folds: int = 10) -> list[Split]:
    """Return folds that cut a block of places out of each class: the widely copied split of CK+48.

    Fold f tests on n places from the (f - 1) n th of each class on, even where that runs into the next class (fold 9 of
    CK+48 does, by six faces); the last fold on the last n. The rest trains.

    Args:
        classes: of each place, one class after the other.
        num_test: n of each class.
        num_folds: how many.

    Source:
        WuJie1010/Facial-Expression-Recognition.Pytorch, CK.py.
    """
    names = np.array(classes)
    first = {name: int(np.argmax(names == name)) for name in num_test}
    last = {name: first[name] + int((names == name).sum()) - n for name, n in num_test.items()}
    made = []
    for fold in range(1, num_folds + 1):
        start = last if fold == num_folds else {name: first[name] + (fold - 1) * n for name, n in num_test.items()}
        test = np.concatenate([np.arange(start[name], start[name] + n) for name, n in num_test.items()])
        made.append(_rest_trains(fold, test, len(classes)))
    return made


def shuffled(num_faces: int, num_folds: int, generator: np.random.Generator) -> list[Split]:
    """Return folds of faces dealt by chance, whoever they show."""
    tests = np.array_split(generator.permutation(num_faces), num_folds)
    return [_rest_trains(number, test, num_faces) for number, test in enumerate(tests, start=1)]


def _rest_trains(number: int, test: Integers, num_faces: int) -> Split:
    return Split(f"fold {number}", np.sort(test), np.empty(0, np.int64), np.setdiff1d(np.arange(num_faces), test))
