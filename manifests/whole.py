"""How a file of ours is written: whole, under a name of its own until it is complete."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.schema import VERSION, ManifestError

# Hugging Face datasets shows the column as pictures when the file's metadata says so.
_HUGGINGFACE = {"info": {"features": {"image": {"_type": "Image"}}}}
_DICTIONARY = ("expression", "subject", "group", "sequence", "role", "reason", "dataset", "label", "split")
OWN_KEYS = (b"manifest_version", b"huggingface", b"ARROW:schema", b"pandas")


def encode(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return what a file says of itself as its metadata stores it."""
    own = {"manifest_version": str(VERSION), "huggingface": json.dumps(_HUGGINGFACE)}
    return own | {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}


@contextmanager
def part_of(path: Path) -> Iterator[Path]:
    """Give the name under which a file is to be written; it gets its own when it is complete.

    Raises:
        ManifestError: it cannot be written: a full disk, a folder that is read only.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        with suppress(OSError):  # of a folder that could not be made
            part.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path, schema: pa.Schema, metadata: Mapping[str, Any]) -> Iterator[pq.ParquetWriter]:
    """Open a Parquet file for writing; it appears under its name only when it is complete.

    Raises:
        ManifestError: it cannot be written: a full disk, a folder that is read only.
    """
    with part_of(path) as part, open_writer(part, schema, metadata) as writer:
        yield writer


def open_writer(
    where: Path | pa.BufferOutputStream, schema: pa.Schema, metadata: Mapping[str, Any]
) -> pq.ParquetWriter:
    """Return what writes a Parquet file of ours: images as they are, so that they can be read in place."""
    return pq.ParquetWriter(
        where,
        schema.with_metadata(encode(metadata)),
        compression={leaf: "none" if leaf.startswith("image") else "zstd" for leaf in _leaves(schema)},
        use_dictionary=[name for name in _DICTIONARY if name in schema.names],
        write_statistics=[name for name in schema.names if name != "image"],
    )


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in.

    Raises:
        ManifestError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> ManifestError:
    return ManifestError(
        f"{path} cannot be written ({error.strerror or error}); nothing is left half-written. Mend that, or name "
        "another folder, and run the same command again"
    )


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
