"""A manifest to its folds, pairs and whitening, in this order: nothing is fitted before the folds are dealt."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fertools.folds import assign, listed, pairs
from fertools.folds.whitening import EPSILON, MAX_FACES, MAX_RANK, centre, fit_zca
from manifests import files, schema
from manifests.lock import manifest_writer
from manifests.provenance import column_sha256

NUM_EPOCHS = 100  # as many as DICE-FER trains (section 5.3)
PAIRS_AT_ONCE = 1 << 20  # that are drawn and written together
RULES = {
    "subject": "step over the sorted subject ids",
    "group": "step over the sorted groups of faces that are alike enough to be one person's",
    "list": "a user's list of folds",
    "official": "the official split; where it has no validation part, one in num_folds of the training part's people",
}


@dataclass(frozen=True, kw_only=True)
class Fold:
    """What the test part of one fold holds."""

    fold: int
    subjects: int  # 0 where none is published
    faces: int
    expressions: dict[str, int]
    anchors: int  # of its training part
    without_partner: dict[str, int]  # training faces of classes that one person alone shows: they are no anchors


def make_folds(
    manifest: Path, num_folds: int, whitening: str, seed: int, by: str | None = None, dealt: listed.Listed | None = None
) -> list[Fold]:
    """Deal the people of a manifest to folds, draw the pairs of every fold and epoch, fit each fold's whitening.

    Folds, whitening and pairs say what they were made from: what was made already, from this manifest and with these
    options, is left as it is.

    Args:
        manifest: of which dataset.
        num_folds: how many; of an official split without validation part, one in how many people validate.
        whitening: zca, standardize or none.
        seed: of all chance.
        by: subject, group or official (the keys of RULES); null: as the manifest's protocol says.
        dealt: a user's folds instead; where it has parts, the column split then says these.

    Raises:
        FoldError: a face without subject, no groups, no official split, or fewer people than folds.
        WhiteningError: a training part too small to fit.
        ManifestError: something cannot be written, or another process writes it.
    """
    with manifest_writer(manifest):
        metadata, stored = files.read_metadata(manifest), files.read(manifest)
        by = by or metadata.get("protocol", {}).get("folds", "subject")
        if dealt:
            by = "official" if dealt.parts else "list"
        faces = _with_column(stored, "split", dealt.parts) if dealt and dealt.parts else stored
        folds = dealt.folds if dealt and dealt.folds else _deal(faces, num_folds, by, seed)
        faces = _with_column(faces, "fold", folds)
        training = {fold: schema.parts(faces, fold)["train"] for fold in range(1, schema.num_folds(faces) + 1)}
        made = {
            "folds": {"num_folds": len(training), "by": by, "rule": RULES[by].replace("num_folds", str(num_folds))},
            "whitening": {"kind": whitening, "epsilon": EPSILON, "max_rank": MAX_RANK},
        }
        if metadata | made != metadata or not faces.equals(stored):
            files.write_rows(faces, manifest, metadata | made)
        _whiten(manifest, training if whitening == "zca" else {}, seed)
        _draw_pairs(manifest, faces, training, seed)
        return _describe(faces, training)


def _with_column(faces: pa.Table, name: str, values: Sequence[object]) -> pa.Table:
    field = schema.ROWS.field(name)
    return faces.set_column(schema.ROWS.get_field_index(name), field, pa.chunked_array([pa.array(values, field.type)]))


def _deal(faces: pa.Table, num_folds: int, by: str, seed: int) -> list[int] | list[int | None]:
    if by == "subject":
        return assign.step_folds(faces["subject"].to_pylist(), num_folds)
    if by == "official":
        people = schema.people(faces).to_pylist()
        return assign.official_folds(faces["split"].to_pylist(), people, num_folds, np.random.default_rng([seed, 0]))
    if faces["group"].null_count == len(faces):
        raise assign.FoldError("the manifest has no groups; make them with: fertools group")
    return assign.step_folds(pc.coalesce(faces["group"], faces["face_id"]).to_pylist(), num_folds)


def _draw_pairs(manifest: Path, faces: pa.Table, training: dict[int, NDArray[np.int64]], seed: int) -> None:
    """Draw and write the pairs of each fold and epoch, unless those that are there were drawn from the same."""
    who = schema.people(faces)
    about = {
        "made_from": files.pairs_source(faces), "people": column_sha256(who), "draw": pairs.VERSION,
        "num_epochs": NUM_EPOCHS, "seed": seed,
    }  # fmt: skip
    if files.is_made(files.pairs_path(manifest), about):
        return
    expression, person = schema.codes(faces["expression"]), schema.codes(who)
    tables = (
        table
        for fold, rows in training.items()
        for table in _pairs(fold, rows[expression[rows] >= 0], expression, person, np.random.default_rng([seed, fold]))
    )
    files.write_pairs(_one_ahead(tables), manifest, about)


def _one_ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables, each made by another thread while the one before it is written; numpy and Arrow hold no lock."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, tables, None)
        while (table := coming.result()) is not None:
            coming = maker.submit(next, tables, None)
            yield table


def _pairs(
    fold: int, rows: NDArray[np.int64], expression: NDArray[np.int32], person: NDArray[np.int32],
    generator: np.random.Generator,
) -> Iterator[pa.Table]:  # fmt: skip
    """Yield the pairs of one fold, some epochs at a time; none where faces have no expression.

    A table's memory is used again for the next but one.
    """
    anchors, fill = pairs.draw(rows, expression[rows], person[rows], generator)
    at_once = min(NUM_EPOCHS, max(1, PAIRS_AT_ONCE // max(1, len(anchors))))
    folds, epochs = np.full(at_once * len(anchors), fold, np.int8), np.arange(NUM_EPOCHS, dtype=np.int16)
    anchors, buffers = np.tile(anchors, at_once), cycle(np.empty((2, at_once, len(anchors)), np.int32))
    for first in range(0, NUM_EPOCHS, at_once):
        some = next(buffers)[: NUM_EPOCHS - first]
        fill(some)
        columns = {
            "fold": folds[: some.size], "epoch": epochs[first : first + at_once].repeat(some.shape[1]),
            "anchor": anchors[: some.size], "partner": some.ravel(),
        }  # fmt: skip
        yield pa.table(columns, schema=schema.PAIRS)


def _whiten(manifest: Path, training: dict[int, NDArray[np.int64]], seed: int) -> None:
    """Fit and write each fold's statistics, of grey faces of 112 px, unless those that are there are of the same.

    Standardisation is per image and fits nothing: then there are no training parts, and no statistics are kept.
    """
    kept = {files.whitening_path(manifest, fold) for fold in training}
    for path in files.whitening_path(manifest, 1).parent.glob("fold*.parquet"):
        if path not in kept:
            path.unlink()
    for fold, rows in training.items():
        about = {
            "made_from": files.whitening_source(manifest, rows), "fold": fold, "epsilon": EPSILON,
            "max_rank": MAX_RANK, "seed": seed,
        }  # fmt: skip
        if files.is_made(files.whitening_path(manifest, fold), about):
            continue
        if len(rows) > MAX_FACES:
            rows = np.random.default_rng([seed, fold]).choice(rows, MAX_FACES, replace=False)
        crops = files.read_images(manifest, np.sort(rows), files.read_crop(manifest).least)
        zca = fit_zca(centre(crops), MAX_RANK, EPSILON)
        table = pa.table(
            {"variance": [None, *zca.variance], "vector": [zca.mean, *zca.components]}, schema=schema.WHITENING
        )
        files.write_whitening(table, manifest, fold, about | {"tail": zca.tail, "faces": len(rows)})


def _describe(faces: pa.Table, training: dict[int, NDArray[np.int64]]) -> list[Fold]:
    expression, person = schema.codes(faces["expression"]), schema.codes(schema.people(faces))
    faces, made = faces.select(["expression", "subject", "usable", "fold", "split"]), []
    for fold, rows in training.items():
        test, rows = faces.take(schema.parts(faces, fold)["test"]), rows[expression[rows] >= 0]
        paired = pairs.has_partner(expression[rows], person[rows])
        made.append(Fold(
            fold=fold, subjects=pc.count_distinct(test["subject"]).as_py(), faces=len(test), expressions=_counts(test),
            anchors=int(paired.sum()), without_partner=_counts(faces.take(rows[~paired])),
        ))  # fmt: skip
    return made


def _counts(faces: pa.Table) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(faces["expression"].drop_null()).to_pylist()}


def describe(made: list[Fold]) -> str:
    """Return the folds as a table to read, and what to know of them."""
    expressions = sorted({name for fold in made for name in fold.expressions})
    lines = ["  fold subjects  faces anchors  " + " ".join(f"{name[:9]:>9}" for name in expressions)]
    for fold in made:
        counts = " ".join(f"{fold.expressions.get(name, 0):>9}" for name in expressions)
        lines.append(f"  {fold.fold:>4} {fold.subjects:>8} {fold.faces:>6} {fold.anchors:>7}  {counts}")
    if not any(fold.subjects for fold in made):
        lines.append("  nobody's name is published: whether parts share people, `fertools audit` can estimate")
    for fold in made:
        if missing := [name for name in expressions if name not in fold.expressions]:
            lines.append(f"  fold {fold.fold} tests no {', '.join(missing)}")
        for name, count in fold.without_partner.items():
            lines.append(f"  fold {fold.fold}: one person alone shows {name}; {count} faces are no anchors")
    return "\n".join(lines)
