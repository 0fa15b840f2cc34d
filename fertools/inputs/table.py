"""The one reader of users' tables: whatever separator, encoding and header a spreadsheet or a script has written.

A table is read line by line, so that a quotation mark that nobody closes costs its own row and no other.
"""

import codecs
import csv
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fertools.errors import FertoolsError
from manifests.text import printable

MAX_BYTES = 500_000_000
MAX_LINE = 65_536  # characters
MAX_JOINED = 20  # lines of a cell that holds line breaks
PROBE = 4096  # bytes that tell UTF-16 without a mark
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
BOMS = (  # the longer first: UTF-32 starts as UTF-16 does
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
USUAL = ("utf-8", "utf-8-sig")
WINDOWS = "cp1252"  # of what is neither: what Excel writes in western Europe
PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf", b"PAR1")
Names = Mapping[str, Sequence[str]]  # column -> what it may be called, the first in doubt


class TableError(FertoolsError):
    """No table, or one without the columns that are needed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its cells by column, blanks around them removed; "" where a row ends early."""

    line: int  # from 1, of the file
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that is no row, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Table:
    """A table whose header is understood."""

    path: Path
    columns: tuple[str, ...]  # of the names that were asked for where they are, else as written in lower case
    encoding: str
    separator: str
    first: int  # line below the header
    renamed: Mapping[str, str]  # column: what it is called in the file, where that is another word

    def rows(self) -> Iterator[Row | Broken]:
        """Yield the rows that are not empty, and the lines that are none.

        Raises:
            TableError: the file cannot be read.
        """
        pending: list[tuple[int, str]] = []
        for number, line in lines(self.path, self.encoding):
            if number >= self.first:
                pending.append((number, line))
                yield from self._take(pending)
        while pending:
            yield self._broken(pending)
            yield from self._take(pending)

    def _take(self, pending: list[tuple[int, str]]) -> Iterator[Row | Broken]:
        """Yield what the waiting lines give; they wait on while a cell may go on in the next line."""
        while pending:
            cells = _cells("\n".join(line for _, line in pending), self.separator)
            too_far = len(pending) > 1 and (len(pending) > MAX_JOINED or self._starts_row(pending[-1][1]))
            if too_far or len(pending[0][1]) >= MAX_LINE:
                yield self._broken(pending)
            elif cells is not None:
                number = pending[0][0]
                pending.clear()
                yield from self._row(number, cells)
            elif _is_open(pending[0][1], self.separator):
                return
            else:
                yield self._broken(pending)

    def _starts_row(self, line: str) -> bool:
        """Whether a waiting line is a row of its own, so that no cell can go on in it."""
        cells = _cells(line, self.separator)
        return cells is not None and len(cells) == len(self.columns) > 1

    def _broken(self, pending: list[tuple[int, str]]) -> Broken:
        """Take the first waiting line away as broken."""
        number, line = pending.pop(0)
        if len(line) >= MAX_LINE:
            return Broken(number, f"longer than {MAX_LINE} characters")
        return Broken(number, f"a quotation mark in {printable(line, 60)} is not closed, or has text behind it")

    def _row(self, number: int, cells: Sequence[str]) -> Iterator[Row | Broken]:
        if not any(cells):
            return
        if "\0" in "".join(cells):
            yield Broken(number, f"holds a null character: {printable(self.separator.join(cells), 60)}")
        elif any(cells[len(self.columns) :]):
            yield Broken(
                number, f"{len(cells)} cells for {len(self.columns)} columns; put a cell with commas in quotes"
            )
        else:
            filled = [*cells, *[""] * (len(self.columns) - len(cells))]
            yield Row(number, dict(zip(self.columns, filled, strict=False)))

    @property
    def notes(self) -> list[str]:
        """What of it is not the usual CSV, in words."""
        told = []
        if self.separator != ",":
            told.append(f"separated by {SEPARATORS[self.separator]}")
        if self.encoding not in USUAL:
            guess = ", as it is not UTF-8" if self.encoding == WINDOWS else ""
            told.append(f"in {self.encoding.upper()}{guess}")
        told += [f"column {printable(name, 40)} taken for {column}" for column, name in self.renamed.items()]
        return [f"{printable(self.path.name)}: {', '.join(told)}"] if told else []


def open_table(path: Path, names: Names, required: Sequence[str]) -> Table:
    """Return a table by its header: the first line that is not blank, but for Excel's `sep=;`.

    Args:
        path: of the file.
        names: column -> what it may be called, compared without case and blanks; its own name goes first.
        required: columns that must be there.

    Raises:
        TableError: no such file, no text, no header with these columns, or a column that is there twice.
    """
    encoding = _checked_encoding(path)
    for number, line in lines(path, encoding):
        if not line.strip(" \t\0") or line.lower().startswith("sep="):
            continue
        separator = max(SEPARATORS, key=lambda sign: len(_known(line, sign, names)))
        written = _header(line, separator)
        known = _known(line, separator, names)
        if missing := [column for column in required if column not in known]:
            break
        if twice := sorted({name for name in written if name and written.count(name) > 1}):
            raise TableError(
                f"{printable(path)}: the column {twice[0]!r} stands twice in its header; name one otherwise"
            )
        column_of = {name: column for column, name in known.items()}
        renamed = {column: name for column, name in known.items() if column != name}
        columns = tuple(column_of.get(name, name or f"column {at}") for at, name in enumerate(written, 1))
        return Table(path, columns, encoding, separator, number + 1, renamed)
    else:
        written, missing = [], list(required)
    found = ", ".join(printable(name, 40) for name in written[:12]) or "nothing"
    raise TableError(
        f"{printable(path)}: no column {' or '.join(missing)}; found {found}; expected a first line that names the "
        f"columns {', '.join(names)} ({', '.join(required)} at least)"
    )


def _header(line: str, separator: str) -> list[str]:
    cells = _cells(line, separator) or line.split(separator)
    return [" ".join(unicodedata.normalize("NFC", cell.strip(' "\ufeff')).casefold().split()) for cell in cells]


def _known(line: str, separator: str, names: Names) -> dict[str, str]:
    """Return the columns that a header has, each with its name there.

    Raises:
        TableError: two columns may be the same one.
    """
    written, known = _header(line, separator), {}
    for column, others in names.items():
        if found := [name for name in (column, *others) if name in written]:
            if len(found) > 1 and found[0] != column:
                raise TableError(
                    f"the columns {' and '.join(found)} may both be {column}; call the one that is {column}"
                )
            known[column] = found[0]
    return known


def _cells(line: str, separator: str) -> list[str] | None:
    """Return the cells of a line; null where its quotation marks do not pair."""
    try:
        (cells,) = list(csv.reader([line], delimiter=separator, strict=True, skipinitialspace=True)) or [[]]
    except (csv.Error, ValueError):
        return None
    return [cell.strip() for cell in cells]


def _is_open(line: str, separator: str) -> bool:
    """Whether a quotation mark of a line is not closed by its end, rather than followed by text."""
    return len(line) < MAX_LINE and _cells(line, separator) is None and line.count('"') % 2 == 1


# --- bytes to lines


def lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    r"""Yield number, from 1, and text of every line, whether it ends in \n, \r\n or \r; of a long one, its start.

    Raises:
        TableError: the file cannot be read.
    """
    errors = "surrogateescape" if encoding in (*USUAL, WINDOWS) else "replace"
    try:
        with path.open(encoding=encoding, errors=errors) as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                yield number, line.rstrip("\n")
                while not line.endswith("\n") and (line := file.readline(MAX_LINE)):
                    pass
    except (OSError, UnicodeError) as error:
        raise TableError(f"{printable(path)}: cannot be read: {error}") from error


def _checked_encoding(path: Path) -> str:
    """Return the encoding of a text.

    Raises:
        TableError: no file, or one that is no text.
    """
    try:
        if not path.is_file():
            raise TableError(f"{printable(path)}: cannot be read: no such file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise TableError(f"{printable(path)}: {size} bytes; a table of at most {MAX_BYTES:,} is read")
        with path.open("rb") as file:
            if reason := not_a_table(file.read(512)):
                raise TableError(f"{printable(path)}: {reason}; save a workbook as CSV, unpack an archive")
            file.seek(0)
            return encoding_of(file.read(PROBE)) or (USUAL[0] if _is_utf8(file) else WINDOWS)
    except (OSError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{printable(path)}: cannot be read: {error}") from error


def encoding_of(start: bytes) -> str | None:
    """Return the encoding that a file's start gives away: by its mark, or by the zeros of UTF-16; null: neither."""
    for mark, name in BOMS:
        if start.startswith(mark):
            return name
    if len(start) >= 8 and start.count(0) * 3 > len(start):
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    return None


def not_a_table(start: bytes) -> str | None:
    """Return what a file is instead of a table, by its first bytes; null where it may be one."""
    if not start:
        return "found nothing: the file is empty"
    if start.startswith(PACKED):
        return "still packed under this name"
    if start.lstrip(codecs.BOM_UTF8 + b" \t\r\n").startswith(b"<"):
        return f"a web page saved under this name: it starts with {start[:15].decode(errors='replace')!r}"
    return None


def _is_utf8(file: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while chunk := file.read(1 << 20):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
