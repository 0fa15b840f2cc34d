"""The footer of a Parquet file, as structs of numbered fields: what this code does not know of it stays as it is.

Sources: parquet.thrift of apache/parquet-format (what the numbers mean), thrift-compact-protocol.md of apache/thrift
(how they are stored). A struct is a run of fields and a zero; a field begins with a byte, how far its number lies from
the one before it and its kind. Whole numbers have 7 bits a byte, the lowest first, the sign in the lowest.
"""

import os
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, BinaryIO

from manifests.schema import ManifestError

MAGIC = b"PAR1"  # a Parquet file begins and ends with it
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12

_NOT_WHOLE = "the file does not end as a Parquet file does; make it again"


class File(IntEnum):
    """Fields of FileMetaData."""

    SCHEMA = 2
    ROW_GROUPS = 4
    KEY_VALUE_METADATA = 5


class RowGroup(IntEnum):
    """Fields of RowGroup."""

    COLUMNS = 1
    TOTAL_BYTE_SIZE = 2
    NUM_ROWS = 3
    TOTAL_COMPRESSED_SIZE = 6


class Chunk(IntEnum):
    """Fields of ColumnChunk."""

    FILE_OFFSET = 2
    META_DATA = 3
    OFFSET_INDEX_OFFSET = 4
    OFFSET_INDEX_LENGTH = 5
    COLUMN_INDEX_OFFSET = 6
    COLUMN_INDEX_LENGTH = 7


class Column(IntEnum):
    """Fields of ColumnMetaData."""

    PATH_IN_SCHEMA = 3
    TOTAL_UNCOMPRESSED_SIZE = 6
    TOTAL_COMPRESSED_SIZE = 7
    DATA_PAGE_OFFSET = 9
    INDEX_PAGE_OFFSET = 10
    DICTIONARY_PAGE_OFFSET = 11
    BLOOM_FILTER_OFFSET = 14
    BLOOM_FILTER_LENGTH = 15


@dataclass(slots=True)
class Field:
    """One field of a struct: a list's value is the kind of its elements and the elements, a double's its bytes."""

    kind: int
    value: Any


Struct = dict[int, Field]


def read(file: BinaryIO) -> Struct:
    """Return the footer of a Parquet file.

    Raises:
        ManifestError: it does not end like one.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    end = file.read()
    length = int.from_bytes(end[:4], "little")
    if end[4:] != MAGIC or length > size - 8:
        raise ManifestError(_NOT_WHOLE)
    file.seek(size - 8 - length)
    return decode(file.read(length))


def ending(footer: Struct) -> bytes:
    """Return what a Parquet file with this footer ends with."""
    data = encode(footer)
    return data + len(data).to_bytes(4, "little") + MAGIC


def decode(data: bytes) -> Struct:
    """Return the struct that these bytes begin with.

    Raises:
        ManifestError: it ends early, or holds a kind that Parquet does not use.
    """
    try:
        return _Reader(data).struct()
    except IndexError:
        raise ManifestError(_NOT_WHOLE) from None


def encode(fields: Struct) -> bytes:
    """Return the bytes of a struct."""
    data = bytearray()
    _write_struct(data, fields)
    return bytes(data)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def take(self, length: int) -> bytes:
        self.at += length
        if self.at > len(self.data):
            raise IndexError
        return self.data[self.at - length : self.at]

    def unsigned(self) -> int:
        value, shift = 0, 0
        while (byte := self.byte()) > 127:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def signed(self) -> int:
        value = self.unsigned()
        return value >> 1 ^ -(value & 1)

    def struct(self) -> Struct:
        fields, number = {}, 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.signed()
            fields[number] = Field(head & 15, self.value(head & 15))
        return fields

    def value(self, kind: int) -> Any:
        if I16 <= kind <= I64:
            return self.signed()
        if kind == BINARY:
            return self.take(self.unsigned())
        if kind == STRUCT:
            return self.struct()
        if kind in (LIST, SET):
            return self.elements()
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind in (BYTE, DOUBLE):
            return self.take(1 if kind == BYTE else 8)
        raise ManifestError(
            f"the footer of this Parquet file has a field of kind {kind}, known to no Parquet; make it again"
        )

    def elements(self) -> tuple[int, list[Any]]:
        head = self.byte()
        kind, num = head & 15, head >> 4
        if num == 15:
            num = self.unsigned()
        if kind in (TRUE, FALSE):  # unlike a field, an element is a byte
            return kind, list(self.take(num))
        return kind, [self.value(kind) for _ in range(num)]


def _write_unsigned(data: bytearray, value: int) -> None:
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    data.append(value)


def _write_signed(data: bytearray, value: int) -> None:
    _write_unsigned(data, value << 1 ^ value >> 63)


def _write_struct(data: bytearray, fields: Struct) -> None:
    before = 0
    for number, field in fields.items():
        if 0 < number - before < 16:
            data.append(number - before << 4 | field.kind)
        else:
            data.append(field.kind)
            _write_signed(data, number)
        _write_value(data, field.kind, field.value)
        before = number
    data.append(0)


def _write_value(data: bytearray, kind: int, value: Any) -> None:
    if I16 <= kind <= I64:
        _write_signed(data, value)
    elif kind == BINARY:
        _write_unsigned(data, len(value))
        data += value
    elif kind == STRUCT:
        _write_struct(data, value)
    elif kind in (LIST, SET):
        _write_elements(data, *value)
    elif kind in (BYTE, DOUBLE):
        data += value


def _write_elements(data: bytearray, kind: int, elements: list[Any]) -> None:
    data.append(min(len(elements), 15) << 4 | kind)
    if len(elements) >= 15:
        _write_unsigned(data, len(elements))
    if kind in (TRUE, FALSE):
        data += bytes(elements)
    else:
        for element in elements:
            _write_value(data, kind, element)
