"""What is done with some images at once, in whichever process: hash them, or make rows of them and write these."""

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fertools.datasets import DATASETS
from fertools.errors import FertoolsError
from fertools.preparation.face_rows import NO_FACE, face_rows, lost_row, read
from fertools.preparation.ledger import PART, Job
from manifests import schema
from manifests.parquet import atomic_parquet

CHUNK = 50


def cut(jobs: Sequence[Job]) -> list[Sequence[Job]]:
    """Return the images in chunks of 50, in order."""
    return [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]


def make_part(
    folder: Path, dataset: str, raw: Path, device: str | None, crop: schema.Crop, chunk: Sequence[Job]
) -> dict[str, Any]:
    """Write the rows of a chunk as a part; return its name, and how many have a face, none, or no readable image.

    A part has a name of its own, so that nobody else writes it: not even a worker that was thought dead.
    """
    rows = face_rows(DATASETS[dataset], raw, [job.item for job in chunk], device, crop)
    return _write(folder, list(rows), chunk)


def make_lost_part(folder: Path, dataset: str, job: Job) -> dict[str, Any]:
    """Write the row of an image that no process survives."""
    return _write(folder, [lost_row(DATASETS[dataset], job.item)], [job])


def _write(folder: Path, rows: list[dict[str, Any]], chunk: Sequence[Job]) -> dict[str, Any]:
    for row, job in zip(rows, chunk, strict=True):
        row |= {"key": job.key, "size": job.size, "mtime_ns": job.mtime_ns}
    name = f"{secrets.token_hex(8)}.parquet"
    with atomic_parquet(folder / name, PART, {}) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=PART))
    found = sum(row["usable"] for row in rows)
    unfound = sum((row["reason"] or "").startswith(NO_FACE) for row in rows)
    return {"part": name, "counts": [found, unfound, len(rows) - found - unfound]}


def digests(dataset: str, raw: Path, chunk: Sequence[Job]) -> dict[str, list[Any]]:
    """Return the key of each image of a chunk, and its hash or why it cannot be read."""
    return {"keys": [job.key for job in chunk], "digests": [_digest(dataset, raw, job) for job in chunk]}


def _digest(dataset: str, raw: Path, job: Job) -> str:
    try:
        return hashlib.sha256(read(DATASETS[dataset], raw, job.item.sample)).hexdigest()
    except (FertoolsError, OSError) as error:
        return str(error)
