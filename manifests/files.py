"""The files of a manifest: where they lie, and the only code that reads or writes them.

`manifests/ckplus.parquet` holds one row a face; `ckplus.faces/` their crops (see `faces.py`); `ckplus.pairs.parquet`
the same-expression pairs of every fold and epoch; `ckplus.whitening/fold03.parquet` the statistics fitted on the
training part of fold 3, `ckplus.augmented/fold03.parquet` its faces augmented. Each of these says by hash what it was
made from.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests import faces as crops
from manifests.crop import Crop, crop_of
from manifests.errors import ManifestError
from manifests.faces import PART_ROWS, Part, prepare, write_part
from manifests.fields import check_fields
from manifests.parquet import again, atomic_parquet, read_table
from manifests.parquet import read_metadata as read_own
from manifests.provenance import column_hashes, column_sha256, differing, file_sha256
from manifests.schema import (
    AUGMENTED,
    AUGMENTED_FROM,
    FACES,
    PAIRED,
    PAIRS,
    ROW_GROUP,
    ROWS,
    WHITENED,
    WHITENING,
    check_columns,
    check_metadata,
    check_pairs,
    check_rows,
    check_whitening,
    parts,
    people,
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


def augmented_path(manifest: Path, fold: int) -> Path:
    """Return where the augmented training faces of one fold of a manifest lie."""
    return manifest.with_suffix(".augmented") / f"fold{fold:02d}.parquet"


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


def named(manifest: str | Path) -> Path:
    """Return the path of a manifest: of one like manifests/ckplus.parquet, or of a dataset's name in manifests/.

    Raises:
        ManifestError: no such dataset is prepared there.
    """
    return Path(manifest) if str(manifest).endswith(".parquet") else find(Path("manifests"), [str(manifest)])[0]


# --- rows


def read(manifest: Path, *, images: bool = False) -> pa.Table:
    """Read the rows of a manifest, with `images` their crops as a last column, and check what was read.

    Raises:
        ManifestError: no manifest, one of another version, a broken rule, or crops of other rows.
    """
    recorded = crops.parts(manifest)
    with again(prepare(manifest)):
        rows = read_table(manifest).replace_schema_metadata(None)
    with _in(manifest, prepare(manifest)):
        check_rows(rows)
    _check_parts(rows, recorded, manifest)
    if images:
        chunks = list(crops.stored(manifest, np.arange(len(rows))))
        rows = rows.append_column(FACES.field("image"), pa.chunked_array(chunks, FACES.field("image").type))
    return rows


def read_metadata(manifest: Path, required: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a manifest says of itself: options, summary, folds, groups.

    Args:
        manifest: of which dataset.
        required: paths of values that must be there, `summary.drawn`.

    Raises:
        ManifestError: no manifest, or one of another version, or without what is required.
    """
    metadata = read_own(manifest, prepare(manifest))
    with _in(manifest, prepare(manifest)):
        check_metadata(metadata, required)
    return {key: value for key, value in metadata.items() if key != "faces"}


@contextmanager
def _in(path: Path, command: str) -> Iterator[None]:
    """Name in a refusal the file, and the command that makes it again."""
    try:
        yield
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}; make it again: {command}") from error


def read_crop(manifest: Path) -> Crop:
    """Return how the faces of a manifest are cut out."""
    return crop_of(read_metadata(manifest))


def write(tables: Iterable[pa.Table], manifest: Path, metadata: Mapping[str, Any]) -> None:
    """Write a checked manifest from faces, in tables of any length: a reader sees the old one or the new one.

    Memory: one row group of 1,000 faces, and all rows without their images.
    """
    rows, written, crop = [ROWS.empty_table()], [], crop_of(metadata)

    def noted(groups: Iterable[tuple[int, pa.Table]]) -> Iterator[pa.Table]:
        for _, group in groups:
            check_columns(group, FACES)
            rows.append(group.drop_columns("image"))
            yield group

    groups = enumerate(_row_groups(tables, FACES))
    for index, of_part in groupby(groups, lambda numbered: numbered[0] * ROW_GROUP // PART_ROWS):
        written.append(write_part(manifest, index, noted(of_part), crop))
    write_rows(pa.concat_tables(rows), manifest, metadata, written)


def write_rows(
    rows: pa.Table, manifest: Path, metadata: Mapping[str, Any], new_parts: Sequence[Part] | None = None
) -> None:
    """Write the checked rows of a manifest, and with them which parts of crops are theirs; null: those that were.

    Raises:
        ManifestError: a broken rule, crops of other rows, or a file that cannot be written.
    """
    recorded = crops.parts(manifest) if new_parts is None else new_parts
    check_rows(rows)
    _check_parts(rows, recorded, manifest)
    with atomic_parquet(manifest, ROWS, {**metadata, "faces": [asdict(part) for part in recorded]}) as writer:
        writer.write_table(rows.combine_chunks())  # the bytes must not tell how the tables were cut
    if new_parts is not None:
        crops.settle(manifest)


def write_column(manifest: Path, name: str, values: Sequence[Any] | pa.Array, metadata: Mapping[str, Any]) -> None:
    """Fill in one column of a manifest (fold, group), and what it says of itself; where all is so already, nothing."""
    index, field, rows = ROWS.get_field_index(name), ROWS.field(name), read(manifest)
    column = pa.array(values, field.type)
    if read_metadata(manifest) != metadata or not rows[name].combine_chunks().equals(column):
        write_rows(rows.set_column(index, field, column), manifest, metadata)


def _check_parts(rows: pa.Table, recorded: Sequence[Part], manifest: Path) -> None:
    """Raise ManifestError unless the parts hold the faces of these rows, in their order."""
    first = 0
    for part in recorded:
        ids = rows["face_id"].slice(first, part.rows)
        if column_sha256(ids) != part.face_ids:
            raise ManifestError(f"{manifest}: {part.name} holds other faces; prepare it again: {prepare(manifest)}")
        first += part.rows
    if first != len(rows):
        raise ManifestError(f"{manifest}: {len(rows)} rows, {first} crops; prepare it again: {prepare(manifest)}")


def _row_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    waiting = schema.empty_table()
    for table in tables:
        waiting = pa.concat_tables([waiting, table])
        while len(waiting) >= ROW_GROUP:
            yield waiting.slice(0, ROW_GROUP)
            waiting = waiting.slice(ROW_GROUP)
    if len(waiting):
        yield waiting


# --- crops


def read_images(manifest: Path, rows: NDArray[np.integer[Any]], crop: Crop | None = None) -> NDArray[np.uint8]:
    """Return the crops of some usable rows, in the order asked: (rows, 144, 144), or as the crop's `shape` says.

    Memory: the result and one row group, whatever the size of the manifest.

    Args:
        manifest: of which dataset.
        rows: from 0.
        crop: as which, smaller than it is stored, or in grey; null: as it is stored.

    Raises:
        ManifestError: the stored crops are smaller, grey or aligned otherwise, or not those of the rows.
    """
    own = read_crop(manifest)
    crop = crop or own
    if crop.align != own.align or crop.size > own.size or (crop.color, own.color) == ("rgb", "grey"):
        raise ManifestError(f"{manifest} holds {own}, not {crop}; prepare it again: {prepare(manifest)}{crop.options}")
    order = np.argsort(rows, kind="stable")
    pixels, done = np.empty((len(rows), *crop.shape), np.uint8), 0
    for images in crops.stored(manifest, rows[order]):
        try:
            pixels[order[done : done + len(images)]] = crop.resample(own.decode(images))
        except ManifestError as error:
            row = rows[order[done]]
            raise ManifestError(f"{manifest}, from row {row}: {error}; make it again: {prepare(manifest)}") from error
        done += len(images)
    return pixels


# --- pairs, whitening, augmented faces


def _make_folds(manifest: Path) -> str:
    """Return the command that makes folds, pairs and whitening again."""
    return f"fertools make-folds {manifest.stem}"


def is_made(path: Path, metadata: Mapping[str, Any]) -> bool:
    """Whether a file is there that says all this of itself."""
    try:
        found = read_own(path, "")
    except ManifestError:  # none, or one that is to be replaced
        return False
    return found | dict(metadata) == found


def pairs_source(faces: pa.Table) -> dict[str, str]:
    """Return the hashes of what pairs are drawn from: columns of the rows."""
    return column_hashes(faces, PAIRED)


def write_pairs(tables: Iterable[pa.Table], manifest: Path, metadata: Mapping[str, Any]) -> None:
    """Write the pairs of a manifest, each table (of one fold) in row groups of its own."""
    with atomic_parquet(pairs_path(manifest), PAIRS, metadata) as writer:
        for table in tables:
            writer.write_table(table)


def check_pairs_source(manifest: Path, faces: pa.Table) -> None:
    """Raise ManifestError unless there are pairs, and they were drawn for these faces and folds."""
    path = pairs_path(manifest)
    made_from = read_own(path, _make_folds(manifest)).get("made_from", {})
    if changed := differing(made_from, pairs_source(faces)):
        raise ManifestError(
            f"{path} was drawn for other rows or folds ({', '.join(changed)} differ); draw it again with: "
            f"{_make_folds(manifest)}"
        )


def check_pairs_people(manifest: Path, faces: pa.Table) -> None:
    """Raise ManifestError unless the pairs were drawn for these people: groups may have been made since."""
    path = pairs_path(manifest)
    if read_own(path, _make_folds(manifest)).get("people") != column_sha256(people(faces)):
        raise ManifestError(f"{path} was drawn for other groups; draw it again with: {_make_folds(manifest)}")


def read_pairs(manifest: Path, fold: int, faces: pa.Table) -> dict[str, NDArray[Any]]:
    """Return the columns of one fold's pairs: epoch, anchor, partner, each (pairs,).

    Raises:
        ManifestError: no pairs, pairs that were drawn for other rows or folds than these, or such as break a rule.
    """
    check_pairs_source(manifest, faces)
    with again(_make_folds(manifest)):
        pairs = read_table(pairs_path(manifest), filters=[("fold", "=", fold)])
    with _in(pairs_path(manifest), _make_folds(manifest)):
        check_pairs(pairs, faces)
    return {name: pairs[name].to_numpy() for name in ("epoch", "anchor", "partner")}


def write_whitening(statistics: pa.Table, manifest: Path, fold: int, metadata: Mapping[str, Any]) -> None:
    """Write the whitening statistics of one fold."""
    check_columns(statistics, WHITENING)
    with atomic_parquet(whitening_path(manifest, fold), WHITENING, metadata) as writer:
        writer.write_table(statistics)


def whitening_source(manifest: Path, training: NDArray[np.integer[Any]]) -> dict[str, str]:
    """Return the hashes of what whitening is fitted on: the crops of a manifest, and rows of them."""
    rows = hashlib.sha256(np.asarray(training, np.int64).tobytes()).hexdigest()
    return {"faces": crops.recorded_sha256(manifest), "training rows": rows}


def read_whitening(
    manifest: Path, fold: int, faces: pa.Table
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64], dict[str, Any]]:
    """Return mean (pixels,), components (rank, pixels), variance (rank,), and {tail, epsilon, ...}.

    Raises:
        ManifestError: there are none, or they were fitted on other crops or rows than the training part of these faces.
    """
    path = whitening_path(manifest, fold)
    metadata = read_own(path, _make_folds(manifest))
    source = whitening_source(manifest, parts(faces, fold)["train"])
    if changed := differing(metadata.get("made_from", {}), source):
        raise ManifestError(
            f"{path} was fitted on other faces ({', '.join(changed)} differ); fit it again with: "
            f"{_make_folds(manifest)}"
        )
    with again(_make_folds(manifest)):
        table = read_table(path)
    with _in(path, _make_folds(manifest)):
        check_whitening(table, metadata)
    vectors = np.stack(table["vector"].to_numpy()).astype(np.float32)
    return vectors[0], vectors[1:], table["variance"].to_numpy()[1:], metadata


def augmented_source(
    manifest: Path, fold: int, training: NDArray[np.integer[Any]], whitened: bool = False
) -> dict[str, str]:
    """Return the hashes of what augmented faces are made from: crops, rows of them, and a file of whitening, if any."""
    statistics = whitening_path(manifest, fold)
    own = {"whitening": file_sha256(statistics)} if whitened and statistics.exists() else {}
    return whitening_source(manifest, training) | own


def write_augmented(
    tables: Iterable[pa.Table], manifest: Path, fold: int, metadata: Mapping[str, Any], whitened: bool = False
) -> None:
    """Write the augmented training faces of one fold, from tables of any length, in row groups of 1,000 images."""
    schema = AUGMENTED.append(WHITENED) if whitened else AUGMENTED
    with atomic_parquet(augmented_path(manifest, fold), schema, metadata) as writer:
        for group in _row_groups(tables, schema):
            check_columns(group, schema)
            writer.write_table(group.combine_chunks())


def check_augmented(path: Path, manifest: Path, faces: pa.Table) -> None:
    """Raise ManifestError unless augmented faces are whole, and of what are training faces of their fold today."""
    command = f"fertools augment {manifest.stem} --fold {path.stem[4:].lstrip('0')}"
    metadata = read_own(path, command)
    try:
        check_fields(metadata, AUGMENTED_FROM, [field.path for field in AUGMENTED_FROM])
        training = parts(faces, metadata["fold"])["train"]
        source = augmented_source(manifest, metadata["fold"], training, metadata.get("whitening") is not None)
        if changed := differing(metadata["made_from"], source):
            raise ManifestError(f"made of other faces or folds ({', '.join(changed)} differ)")
    except ManifestError as error:
        raise ManifestError(
            f"{path}: {error}; delete it, or make it again with the options in its metadata: {command}"
        ) from error
