"""Tables whose rows are images: columns emotion, pixels (48 x 48 grey values) and Usage, as FER2013 spread them.

A row is found again by the byte it starts at. Rows are read one at a time, and none longer than 16 KiB.
"""

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fertools.datasets.base import DatasetError, Quarantined, Sample
from fertools.inputs.codes import CodesError, check, numbers
from fertools.inputs.links import is_allowed, is_followed
from fertools.inputs.table import encoding_of, not_a_table
from manifests.text import printable

SIZE = 48  # px, of both sides
COLUMNS = ("emotion", "pixels", "Usage")
SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
MAX_ROW = 1 << 14  # bytes; 48 x 48 values take 9,216 at most


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    number: int  # from 1, below the header
    place: int  # byte of the file
    cells: Mapping[str, bytes] | None  # by column; null: there are not as many cells as columns


def find_tables(root: Path, *names: str) -> list[tuple[int, Path]]:
    """Return every file of these names, in any case, in root or one of its folders, with its name's position.

    Raises:
        DatasetError: one is a link that leaves root.
    """
    folders = [root, *(path for path in sorted(root.iterdir()) if path.is_dir() and is_followed(root, path))]
    found = []
    for path in (path for folder in folders for path in sorted(folder.iterdir())):
        if path.name.lower() in names and path.is_file():
            if not is_allowed(root, path):
                raise DatasetError(
                    f"{path}: a link that leaves the raw folder; put the file itself there, or --follow-links"
                )
            found.append((names.index(path.name.lower()), path.relative_to(root)))
    return found


def rows(root: Path, table: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """Yield the rows below the header of a table, which are not empty; columns may stand in any order.

    Raises:
        DatasetError: no table, or one without these columns.
    """
    with (root / table).open("rb") as file:
        names, separator = _header(file, root / table, columns)
        for number, (place, line) in enumerate(lines(file), 1):
            cells = [cell.strip(b' "\r\n') for cell in line.split(separator)]
            whole = len(cells) == len(names)
            yield Row(number, place, dict(zip(names, cells, strict=True)) if whole else None)


def lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, each with its place; of a line longer than 16 KiB, its start."""
    place = file.tell()
    while line := file.readline(MAX_ROW):
        if line.strip():
            yield place, line
        place += len(line)
        while not line.endswith(b"\n") and (line := file.readline(MAX_ROW)):
            place += len(line)


def _header(file: BinaryIO, path: Path, columns: tuple[str, ...]) -> tuple[list[str], bytes]:
    """Return the names of a table's columns, in any case, and what separates its cells."""
    _, line = next(lines(file), (0, b""))
    if (encoding_of(line) or "utf-8").startswith(("utf-16", "utf-32")):
        raise DatasetError(f"{path}: text in UTF-16; save it as CSV in UTF-8")
    if reason := not_a_table(line):
        raise DatasetError(f"{path}: {reason}; download or unpack it again")
    text = line.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
    separator = max(",;\t", key=text.count)
    own = {name.lower(): name for name in columns}
    names = [name.strip(' "\r\n') for name in text.split(separator)]
    names = [own.get(name.lower(), name) for name in names]
    if missing := [name for name in columns if name not in names]:
        raise DatasetError(
            f"{path}: no column {' or '.join(missing)}; found {text.strip()[:60]!r}, expected {', '.join(columns)}"
        )
    return names, separator.encode()


def samples(root: Path, table: Path, codes: Mapping[str, str]) -> Iterator[Sample | Quarantined]:
    """Yield one item a row, labelled with its code; what is no image of 48 x 48 or has an unknown code is quarantined.

    Args:
        root: the raw folder.
        table: the file, below it.
        codes: code as written -> as published.

    Raises:
        DatasetError: as `rows`.
    """
    for row in rows(root, table, COLUMNS):
        try:
            yield _sample(table, row, codes)
        except ValueError as error:
            yield Quarantined(table, f"row {row.number}: {error}")


def check_codes(root: Path, table: Path, published: Mapping[str, str], counts: Mapping[Any, int]) -> None:
    """Refuse a table whose classes are numbered otherwise than the published ones.

    Args:
        root: the raw folder.
        table: the file, below it.
        published: code -> expression.
        counts: code -> how many are published.

    Raises:
        DatasetError: it is; the message says how.
    """
    written = (row.cells["emotion"].decode(errors="replace") for row in rows(root, table, COLUMNS) if row.cells)
    try:
        check(numbers(written), published, {published[code]: num for code, num in counts.items()})
    except CodesError as error:
        raise DatasetError(f"{printable(root / table)}: {error}") from error


def _sample(table: Path, row: Row, codes: Mapping[str, str]) -> Sample:
    if row.cells is None:
        raise ValueError("not as many cells as columns")
    code, usage = (row.cells[name].decode(errors="replace") for name in ("emotion", "Usage"))
    if code not in codes:
        raise ValueError(f"unknown emotion {code[:20]!r}")
    if usage not in SPLITS:
        raise ValueError(f"Usage {usage[:20]!r} is not one of {', '.join(SPLITS)}")
    _values(row.cells["pixels"])
    return Sample(table, codes[code], split=SPLITS[usage], place=row.place)


def _values(cell: bytes) -> bytes:
    """Return grey values written as decimal numbers, one byte each.

    Raises:
        ValueError: there are not 48 x 48, or one is not 0 to 255; the message is the reason.
    """
    if cell.translate(None, b"0123456789 "):
        raise ValueError("grey values that are not numbers")
    values = np.fromstring(cell.decode(), np.int64, sep=" ")
    if len(values) != SIZE * SIZE:
        raise ValueError(f"{len(values)} grey values, not {SIZE} x {SIZE} = {SIZE * SIZE}")
    if values.max() > 255:
        raise ValueError(f"grey value {values.max()}, more than 255")
    return values.astype(np.uint8).tobytes()


def read(root: Path, sample: Sample) -> bytes:
    """Return a row's image as a binary PGM.

    Raises:
        DatasetError: there is no image at its place: the table has changed since it was listed.
    """
    assert sample.place is not None, "a file of its own is read as it is"
    with (root / sample.path).open("rb") as file:
        names, separator = _header(file, root / sample.path, COLUMNS)
        file.seek(sample.place)
        cells = file.readline(MAX_ROW).split(separator)
    try:
        return b"P5 %d %d 255\n" % (SIZE, SIZE) + _values(cells[names.index("pixels")].strip(b' "\r\n'))
    except (IndexError, ValueError) as error:
        raise DatasetError(f"{sample.path} has no image at byte {sample.place} any more: it has changed") from error
