"""Rows and crops that a preparation has made or taken over, to the manifest: what stays the same is not written."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fertools.preparation import ledger
from fertools.preparation.previous import ADDED, PreviousManifest
from manifests import faces as crops
from manifests import files, schema

PREPARED = [name for name in schema.ROWS.names if name not in ADDED]  # columns that a preparation makes


def seal(
    previous: PreviousManifest,
    jobs: Sequence[ledger.Job],
    rows: dict[bytes, ledger.Row],
    faces: pa.Table,
    about: dict[str, Any],
) -> bool:
    """Write what differs from the previous manifest, last of all its rows; return whether all of it stays as it is.

    Args:
        previous: the manifest that is there; without metadata, its rows are not kept.
        jobs: images of the manifest.
        rows: what came of them, by key.
        faces: the same as a table, without crops, folds and groups.
        about: what the manifest says of itself.
    """
    manifest, ordered, same = previous.manifest, [rows[job.key] for job in jobs], bool(previous.metadata)
    metadata = {**previous.metadata, "summary": about["summary"]} if same else about
    parts = [
        previous.part(index, ordered[first : first + crops.PART_ROWS])
        or crops.write_part(manifest, index, _with_images(faces, ordered, first, manifest), schema.crop_of(about))
        for index, first in enumerate(range(0, len(ordered), crops.PART_ROWS))
    ]
    if not same or list(previous.rows.values()) != ordered:
        ledger.write(jobs, rows, manifest, metadata["prepared_from"])
    if up_to_date := same and metadata == previous.metadata and parts == crops.parts(manifest):
        crops.settle(manifest)  # parts that were lost
    else:
        files.write_rows(files.read(manifest) if same else _without_added(faces), manifest, metadata, parts)
    ledger.remove_others(manifest, metadata["prepared_from"])
    return up_to_date


def _with_images(faces: pa.Table, rows: Sequence[ledger.Row], first: int, manifest: Path) -> Iterator[pa.Table]:
    """Yield the faces of a part, a thousand at a time, with their images."""
    last, field = min(first + crops.PART_ROWS, len(rows)), schema.FACES.field("image")
    for start in range(first, last, schema.ROW_GROUP):
        end = min(start + schema.ROW_GROUP, last)
        images = ledger.gather_images(rows[start:end], manifest)
        yield faces.slice(start, end - start).append_column(field, images)


def _without_added(faces: pa.Table) -> pa.Table:
    """Return prepared faces as rows of a manifest that has neither folds nor groups."""
    for name in sorted(ADDED, key=schema.ROWS.get_field_index):
        field = schema.ROWS.field(name)
        faces = faces.add_column(schema.ROWS.get_field_index(name), field, pa.nulls(len(faces), field.type))
    return faces.cast(schema.ROWS)
