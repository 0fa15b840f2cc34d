"""A manifest to its folds, pairs and whitening, in this order: nothing is fitted before the folds are dealt."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fertools.folds import assign, pairs
from fertools.folds.whitening import EPSILON, MAX_FACES, MAX_RANK, centre, fit_zca
from manifests import files, schema

NUM_EPOCHS = 100  # as many as DICE-FER trains (section 5.3)
RULES = {
    "subject": "step over the sorted subject ids",
    "group": "step over the sorted groups of faces that are alike enough to be one person's",
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


def make_folds(manifest: Path, num_folds: int, whitening: str, seed: int, by: str | None = None) -> list[Fold]:
    """Deal the people of a manifest to folds, draw the pairs of every fold and epoch, fit each fold's whitening.

    What was made already, from this manifest and with these options, is left as it is.

    Args:
        manifest: of which dataset.
        num_folds: how many; of an official split without validation part, one in how many people validate.
        whitening: zca, standardize or none.
        seed: of all chance.
        by: subject, group or official (the keys of RULES); null: as the manifest's protocol says.

    Raises:
        FoldError: a face without subject, no groups, no official split, or fewer people than folds.
        WhiteningError: a training part too small to fit.
    """
    metadata, drawn, faces = files.read_metadata(manifest), files.pairs_path(manifest), files.read(manifest)
    by = by or metadata.get("protocol", {}).get("folds", "subject")
    dealt = _deal(faces, num_folds, by, seed)
    faces = faces.set_column(faces.schema.get_field_index("fold"), "fold", pa.array(dealt, pa.int8()))
    training = {fold: schema.parts(faces, fold)["train"] for fold in range(1, schema.num_folds(faces) + 1)}
    asked = {
        "folds": {"num_folds": len(training), "by": by, "rule": RULES[by].replace("num_folds", str(num_folds))},
        "whitening": {"kind": whitening, "epsilon": EPSILON, "max_rank": MAX_RANK},
    }
    about = {"rows_sha256": files.rows_sha256(faces), "num_epochs": NUM_EPOCHS, "seed": seed, **asked}
    made = drawn.exists() and files.read_metadata(drawn) == about and metadata | asked == metadata
    if not made:
        schema.check_rows(faces)
        drawn.unlink(missing_ok=True)  # written last: where it is, all is
        with ThreadPoolExecutor(1) as beside:  # copying the images takes a disk, the rest processors
            filled = beside.submit(files.write_column, manifest, "fold", dealt, metadata | asked)
            _whiten(manifest, training, whitening, seed)
            files.write_pairs(_before(filled, _pairs(faces, training, seed)), faces, drawn, about)
    return _describe(faces, training)


def _deal(faces: pa.Table, num_folds: int, by: str, seed: int) -> list[int] | list[int | None]:
    if by == "subject":
        return assign.step_folds(faces["subject"].to_pylist(), num_folds)
    if by == "official":
        people = schema.people(faces).to_pylist()
        return assign.official_folds(faces["split"].to_pylist(), people, num_folds, np.random.default_rng([seed, 0]))
    if faces["group"].null_count == len(faces):
        raise assign.FoldError("the manifest has no groups; make them with: fertools group")
    return assign.step_folds(pc.coalesce(faces["group"], faces["face_id"]).to_pylist(), num_folds)


def _before(filled: Future[None], tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the tables, then wait until the folds that they were drawn for are filled in."""
    yield from tables
    filled.result()


def _pairs(faces: pa.Table, training: dict[int, NDArray[np.int64]], seed: int) -> Iterator[pa.Table]:
    """Yield the pairs of each fold's training part for all epochs; none where faces have no expression."""
    expression, person = schema.codes(faces["expression"]), schema.codes(schema.people(faces))
    for fold, rows in training.items():
        rows = rows[expression[rows] >= 0].astype(np.int32)
        generator = np.random.default_rng([seed, fold])
        anchors, partners = pairs.draw(expression[rows], person[rows], NUM_EPOCHS, generator)
        for epoch in partners:
            epoch[:] = rows[epoch]
        yield pa.table(
            {
                "fold": np.full(partners.size, fold, np.int8),
                "epoch": np.repeat(np.arange(NUM_EPOCHS, dtype=np.int16), len(anchors)),
                "anchor": np.tile(rows[anchors], NUM_EPOCHS),
                "partner": partners.ravel(),
            },
            schema=schema.PAIRS,
        )


def _whiten(manifest: Path, training: dict[int, NDArray[np.int64]], kind: str, seed: int) -> None:
    """Fit and write each fold's statistics, of grey faces of 112 px; remove those of an earlier call."""
    for path in files.whitening_path(manifest, 1).parent.glob("fold*.parquet"):
        path.unlink()
    if kind != "zca":
        return  # standardisation is per image and fits nothing
    for fold, rows in training.items():
        if len(rows) > MAX_FACES:
            rows = np.random.default_rng([seed, fold]).choice(rows, MAX_FACES, replace=False)
        crops = files.read_images(manifest, np.sort(rows), files.read_crop(manifest).least)
        zca = fit_zca(centre(crops))
        table = pa.table(
            {"variance": [None, *zca.variance], "vector": [zca.mean, *zca.components]}, schema=schema.WHITENING
        )
        about = {"fold": fold, "tail": zca.tail, "epsilon": zca.epsilon, "faces": len(rows)}
        files.write_whitening(table, files.whitening_path(manifest, fold), about)


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
