"""The files of a manifest: where they lie, and the only code that reads or writes them.

`manifests/ckplus.parquet` holds one row a face; `ckplus.pairs.parquet` the same-expression pairs of every fold and
epoch; `ckplus.whitening/fold03.parquet` the statistics fitted on the training part of fold 3.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests.fill import fill_in
from manifests.provenance import commit as commit
from manifests.provenance import file_sha256 as file_sha256
from manifests.provenance import rows_sha256 as rows_sha256
from manifests.schema import (
    DEFAULT_CROP,
    FACES,
    PAIRS,
    ROW_GROUP,
    VERSION,
    WHITENING,
    Crop,
    ManifestError,
    check,
    check_columns,
    check_pairs,
    check_rows,
    crop_of,
)
from manifests.whole import OWN_KEYS, encode
from manifests.whole import make_folder as make_folder
from manifests.whole import whole_file as whole_file


def dataset_name(text: str) -> str:
    """Return the one spelling of a dataset's name: `ck+`, `CK+` and `ck_plus` are `ckplus`, `oulu` is `oulucasia`."""
    name = text.lower().replace("+", "plus").translate(str.maketrans("", "", " -_"))
    return {"oulu": "oulucasia"}.get(name, name)


def manifest_path(manifests: Path, dataset: str) -> Path:
    """Return where the manifest of a dataset lies."""
    return manifests / f"{dataset_name(dataset)}.parquet"


def pairs_path(manifest: Path) -> Path:
    """Return where the pairs of a manifest lie."""
    return manifest.with_suffix(".pairs.parquet")


def whitening_path(manifest: Path, fold: int) -> Path:
    """Return where the whitening statistics of one fold of a manifest lie."""
    return manifest.with_suffix(".whitening") / f"fold{fold:02d}.parquet"


def find(manifests: Path, datasets: Sequence[str] | None = None) -> list[Path]:
    """Return the manifests of the named datasets, or of all that are prepared.

    Raises:
        ManifestError: nothing is prepared, or a named dataset is not.
    """
    prepared = sorted(p for p in manifests.glob("*.parquet") if not p.name.endswith(".pairs.parquet"))
    known = ", ".join(p.stem for p in prepared) or "none"
    if not datasets:
        if not prepared:
            raise ManifestError(f"no manifest in {manifests}/; make one with: fertools prepare DATASET")
        return prepared
    paths = [manifest_path(manifests, name) for name in datasets]
    for name, path in zip(datasets, paths, strict=True):
        if not path.exists():
            raise ManifestError(
                f"{name!r} is not prepared in {manifests}/ (prepared: {known}); make it with: fertools prepare {name}"
            )
    return paths


def encode_image(pixels: NDArray[np.uint8], crop: Crop = DEFAULT_CROP) -> bytes:
    """Return a stored crop, (144, 144) or as `crop.shape` says, as the bytes of a PGM or PPM file."""
    assert pixels.shape == crop.shape and pixels.dtype == np.uint8
    return crop.header + pixels.tobytes()


def decode_images(images: pa.ChunkedArray | pa.Array, crop: Crop = DEFAULT_CROP) -> NDArray[np.uint8]:
    """Return the pixels of an image column without nulls: (rows, 144, 144), or as `crop.shape` says."""
    parts = images.chunks if isinstance(images, pa.ChunkedArray) else [images]
    whole = np.empty((len(images), *crop.shape), np.uint8)
    at = 0
    for part in parts:
        data = part.field("bytes")
        if len(data) == 0:
            continue
        start = int(np.frombuffer(data.buffers()[1], np.int32)[data.offset])
        flat = np.frombuffer(data.buffers()[2], np.uint8, len(data) * crop.num_bytes, start)
        pixels = flat.reshape(len(data), crop.num_bytes)[:, len(crop.header) :]
        whole[at : at + len(data)] = pixels.reshape(-1, *crop.shape)
        at += len(data)
    return whole


def read_crop(manifest: Path) -> Crop:
    """Return how the faces of a manifest are cut out."""
    return crop_of(read_metadata(manifest))


def read_images(manifest: Path, rows: NDArray[np.integer[Any]], seen: Crop | None = None) -> NDArray[np.uint8]:
    """Return the crops of some usable rows, in the order asked: (rows, 144, 144), or as the crop's `shape` says.

    Memory: the result and one row group, whatever the size of the manifest.

    Args:
        manifest: of which dataset.
        rows: from 0.
        seen: as which crop, smaller than it is stored, or in grey; null: as it is stored.

    Raises:
        ManifestError: the stored crops are smaller, grey or aligned otherwise.
    """
    crop = read_crop(manifest)
    seen = seen or crop
    if seen.align != crop.align or seen.size > crop.size or (seen.color, crop.color) == ("rgb", "grey"):
        raise ManifestError(
            f"{manifest} holds {crop}, not {seen}; prepare it again: fertools prepare {manifest.stem} --overwrite"
            f"{seen.options}"
        )
    order = np.argsort(rows, kind="stable")
    crops = np.empty((len(rows), *seen.shape), np.uint8)
    first = 0
    with pq.ParquetFile(manifest) as file:
        for group in range(file.num_row_groups):
            last = first + file.metadata.row_group(group).num_rows
            low, high = np.searchsorted(rows[order], [first, last])
            if high > low:
                images = file.read_row_group(group, ["image"])["image"]
                mine = order[low:high]
                crops[mine] = seen.of(decode_images(images.take(pa.array(rows[mine] - first)), crop))
            first = last
    return crops


def read(manifest: Path, *, images: bool = False) -> pa.Table:
    """Read a manifest, by default without its images, and check what was read.

    Raises:
        ManifestError: no manifest, one of another version, or a broken rule.
    """
    metadata = read_metadata(manifest)
    names = [name for name in FACES.names if images or name != "image"]
    with pq.ParquetFile(manifest) as file:  # read_table would import all of pyarrow.dataset first
        faces = file.read(names)
    check_columns(faces, FACES if images else FACES.remove(FACES.get_field_index("image")))
    if images:
        check(faces, crop_of(metadata))
    else:
        check_rows(faces)
    return faces.replace_schema_metadata(encode(metadata))


def read_metadata(path: Path) -> dict[str, Any]:
    """Return what a file of ours says of itself.

    Raises:
        ManifestError: not a file of ours, or one of another version.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except FileNotFoundError:
        raise ManifestError(f"{path} does not exist; make it with: fertools prepare, fertools make-folds") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{path} is not a whole Parquet file ({error}); make it again") from error
    version = metadata.get(b"manifest_version", b"none").decode()
    if version != str(VERSION):
        raise ManifestError(f"{path} has manifest version {version}, this code reads {VERSION}; prepare it again")
    return {key.decode(): json.loads(value) for key, value in metadata.items() if key not in OWN_KEYS}


def write(parts: Iterable[pa.Table], path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a checked manifest whole, from tables of any length: a reader sees the old file or the new one.

    Memory: one row group of 1,000 faces, and all rows without their images.
    """
    seen, crop = [], crop_of(metadata)
    with whole_file(path, FACES, metadata) as writer:
        for group in _row_groups(parts):
            check(group, crop)
            seen.append(group.drop_columns("image"))
            writer.write_table(group.combine_chunks())  # the bytes must not tell how the parts were cut
        check_rows(pa.concat_tables(seen or [FACES.empty_table()]))


def _row_groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting = FACES.empty_table()
    for part in parts:
        waiting = pa.concat_tables([waiting, part])
        while len(waiting) >= ROW_GROUP:
            yield waiting.slice(0, ROW_GROUP)
            waiting = waiting.slice(ROW_GROUP)
    if len(waiting):
        yield waiting


def write_column(manifest: Path, name: str, values: Sequence[Any], metadata: Mapping[str, Any]) -> None:
    """Fill in one column of a manifest (fold, group), and what it says of itself.

    A manifest that holds and says just this is left as it is: with its images, all of it would be copied.
    """
    place, field, faces = FACES.get_field_index(name), FACES.field(name), read(manifest)
    column = pa.array(values, field.type)
    check_rows(faces.set_column(place, field, column))
    if read_metadata(manifest) != metadata or not faces[name].combine_chunks().equals(column):
        fill_in(manifest, {name: column}, metadata)


def _ahead(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the tables; each is made, in a thread, while the one before it is used."""
    with ThreadPoolExecutor(1) as worker:
        rest = iter(tables)
        coming = worker.submit(next, rest, None)
        while (table := coming.result()) is not None:
            coming = worker.submit(next, rest, None)
            yield table


def write_pairs(tables: Iterable[pa.Table], faces: pa.Table, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write the checked pairs of a manifest whole, each table (one fold) in row groups of its own."""
    with whole_file(path, PAIRS, metadata) as writer:
        for table in _ahead(tables):
            check_pairs(table, faces)
            writer.write_table(table)


def read_pairs(manifest: Path, fold: int, faces: pa.Table) -> dict[str, NDArray[Any]]:
    """Return the columns of one fold's pairs: epoch, anchor, partner, each (pairs,).

    Raises:
        ManifestError: no pairs, or pairs that were drawn for other rows or folds than these.
    """
    refuse_other_pairs(manifest, faces)
    pairs = pq.read_table(pairs_path(manifest), filters=[("fold", "=", fold)])
    check_pairs(pairs, faces)
    return {name: pairs[name].to_numpy() for name in ("epoch", "anchor", "partner")}


def refuse_other_pairs(manifest: Path, faces: pa.Table) -> None:
    """Raise ManifestError unless there are pairs, drawn for these rows and folds."""
    path = pairs_path(manifest)
    if read_metadata(path)["rows_sha256"] != rows_sha256(faces):
        raise ManifestError(f"{path} was drawn for other rows or folds; draw it again with: fertools make-folds")


def write_whitening(statistics: pa.Table, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write the whitening statistics of one fold whole."""
    check_columns(statistics, WHITENING)
    with whole_file(path, WHITENING, metadata) as writer:
        writer.write_table(statistics)


def read_whitening(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64], dict[str, Any]]:
    """Return mean (pixels,), components (rank, pixels), variance (rank,), and {tail, epsilon, ...}."""
    metadata = read_metadata(path)
    table = pq.read_table(path)
    vectors = np.stack(table["vector"].to_numpy()).astype(np.float32)
    return vectors[0], vectors[1:], table["variance"].to_numpy()[1:], metadata
