"""Fill in columns of a manifest and leave its images alone: what was there is copied as it is, unread.

    prepared:   rows 0-999: face_id ... fold, image | rows 1000-1999: face_id ... fold, image | footer
    filled in:  rows 0-999: face_id ... (-),  image | rows 1000-1999: face_id ... (-),  image | fold | fold | footer

What stands behind the images is written anew each time: the columns filled in, in their order, and the footer. What a
column was before stays in its place, some dozen bytes for a thousand rows, and no reader is sent there. So the bytes
tell what was prepared and what was filled in last, not how often. The new chunks are pyarrow's, from a file of their
column alone.
"""

import io
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from manifests import footer
from manifests.copying import copy_beginning
from manifests.footer import Chunk, Column, File, RowGroup, Struct
from manifests.schema import FACES, ManifestError
from manifests.whole import open_writer, part_of

_PAGES = (Column.DATA_PAGE_OFFSET, Column.INDEX_PAGE_OFFSET, Column.DICTIONARY_PAGE_OFFSET)
_INDEXES = (
    Chunk.OFFSET_INDEX_OFFSET, Chunk.OFFSET_INDEX_LENGTH, Chunk.COLUMN_INDEX_OFFSET, Chunk.COLUMN_INDEX_LENGTH,
)  # fmt: skip
_BLOOM_FILTER = (Column.BLOOM_FILTER_OFFSET, Column.BLOOM_FILTER_LENGTH)
_SIZES = {  # of a row group: the sum of which sizes of its chunks
    RowGroup.TOTAL_BYTE_SIZE: Column.TOTAL_UNCOMPRESSED_SIZE,
    RowGroup.TOTAL_COMPRESSED_SIZE: Column.TOTAL_COMPRESSED_SIZE,
}


def fill_in(manifest: Path, columns: Mapping[str, pa.Array], metadata: Mapping[str, Any]) -> None:
    """Put columns, a value for each row, in the place of those that a manifest has, and what it says of itself.

    Memory: these columns, those filled in before, and the footer taken apart: 40 MiB for 280,000 faces.

    Raises:
        ManifestError: it cannot be written, or another program stored it in a way of its own.
    """
    with part_of(manifest) as part, manifest.open("rb", buffering=0) as source:
        ours, stored = footer.read(_parquet(FACES, [], metadata)), footer.read(source)
        if stored[File.SCHEMA] != ours[File.SCHEMA]:
            raise ManifestError(
                f"{manifest} was stored by another program, in a way of its own; prepare it again: "
                f"fertools prepare {manifest.stem} --overwrite"
            )
        groups = stored[File.ROW_GROUPS].value[1]
        images = [chunk for group in groups for chunk in _chunks(group) if _name(chunk) == "image"]
        end = max((_extent(chunk)[1] for chunk in images), default=len(footer.MAGIC))
        behind = _put_behind(end, groups, columns, source)
        stored[File.KEY_VALUE_METADATA] = ours[File.KEY_VALUE_METADATA]
        copy_beginning(source, part, end)
        with part.open("ab") as target:
            target.write(behind + footer.ending(stored))


def _put_behind(end: int, groups: list[Struct], columns: Mapping[str, pa.Array], source: BinaryIO) -> bytes:
    """Return the chunks that stand behind the images, from byte `end`, and tell the row groups where each is."""
    behind = bytearray()
    for chunks in zip(*map(_chunks, groups), strict=True):
        name = _name(chunks[0])
        file, new = _written(name, columns[name], groups) if name in columns else (source, chunks)
        for group, old, chunk in zip(groups, chunks, new, strict=True):
            _forget_indexes(old)
            first, last = _extent(chunk)
            if first < end and chunk is old:
                continue
            file.seek(first)
            data = file.read(last - first)
            _replace(group, old, chunk, end + len(behind) - first)
            behind += data
    return bytes(behind)


def _written(name: str, column: pa.Array, groups: list[Struct]) -> tuple[BinaryIO, list[Struct]]:
    """Return a file of one column, in the row groups of the manifest, and its chunks."""
    lengths = [group[RowGroup.NUM_ROWS].value for group in groups]
    assert sum(lengths) == len(column)
    schema = pa.schema([FACES.field(name)])
    slices = [column.slice(end - length, length) for end, length in zip(accumulate(lengths), lengths, strict=True)]
    file = _parquet(schema, [pa.table([rows], schema=schema) for rows in slices], {})
    return file, [chunk for group in footer.read(file)[File.ROW_GROUPS].value[1] for chunk in _chunks(group)]


def _parquet(schema: pa.Schema, tables: Iterable[pa.Table], metadata: Mapping[str, Any]) -> BinaryIO:
    """Return a file in memory, each table a row group."""
    file = pa.BufferOutputStream()
    with open_writer(file, schema, metadata) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=len(table))
    return io.BytesIO(file.getvalue())


# --- what a footer says of chunks: the values of one column in one row group


def _chunks(group: Struct) -> list[Struct]:
    chunks: list[Struct] = group[RowGroup.COLUMNS].value[1]
    return chunks


def _name(chunk: Struct) -> str:
    name: bytes = chunk[Chunk.META_DATA].value[Column.PATH_IN_SCHEMA].value[1][0]
    return name.decode()


def _extent(chunk: Struct) -> tuple[int, int]:
    """Return the first byte of a chunk in its file, and the one after its last."""
    about = chunk[Chunk.META_DATA].value
    first: int = min(about[page].value for page in _PAGES if page in about and about[page].value)
    return first, first + about[Column.TOTAL_COMPRESSED_SIZE].value


def _forget_indexes(chunk: Struct) -> None:
    """Drop where another program put indexes of a chunk's pages, which is behind the images: reading needs none."""
    for struct, fields in ((chunk, _INDEXES), (chunk[Chunk.META_DATA].value, _BLOOM_FILTER)):
        for field in fields:
            struct.pop(field, None)


def _replace(group: Struct, old: Struct, new: Struct, by: int) -> None:
    """Put a chunk, moved by some bytes, in the place of an old one of its row group."""
    before, after = old[Chunk.META_DATA].value, new[Chunk.META_DATA].value
    for total, size in _SIZES.items():
        if total in group:
            group[total].value += after[size].value - before[size].value
    for page in _PAGES:
        if page in after and after[page].value:
            after[page].value += by
    old.update(new)
