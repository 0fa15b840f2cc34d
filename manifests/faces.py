"""The crops of a manifest, `ckplus.faces/part-00000.parquet ...`: the rows' faces in their order, and nothing else.

A part is written once. The rows' file says which parts there are and which bytes they have, so that it alone decides
what the manifest is: new parts wait under a hidden name until it is written, and take their places then.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.atomic import atomic_file, remove_leftovers, rename, writing
from manifests.crop import Crop
from manifests.errors import ManifestError
from manifests.parquet import open_file, open_writer, read_metadata
from manifests.provenance import column_sha256, file_sha256
from manifests.schema import CROPS, ROW_GROUP, check_images, check_metadata

PART_ROWS = 65 * ROW_GROUP  # at most 65,536; a row group of a part holds a thousand rows that begin at a thousand


@dataclass(frozen=True)
class Part:
    """A part as the rows' file records it."""

    name: str
    rows: int
    sha256: str  # of its bytes
    face_ids: str  # hash of its face_id column


def folder(manifest: Path) -> Path:
    """Return where the crops of a manifest lie."""
    return manifest.with_suffix(".faces")


def parts(manifest: Path) -> list[Part]:
    """Return the parts of a manifest, in order.

    Raises:
        ManifestError: no manifest, or one of another version.
    """
    recorded = read_metadata(manifest, prepare(manifest))
    try:
        check_metadata(recorded)
    except ManifestError as error:
        raise ManifestError(f"{manifest}: {error}; make it again: {prepare(manifest)}") from error
    return [Part(**part) for part in recorded.get("faces", [])]


def prepare(manifest: Path) -> str:
    """Return the command that makes a manifest again."""
    return f"fertools prepare {manifest.stem} --overwrite"


# --- writing


class _Hashed(io.RawIOBase):
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def write_part(manifest: Path, index: int, tables: Iterable[pa.Table], crop: Crop) -> Part:
    """Write a part under a hidden name; `settle` gives it its own, once the rows' file records it.

    Memory: one row group.

    Args:
        manifest: of which dataset.
        index: of the part, from 0.
        tables: its faces, a thousand a table but for the last, with the columns face_id, usable and image.
        crop: how they are cut out.

    Raises:
        ManifestError: a usable face has no image of such a crop, or the part cannot be written.
    """
    path, ids = folder(manifest) / f"part-{index:05d}.parquet", []
    waiting = _waiting(path)
    with atomic_file(waiting) as temporary, temporary.open("wb", buffering=0) as file:
        hashed = _Hashed(file)
        with open_writer(hashed, CROPS, {"crop": vars(crop)}) as writer:
            for table in tables:
                check_images(table, crop)
                ids.append(table["face_id"])
                writer.write_table(table.select(CROPS.names).combine_chunks())
    column = pa.chunked_array([chunk for column in ids for chunk in column.chunks], pa.string())
    return Part(path.name, len(column), hashed.sha256.hexdigest(), column_sha256(column))


def settle(manifest: Path) -> None:
    """Let parts that wait take their places, where the manifest records them; remove what it does not record.

    A part whose bytes are there already stays as it is. A process that is killed before this has written either the
    rows before or those that record the new parts: the next preparation settles it.
    """
    recorded = {part.name: part for part in parts(manifest)}
    for name, part in recorded.items():
        path, waiting = folder(manifest) / name, _waiting(folder(manifest) / name)
        if waiting.exists() and not is_unchanged(manifest, part) and file_sha256(waiting) == part.sha256:
            with writing(path):
                rename(waiting, path)
    for path in folder(manifest).glob("*part-*.parquet"):
        if path.name not in recorded:
            path.unlink()
    remove_leftovers(folder(manifest))


def _waiting(path: Path) -> Path:
    return path.with_name(f".{path.name}")


# --- reading


def recorded_sha256(manifest: Path) -> str:
    """Return the hash of all crops, as the manifest records it; reads none."""
    return hashlib.sha256("".join(f"{part.sha256}\n" for part in parts(manifest)).encode()).hexdigest()


def sha256(manifest: Path) -> str:
    """Return the hash of all crops, whose bytes are read once as long as they are the same files.

    Raises:
        ManifestError: a part is not the one that was prepared.
    """
    for part in parts(manifest):
        if not is_unchanged(manifest, part):
            raise _unfit(manifest, part, "is not there, or has other bytes")
    return recorded_sha256(manifest)


def is_unchanged(manifest: Path, part: Part) -> bool:
    """Whether a part has the bytes that were prepared; all are read, once as long as it is the same file."""
    path = folder(manifest) / part.name
    return path.exists() and file_sha256(path) == part.sha256


def stored(manifest: Path, rows: NDArray[np.integer[Any]]) -> Iterator[pa.StructArray]:
    """Yield the images of ascending rows, as they are stored, one row group at a time.

    A part that is read from is hashed first, once as long as it is the same file.

    Raises:
        ManifestError: a part is not there, or is not the one that was prepared.
    """
    first = 0
    for part in parts(manifest):
        low, high = np.searchsorted(rows, [first, first + part.rows])
        if high > low:
            yield from _stored_in(manifest, part, rows[low:high] - first)
        first += part.rows
    assert len(rows) == 0 or rows[-1] < first, f"{manifest} has {first} rows"


def _stored_in(manifest: Path, part: Part, rows: NDArray[np.integer[Any]]) -> Iterator[pa.StructArray]:
    if not is_unchanged(manifest, part):  # page checksums cover no footer, where a bit may tell of other columns
        raise _unfit(manifest, part, "is not there, or has other bytes")
    first = 0
    try:
        with open_file(folder(manifest) / part.name) as file:
            for group in range(file.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                low, high = np.searchsorted(rows, [first, last])
                if high > low:
                    images = file.read_row_group(group, ["image"])["image"].combine_chunks()
                    every = np.array_equal(rows[low:high], np.arange(first, last))
                    yield images if every else images.take(pa.array(rows[low:high] - first))
                first = last
    except (OSError, pa.ArrowException, KeyError) as error:
        raise _unfit(manifest, part, f"is damaged ({str(error).splitlines()[0]})") from error


def _unfit(manifest: Path, part: Part, found: str) -> ManifestError:
    return ManifestError(
        f"{folder(manifest) / part.name} {found}: it is not the part that was prepared with the rows of {manifest}; "
        f"make it again: fertools prepare {manifest.stem}"
    )
