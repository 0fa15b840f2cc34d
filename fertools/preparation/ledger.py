"""What a manifest was prepared from, image by image: it tells a later run which rows still hold.

A ledger lies beside its manifest under that manifest's `prepared_from`, so that whichever manifest is in place after a
crash finds its own. A row holds as long as its key and its image do: the key is the hash of all else that it depends on
(options, weights, what is selected of the image); the image is the same while its file has the same size and time, or
where these differ, or on request, the same hash.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fertools.datasets.protocols import Selected
from manifests import faces as crops
from manifests import schema
from manifests.errors import ManifestError
from manifests.parquet import atomic_parquet, read_table
from manifests.text import storable

_STATE = [pa.field("key", pa.binary(16)), pa.field("size", pa.int64()), pa.field("mtime_ns", pa.int64())]
PART = pa.schema([*schema.FACES, *_STATE])
LEDGER = pa.schema([*_STATE, pa.field("path", pa.string()), pa.field("digest", pa.string())])
NO_FILE = (-1, -1)
HASH = 64  # characters of a hash; what has another length is a reason


class Job(NamedTuple):
    """An image that a row is made of, and the state that its file was seen in before it was read."""

    item: Selected
    key: bytes
    size: int  # bytes
    mtime_ns: int

    @property
    def state(self) -> tuple[int, int]:
        """What a changed file differs in, as a rule."""
        return self.size, self.mtime_ns


class Row(NamedTuple):
    """A row that is there already: where it lies and what it was made of."""

    file: Path
    number: int  # in its file
    size: int
    mtime_ns: int
    digest: str  # hash of the image, or why it could not be read

    def holds(self, job: Job) -> bool:
        """Whether the row's image was read, and its file looks as it did then."""
        return (self.size, self.mtime_ns) == job.state and len(self.digest) == HASH


def key(*parts: Any) -> bytes:
    """Return the hash of what a row depends on."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).digest()[:16]


def states(raw: Path, paths: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Yield size and time of change of files below raw, one that is asked for again in a row looked at once."""
    last, state = None, NO_FILE
    for path in paths:
        if path != last:
            last, state = path, _state(raw / path)
        yield state


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return NO_FILE
    return status.st_size, status.st_mtime_ns


def digest(row: dict[str, Any]) -> str:
    """Return what a row's image is known by: its hash, or why it could not be read."""
    return str(row["source_sha256"] or row["reason"])


def fingerprint(jobs: Iterable[Job], rows: dict[bytes, Row]) -> str:
    """Return the hash of all that a manifest was prepared from."""
    whole = hashlib.sha256()
    for job in jobs:
        whole.update(job.key + rows[job.key].digest.encode() + b"\n")
    return whole.hexdigest()


# --- files


def gather(rows: Sequence[Row], columns: Sequence[str]) -> pa.Table:
    """Return rows of several files in the order asked, without their crops.

    Args:
        rows: where they lie.
        columns: of the schema of rows.
    """
    tables = [read_table(file, columns).take(numbers).replace_schema_metadata(None) for file, numbers in _by_file(rows)]
    return pa.concat_tables(tables).take(_order(rows))


def gather_images(rows: Sequence[Row], manifest: Path) -> pa.Array:
    """Return the images of rows in the order asked, as they are stored.

    Args:
        rows: where they lie: in the manifest, or in parts of a run that is not finished.
        manifest: of which dataset.
    """
    arrays: list[pa.Array] = []
    for file, numbers in _by_file(rows):
        if file == manifest:
            arrays += crops.stored(manifest, np.array(numbers))
        else:
            arrays.append(read_table(file, ["image"])["image"].combine_chunks().take(numbers))
    return pa.concat_arrays(arrays).take(_order(rows))


def _by_file(rows: Sequence[Row]) -> Iterator[tuple[Path, pa.Array]]:
    """Yield each file that rows lie in, and their numbers in it, ascending."""
    numbers: dict[Path, list[int]] = defaultdict(list)
    for row in rows:
        numbers[row.file].append(row.number)
    for file in sorted(numbers):
        yield file, pa.array(sorted(numbers[file]))


def _order(rows: Sequence[Row]) -> pa.Array:
    """Return where each row comes to stand among rows sorted by file and number."""
    position = {row[:2]: number for number, row in enumerate(sorted(rows, key=lambda row: row[:2]))}
    return pa.array([position[row[:2]] for row in rows])


def path(manifest: Path, prepared_from: str) -> Path:
    """Return where the ledger of a manifest lies."""
    return manifest.with_name(f".{manifest.stem}.ledger-{prepared_from[:16]}")


def write(jobs: Sequence[Job], rows: dict[bytes, Row], manifest: Path, prepared_from: str) -> None:
    """Write the ledger of a manifest whole, one row a face in the manifest's order."""
    columns: dict[str, list[Any]] = {
        "key": [job.key for job in jobs],
        "size": [job.size for job in jobs],
        "mtime_ns": [job.mtime_ns for job in jobs],
        "path": [storable(job.item.sample.path) for job in jobs],
        "digest": [rows[job.key].digest for job in jobs],
    }
    with atomic_parquet(path(manifest, prepared_from), LEDGER, {}) as writer:
        writer.write_table(pa.table(columns, schema=LEDGER))


def remove_others(manifest: Path, prepared_from: str) -> None:
    """Remove the ledgers of manifests that this one has replaced."""
    kept = path(manifest, prepared_from)
    for other in manifest.parent.glob(f".{manifest.stem}.ledger-*"):
        if other != kept:
            other.unlink()


def of_manifest(manifest: Path, prepared_from: str) -> dict[bytes, Row]:
    """Return the rows of a manifest; none where its ledger is missing or damaged."""
    try:
        table = read_table(path(manifest, prepared_from))
    except ManifestError:
        return {}
    return _rows(manifest, table, table["digest"].to_pylist()) if table.schema.names == LEDGER.names else {}


def of_parts(parts: Iterable[Path]) -> dict[bytes, Row]:
    """Return the rows of what a run has finished, later parts before earlier ones; damaged parts are removed."""
    found: dict[bytes, Row] = {}
    names = ["source_sha256", "reason"]
    for part in parts:
        try:
            table = read_table(part, [field.name for field in _STATE] + names)
        except ManifestError:
            part.unlink()
            continue
        found |= _rows(part, table, [digest(row) for row in table.select(names).to_pylist()])
    return found


def _rows(file: Path, table: pa.Table, digests: list[str]) -> dict[bytes, Row]:
    states = (table[name].to_pylist() for name in ("key", "size", "mtime_ns"))
    return {
        key: Row(file, number, size, changed, known)
        for number, (key, size, changed, known) in enumerate(zip(*states, digests, strict=True))
    }
