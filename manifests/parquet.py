"""How Parquet files of ours are written and read: version and metadata, checksums, and a seal over the whole file.

Parquet has a checksum for each page of data, and none for headers and footer. Between the last page and the footer,
where no reader looks, a file of ours therefore holds a seal: the hash of all its other bytes. Files that others have
written have none, and are read as they are.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.atomic import atomic_file
from manifests.errors import ManifestError
from manifests.schema import VERSION

# Hugging Face datasets shows the column as pictures when the file's metadata says so.
_HUGGINGFACE = {"info": {"features": {"image": {"_type": "Image"}}}}
_DICTIONARY = ("expression", "subject", "group", "sequence", "role", "reason", "dataset", "label", "split")
_OWN_KEYS = (b"manifest_version", b"huggingface", b"ARROW:schema", b"pandas")
_AS_THEY_ARE = ("image.bytes", "image.path", "partner")  # images to be read in place; partners, which are random
_MAGIC = b"FERTOOLS"  # at the beginning of a seal
_SEAL = len(_MAGIC) + hashlib.sha256().digest_size
_END = 8  # bytes of the footer's length and of Parquet's own magic
_ASCENDING = pa.field("anchor", pa.int32(), nullable=False)  # bytes of one weight side by side hardly take any room


@contextmanager
def atomic_parquet(path: Path, schema: pa.Schema, metadata: Mapping[str, Any]) -> Iterator[pq.ParquetWriter]:
    """Open a Parquet file for writing; it appears under its name only when it is complete.

    Raises:
        WriteError: it cannot be written: a full disk, a folder that is read only.
    """
    with atomic_file(path) as temporary:
        with open_writer(temporary, schema, metadata) as writer:
            yield writer
        _seal(temporary)


def open_writer(where: Path | io.RawIOBase, schema: pa.Schema, metadata: Mapping[str, Any]) -> pq.ParquetWriter:
    """Return what writes a Parquet file of ours."""
    return pq.ParquetWriter(
        where,
        schema.with_metadata(_encode(metadata)),
        compression={leaf: "none" if leaf in _AS_THEY_ARE else "zstd" for leaf in _leaves(schema)},
        column_encoding={"anchor": "BYTE_STREAM_SPLIT"} if _ASCENDING in schema else None,
        use_dictionary=[name for name in _DICTIONARY if name in schema.names],
        write_page_checksum=True,
        write_statistics=[name for name in schema.names if name not in ("image", "anchor", "partner")],
    )


def read_table(path: Path, columns: Sequence[str] | None = None, filters: Any = None) -> pa.Table:
    """Return a table of ours, or some columns or rows of it, once all its bytes are those that were written.

    Args:
        path: of the file.
        columns: null: all.
        filters: as pyarrow takes them; null: all rows.

    Raises:
        ManifestError: it is missing or damaged.
    """
    check_whole(path)
    names = None if columns is None else list(columns)
    try:
        if filters is not None:
            return pq.read_table(path, columns=names, filters=filters, page_checksum_verification=True)
        with open_file(path) as file:  # read_table would import all of pyarrow.dataset first
            if missing := sorted(set(names or ()) - set(file.schema_arrow.names)):
                raise ManifestError(f"{path} has no column {', '.join(missing)}")
            return file.read(names)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ManifestError(f"{path} is damaged ({_first_line(error)})") from error


def open_file(path: Path) -> pq.ParquetFile:
    """Open a Parquet file for reading whose pages are held against their checksums."""
    return pq.ParquetFile(path, page_checksum_verification=True)


def check_whole(path: Path) -> None:
    """Raise ManifestError unless a file's bytes are those that were written; it is read once as long as it is the same.

    A file without a seal, which others have written, passes.
    """
    try:
        status = path.stat()
        damage = _damage(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        raise ManifestError(f"{path} does not exist") from None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror or error})") from error
    if damage:
        raise ManifestError(f"{path} is {damage}")


@lru_cache(maxsize=1024)
def _damage(path: Path, *_: int) -> str:
    """Return what is wrong with a file, in words; empty: nothing."""
    with path.open("rb") as file:
        end = _body_end(file)
        if end is None:
            return "not a complete Parquet file: its end is missing"
        file.seek(end - _SEAL if end > _SEAL else 0)
        found = file.read(_SEAL)
        half = len(_MAGIC) // 2
        if found[:half] != _MAGIC[:half] and found[half : len(_MAGIC)] != _MAGIC[half:]:  # however one byte has changed
            return ""
        whole = found == _MAGIC + _hash(file, end - _SEAL, end)
        return "" if whole else "damaged: its bytes are not those that were written"


def _seal(path: Path) -> None:
    """Insert the hash of all of a file's bytes before its footer."""
    with path.open("r+b") as file:
        end = _body_end(file)
        assert end is not None
        file.seek(end)
        footer, digest = file.read(), _hash(file, end, end)
        file.seek(end)
        file.write(_MAGIC + digest + footer)


def _body_end(file: io.BufferedIOBase) -> int | None:
    """Return where the footer of a Parquet file begins; null: it has none."""
    size = file.seek(0, io.SEEK_END)
    if size < _END + 4:
        return None
    file.seek(size - _END)
    length, magic = int.from_bytes(file.read(4), "little"), file.read(4)
    return size - _END - length if magic == b"PAR1" and length <= size - _END else None


def _hash(file: io.BufferedIOBase, end: int, footer: int) -> bytes:
    """Return the hash of a file's bytes up to the end of its pages, and from its footer on."""
    whole = hashlib.sha256()
    file.seek(0)
    left = end
    while left and (data := file.read(min(left, 1 << 20))):
        whole.update(data)
        left -= len(data)
    file.seek(footer)
    whole.update(file.read())
    return whole.digest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def read_metadata(path: Path, command: str) -> dict[str, Any]:
    """Return what a file of ours says of itself.

    Args:
        path: of the file.
        command: that makes it again, for the words of a refusal.

    Raises:
        ManifestError: not a file of ours, one of another version, or a damaged one.
    """
    if not path.exists():
        raise ManifestError(f"{path} does not exist; make it with: {command}")
    with again(command):
        check_whole(path)
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(
            f"{path} is not a complete Parquet file ({_first_line(error)}); make it again: {command}"
        ) from error
    version = metadata.get(b"manifest_version", b"none").decode("utf-8", "replace")
    if version != str(VERSION):
        raise ManifestError(
            f"{path} has manifest version {version}, this code reads {VERSION}; make it again: {command}"
        )
    try:
        return {key.decode(): json.loads(value) for key, value in metadata.items() if key not in _OWN_KEYS}
    except ValueError as error:
        raise ManifestError(f"{path}: its metadata is no JSON ({error}); make it again: {command}") from error


@contextmanager
def again(command: str) -> Iterator[None]:
    """Add to a refusal the command that makes the file again."""
    try:
        yield
    except ManifestError as error:
        raise ManifestError(f"{error}; make it again: {command}") from error


def _encode(metadata: Mapping[str, Any]) -> dict[str, str]:
    own = {"manifest_version": str(VERSION), "huggingface": json.dumps(_HUGGINGFACE)}
    return own | {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the column paths that Parquet stores, as its compression option wants them."""
    leaves = []
    for field in schema:
        if pa.types.is_struct(field.type):
            leaves += [f"{field.name}.{child.name}" for child in field.type]
        elif pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
            leaves.append(f"{field.name}.list.element")
        else:
            leaves.append(field.name)
    return leaves
