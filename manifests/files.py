"""The files of a manifest: where they lie, and the only code that reads or writes them.

`manifests/ckplus.parquet` holds one row a face; `ckplus.pairs.parquet` the same-expression pairs of every fold and
epoch; `ckplus.whitening/fold03.parquet` the statistics fitted on the training part of fold 3.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests.schema import (
    CROP_SIZE,
    FACES,
    IMAGE_BYTES,
    PAIRS,
    PGM_HEADER,
    ROW_GROUP,
    VERSION,
    WHITENING,
    ManifestError,
    check,
    check_columns,
    check_pairs,
    check_rows,
)


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


def encode_image(pixels: NDArray[np.uint8]) -> bytes:
    """Return a (144, 144) grey crop as the bytes of a PGM file."""
    assert pixels.shape == (CROP_SIZE, CROP_SIZE) and pixels.dtype == np.uint8
    return PGM_HEADER + pixels.tobytes()


def decode_images(images: pa.ChunkedArray | pa.Array) -> NDArray[np.uint8]:
    """Return the pixels of an image column without nulls: (rows, 144, 144)."""
    parts = images.chunks if isinstance(images, pa.ChunkedArray) else [images]
    whole = np.empty((len(images), CROP_SIZE, CROP_SIZE), np.uint8)
    at = 0
    for part in parts:
        data = part.field("bytes")
        if len(data) == 0:
            continue
        start = int(np.frombuffer(data.buffers()[1], np.int32)[data.offset])
        flat = np.frombuffer(data.buffers()[2], np.uint8, len(data) * IMAGE_BYTES, start)
        pixels = flat.reshape(len(data), IMAGE_BYTES)[:, len(PGM_HEADER) :]
        whole[at : at + len(data)] = pixels.reshape(-1, CROP_SIZE, CROP_SIZE)
        at += len(data)
    return whole


def read_images(manifest: Path, rows: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Return the crops of some usable rows, in the order asked: (rows, 144, 144).

    Memory: the result and one row group, whatever the size of the manifest.
    """
    order = np.argsort(rows, kind="stable")
    crops = np.empty((len(rows), CROP_SIZE, CROP_SIZE), np.uint8)
    first = 0
    with pq.ParquetFile(manifest) as file:
        for group in range(file.num_row_groups):
            last = first + file.metadata.row_group(group).num_rows
            low, high = np.searchsorted(rows[order], [first, last])
            if high > low:
                images = file.read_row_group(group, ["image"])["image"]
                mine = order[low:high]
                crops[mine] = decode_images(images.take(pa.array(rows[mine] - first)))
            first = last
    return crops


def read(manifest: Path, *, images: bool = False) -> pa.Table:
    """Read a manifest, by default without its images, and check what was read.

    Raises:
        ManifestError: no manifest, one of another version, or a broken rule.
    """
    metadata = read_metadata(manifest)
    names = [name for name in FACES.names if images or name != "image"]
    faces = pq.read_table(manifest, columns=names)
    check_columns(faces, FACES if images else FACES.remove(FACES.get_field_index("image")))
    (check if images else check_rows)(faces)
    return faces.replace_schema_metadata(_encode(metadata))


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
    return {key.decode(): json.loads(value) for key, value in metadata.items() if key not in _OWN_KEYS}


def write(parts: Iterable[pa.Table], path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a checked manifest whole, from tables of any length: a reader sees the old file or the new one.

    Memory: one row group of 1,000 faces, and all rows without their images.
    """
    seen = []
    with whole_file(path, FACES, metadata) as writer:
        for group in _row_groups(parts):
            check(group)
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
    """Fill in one column of a manifest (fold, group), a row group at a time, and what it says of itself."""
    place, field = FACES.get_field_index(name), FACES.field(name)
    column = pa.array(values, field.type)
    check_rows(read(manifest).set_column(place, field, column))
    first = 0
    with pq.ParquetFile(manifest) as file, whole_file(manifest, FACES, metadata) as writer:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            writer.write_table(rows.set_column(place, field, column.slice(first, len(rows))))
            first += len(rows)


def write_pairs(tables: Iterable[pa.Table], faces: pa.Table, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write the checked pairs of a manifest whole, each table (one fold) in row groups of its own."""
    with whole_file(path, PAIRS, metadata) as writer:
        for table in tables:
            check_pairs(table, faces)
            writer.write_table(table)


def read_pairs(manifest: Path, fold: int, faces: pa.Table) -> dict[str, NDArray[Any]]:
    """Return the columns of one fold's pairs: epoch, anchor, partner, each (pairs,).

    Raises:
        ManifestError: no pairs, or pairs that were drawn for other rows or folds than these.
    """
    path = pairs_path(manifest)
    if read_metadata(path)["rows_sha256"] != rows_sha256(faces):
        raise ManifestError(f"{path} was drawn for other rows or folds; draw it again with: fertools make-folds")
    pairs = pq.read_table(path, filters=[("fold", "=", fold)])
    check_pairs(pairs, faces)
    return {name: pairs[name].to_numpy() for name in ("epoch", "anchor", "partner")}


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


@contextmanager
def whole_file(path: Path, schema: pa.Schema, metadata: Mapping[str, Any]) -> Iterator[pq.ParquetWriter]:
    """Open a Parquet file for writing; it appears under its name only when it is complete."""
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ["expression", "subject", "group", "sequence", "role", "reason", "dataset", "label", "split"]
    try:
        with pq.ParquetWriter(
            part,
            schema.with_metadata(_encode(metadata)),
            compression={leaf: "none" if leaf.startswith("image") else "zstd" for leaf in _leaves(schema)},
            use_dictionary=[name for name in columns if name in schema.names],
            write_statistics=[name for name in schema.names if name != "image"],
        ) as writer:
            yield writer
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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


# Hugging Face datasets shows the column as pictures when the file's metadata says so.
_HUGGINGFACE = {"info": {"features": {"image": {"_type": "Image"}}}}
_OWN_KEYS = (b"manifest_version", b"huggingface", b"ARROW:schema", b"pandas")


def _encode(metadata: Mapping[str, Any]) -> dict[str, str]:
    own = {"manifest_version": str(VERSION), "huggingface": json.dumps(_HUGGINGFACE)}
    return own | {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rows_sha256(faces: pa.Table) -> str:
    """Return the hash of who is where: ids, expressions, subjects, sequences, folds and usability, in row order."""
    rows = zip(
        *(faces[name].to_pylist() for name in ("face_id", "expression", "subject", "sequence", "fold", "usable")),
        strict=True,
    )
    return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()


def commit() -> str | None:
    """Return the commit that this code is checked out at, marked -dirty where it was changed; null where installed."""
    top = Path(__file__).parent.parent
    if not (top / ".git").exists():
        return None
    command = ["git", "-C", str(top), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
