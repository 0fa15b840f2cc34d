"""Folds of a user's own: a table that names each face's fold, or its part, as published partitions come."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fertools.folds.assign import FoldError
from fertools.inputs.expressions import part_of
from fertools.inputs.names import SourceIndex
from fertools.inputs.table import Broken, Row, Table, open_table
from manifests.text import printable

COLUMNS = {
    "path": ("file", "filename", "file_name", "source", "image", "image_path"),
    "face_id": ("face",),
    "fold": ("fold_id", "test_fold"),
    "part": ("split", "set", "subset", "usage", "partition"),
}
FOLD_OF = {"test": 1, "validation": 2, "train": 3}  # as an official split is dealt
LEAST = 3  # folds: one tests, one validates, one trains


@dataclass(frozen=True)
class Listed:
    """What a list deals."""

    folds: list[int | None] | None  # one a face, from 1; null: the list does not name it
    parts: list[str | None] | None  # instead: train, validation or test
    notes: list[str]


def read(path: Path, faces: pa.Table) -> Listed:
    """Return the folds, or the parts of one split, that a table deals to a manifest's faces.

    Args:
        path: of a table with columns path or face_id, and fold (the fold that tests this face) or part (train,
            validation, test). A path is the manifest's source, or an end of it that no other has; it means all faces
            of its image. Where both fold and part are there, the rows of the test parts say what tests in which fold.
        faces: a manifest without images.

    Raises:
        TableError: no such table.
        FoldError: a row that is none, a face that is dealt twice, a person in two folds, or too few folds.
    """
    table = open_table(path, COLUMNS, ())
    if not {"path", "face_id"} & set(table.columns) or not {"fold", "part"} & set(table.columns):
        found = ", ".join(printable(name, 40) for name in table.columns[:12])
        raise FoldError(f"{printable(path)}: columns {found}; expected path or face_id, and fold or part")
    index = SourceIndex(faces["source"].to_pylist())
    dealt, unknown = _deal(table, faces, index)
    if not dealt:
        raise FoldError(f"{printable(path)}: none of its files is in the manifest; it names {', '.join(unknown[:3])}")
    notes = list(table.notes)
    if index.num_folded:
        notes.append(f"{index.num_folded} names match a face only without case, blanks or Unicode form")
    if unknown:
        notes.append(f"{len(unknown)} listed files are not in the manifest: {', '.join(unknown[:3])}")
    if left := len(faces) - len(dealt):
        notes.append(f"{left} faces are not on the list, and in no fold")
    of_parts = "fold" not in table.columns
    if of_parts and (missing := {"train", "test"} - set(dealt.values())):
        raise FoldError(f"{printable(path)}: no face is in its {' or '.join(sorted(missing))} part")
    as_official = {row: FOLD_OF.get(part, 0) for row, part in dealt.items()}
    folds, shifted = (as_official, False) if of_parts else _numbered(path, dealt)
    notes += ["folds count from 0 on the list, and from 1 here"] * shifted
    in_order = [folds.get(row) for row in range(len(faces))]
    _check_people(path, faces["subject"].to_pylist(), in_order)
    if of_parts:
        return Listed(None, [dealt.get(row) for row in range(len(faces))], notes)
    return Listed(in_order, None, notes)


def _deal(table: Table, faces: pa.Table, index: SourceIndex) -> tuple[dict[int, str], list[str]]:
    """Return row -> fold or part as written, and the names that the manifest does not have."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, source in enumerate(faces["source"].to_pylist()):
        rows_of[source].append(row)
    row_of = {face_id: row for row, face_id in enumerate(faces["face_id"].to_pylist())}
    dealt: dict[int, tuple[str, int]] = {}
    unknown: list[str] = []
    for line, cells, value in _lines(table):
        name = cells.get("face_id") or cells.get("path", "")
        if cells.get("face_id"):
            rows = [row_of[name]] if name in row_of else []
        else:
            sources = index.find(name)
            if len(sources) > 1:
                either = " or ".join(sources[:2])
                raise FoldError(f"{_at(table, line)}: {printable(name)} may be {either}; give its path")
            rows = rows_of[sources[0]] if sources else []
        unknown += [] if rows else [printable(name)]
        for row in rows:
            earlier, first = dealt.setdefault(row, (value, line))
            if earlier != value:
                raise FoldError(
                    f"{_at(table, line)}: {printable(name)} is in {value}, and in {earlier} by line {first}; "
                    "a face tests in one fold"
                )
    return {row: value for row, (value, _) in dealt.items()}, unknown


def _lines(table: Table) -> Iterator[tuple[int, dict[str, str], str]]:
    """Yield line number, cells and the fold or part of each row that deals something."""
    for row in table.rows():
        if isinstance(row, Broken):
            raise FoldError(f"{_at(table, row.line)}: {row.reason}")
        cells = dict(row.cells)
        part = _part(table, row) if "part" in cells else None
        if "fold" not in cells:
            yield row.line, cells, str(part)
        elif part in (None, "test"):
            fold = cells["fold"].lower().removeprefix("fold").strip(" _-").removesuffix(".0")
            if not fold.isdecimal() or int(fold) > 126:
                raise FoldError(f"{_at(table, row.line)}: the fold {printable(cells['fold'], 40)!r} is no number")
            yield row.line, cells, str(int(fold))


def _part(table: Table, row: Row) -> str:
    if (part := part_of(row.cells["part"])) is None:
        written = printable(row.cells["part"], 40)
        raise FoldError(f"{_at(table, row.line)}: part {written!r}; known: train, validation, test")
    return part


def _at(table: Table, line: int) -> str:
    return f"{printable(table.path)} line {line}"


def _numbered(path: Path, dealt: dict[int, str]) -> tuple[dict[int, int], bool]:
    """Return row -> fold from 1, and whether the list counts from 0."""
    numbers = sorted(set(map(int, dealt.values())))
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
        raise FoldError(f"{printable(path)}: its folds are {', '.join(map(str, numbers))}; expected 1, 2, 3 ...")
    if len(numbers) < LEAST:
        raise FoldError(f"{printable(path)}: {len(numbers)} folds; one tests, one validates, so {LEAST} are needed")
    return {row: int(fold) - numbers[0] + 1 for row, fold in dealt.items()}, numbers[0] == 0


def _check_people(path: Path, subjects: Sequence[str | None], folds: Sequence[int | None]) -> None:
    fold_of: dict[str, int] = {}
    for subject, fold in zip(subjects, folds, strict=True):
        if subject is not None and fold is not None and fold_of.setdefault(subject, fold) != fold:
            raise FoldError(
                f"{printable(path)}: {printable(subject)} is in folds {fold_of[subject]} and {fold}, so that somebody "
                "who is trained on is tested on, too. fertools audit --splits says how far this goes; fertools "
                "make-folds --by subject deals people to folds"
            )
