"""How the Parquet files of a manifest are written, and what they say of themselves: version and metadata."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
_ASCENDING = pa.field("anchor", pa.int32(), nullable=False)  # bytes of one weight side by side hardly take any room


@contextmanager
def atomic_parquet(path: Path, schema: pa.Schema, metadata: Mapping[str, Any]) -> Iterator[pq.ParquetWriter]:
    """Open a Parquet file for writing; it appears under its name only when it is complete.

    Raises:
        WriteError: it cannot be written: a full disk, a folder that is read only.
    """
    with atomic_file(path) as temporary, open_writer(temporary, schema, metadata) as writer:
        yield writer


def open_writer(where: Path | io.RawIOBase, schema: pa.Schema, metadata: Mapping[str, Any]) -> pq.ParquetWriter:
    """Return what writes a Parquet file of ours."""
    return pq.ParquetWriter(
        where,
        schema.with_metadata(_encode(metadata)),
        compression={leaf: "none" if leaf in _AS_THEY_ARE else "zstd" for leaf in _leaves(schema)},
        column_encoding={"anchor": "BYTE_STREAM_SPLIT"} if _ASCENDING in schema else None,
        use_dictionary=[name for name in _DICTIONARY if name in schema.names],
        write_statistics=[name for name in schema.names if name not in ("image", "anchor", "partner")],
    )


def read_metadata(path: Path, command: str) -> dict[str, Any]:
    """Return what a file of ours says of itself.

    Args:
        path: of the file.
        command: that makes it again, for the words of a refusal.

    Raises:
        ManifestError: not a file of ours, or one of another version.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except FileNotFoundError:
        raise ManifestError(f"{path} does not exist; make it with: {command}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{path} is not a complete Parquet file ({error}); make it again: {command}") from error
    version = metadata.get(b"manifest_version", b"none").decode()
    if version != str(VERSION):
        raise ManifestError(
            f"{path} has manifest version {version}, this code reads {VERSION}; make it again: {command}"
        )
    return {key.decode(): json.loads(value) for key, value in metadata.items() if key not in _OWN_KEYS}


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
