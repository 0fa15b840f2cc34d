"""Columns of a manifest and of what stands beside it, and the rules that every one of them keeps."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.crop import DEFAULT_CROP as DEFAULT_CROP
from manifests.crop import Crop as Crop
from manifests.crop import crop_of as crop_of
from manifests.errors import ManifestError as ManifestError
from manifests.fields import Field, check_fields, mapping, of_type, share, text, whole

VERSION = 3
EXPRESSIONS = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")

ANGLES = (-15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 15.0)  # degrees; with and without a flip, the 14 variants of a face
ROW_GROUP = 1000
PAIRS_AT_ONCE = 1 << 16  # to check: what that takes stays in a processor's cache

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # as Hugging Face datasets stores pictures


def _field(name: str, kind: pa.DataType, meaning: str, unit: str = "", nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable, {"meaning": meaning} | ({"unit": unit} if unit else {}))


FACES = pa.schema(
    [
        _field("face_id", pa.string(), "name of this face, unique in the manifest", nullable=False),
        _field("expression", pa.string(), f"canonical class: {', '.join(EXPRESSIONS)}; null: none of them"),
        _field("subject", pa.string(), "person, prefixed with the dataset; null where none is published"),
        _field("group", pa.string(), "faces alike enough to be one person's, as computed; never a published subject"),
        _field("gender", pa.string(), "of the person, in the words that are published; null where none are"),
        _field("age", pa.string(), "of the person, in years or as a range of them, as published"),
        _field("race", pa.string(), "of the person, in the words that are published"),
        _field("sequence", pa.string(), "recording that the image is a frame of, prefixed with the dataset"),
        _field("frame", pa.int32(), "number of the image in its sequence, as published"),
        _field("role", pa.string(), "what the protocol takes the image for: neutral, apex or image"),
        _field("label", pa.string(), "class code as published, of the image or of its sequence"),
        _field("split", pa.string(), "official split (train, validation, test), where one is published"),
        _field("dataset", pa.string(), "name of the dataset", nullable=False),
        _field("source", pa.string(), "path of the image below the raw folder", nullable=False),
        _field("source_sha256", pa.string(), "hash of the image file"),
        _field("box", pa.list_(pa.float32(), 4), "face box x0, y0, x1, y1", "px of the source"),
        _field("landmarks", pa.list_(pa.float32(), 10), "x, y of eyes, nose tip, mouth corners", "px of the source"),
        _field("matrix", pa.list_(pa.float64(), 6), "2x3 row by row: crop xy = M @ (source x, source y, 1)", "px"),
        _field("score", pa.float32(), "detector's confidence", "0 to 1"),
        _field(
            "found_by", pa.string(), "retry that found the face: brightened, or turned by 90 or 270 degrees; null: none"
        ),
        _field("reason", pa.string(), "why the face is not usable"),
        _field("usable", pa.bool_(), "a face was found and aligned", nullable=False),
        _field("fold", pa.int8(), "fold, from 1, whose test part holds this face; null before make-folds"),
        _field("image", IMAGE, "aligned crop, a PGM (grey) or PPM (colour) file; see metadata `crop`", "uint8"),
    ]
)
ROWS = FACES.remove(FACES.get_field_index("image"))  # NAME.parquet
CROPS = pa.schema([FACES.field("face_id"), FACES.field("image")])  # NAME.faces/, the same rows
PAIRED = ("face_id", "expression", "subject", "sequence", "split", "fold", "usable")  # columns that pairs are made from
PAIRS = pa.schema(
    [
        _field("fold", pa.int8(), "test fold; both faces are in its training part", nullable=False),
        _field("epoch", pa.int16(), "epoch, from 0", nullable=False),
        _field("anchor", pa.int32(), "row of the anchor in the manifest, from 0", nullable=False),
        _field("partner", pa.int32(), "row of the partner: same expression, another subject", nullable=False),
    ]
)
WHITENING = pa.schema(
    [
        _field(
            "variance", pa.float64(), "variance along the vector; null: the vector is the mean", "squared grey level"
        ),
        _field("vector", pa.list_(pa.float32()), "one value a pixel, row by row", "grey level, 0 to 1", nullable=False),
    ]
)
AUGMENTED = pa.schema(
    [
        _field("face_id", pa.string(), "of the training face in the manifest", nullable=False),
        _field("copy", pa.int16(), "number of the image among those of its face, from 0", nullable=False),
        _field(
            "parameters", pa.string(), "JSON of what was done to it, with the numbers that were drawn", nullable=False
        ),
        _field("image", IMAGE, "augmented face, of the size that a network sees: a PGM or PPM file", "uint8"),
    ]
)
WHITENED = _field(  # a last column of augmented faces, where it was asked for
    "whitened", pa.list_(pa.float32()), "image as the fold's whitening makes it, row by row", nullable=False
)


_PART = re.compile(r"part-\d{5}\.parquet")
METADATA = (  # what a manifest says of itself
    *map(mapping, ("crop", "summary", "protocol", "detector", "folds", "whitening", "groups")),
    *map(text, ("title", "licence", "source", "command", "prepared_from", "summary.protocol", "protocol.name")),
    of_type("summary.drawn", bool, "true or false"), *map(text, ("folds.by", "folds.rule")),
    whole("folds.num_folds", 1, 126),
    Field("whitening.kind", "zca, standardize or none", lambda kind: kind in ("zca", "standardize", "none")),
    text("groups.embeddings"), share("groups.threshold", -1.0),
    Field("groups", "embeddings and threshold", lambda groups: {"embeddings", "threshold"} <= groups.keys()),
    Field("summary", "protocol and drawn", lambda summary: {"protocol", "drawn"} <= summary.keys()),
    Field("crop", "a known size, align and color", lambda crop: _is_crop(crop)),
    Field("faces", "parts, each with name, rows, sha256 and face_ids", lambda parts: _are_parts(parts)),
)  # fmt: skip

ATTRIBUTES = ("gender", "age", "race")  # of people, where they are published
PREPARED = ("summary.protocol", "summary.drawn", "commit")  # what every preparation says of its manifest
NUMBERS = (
    Field("tail", "a number from 0", lambda value: isinstance(value, float) and 0 <= value < math.inf),
    Field("epsilon", "a number above 0", lambda value: isinstance(value, float) and 0 < value < math.inf),
)  # of whitening
AUGMENTED_FROM = (whole("fold", 1, 126), mapping("made_from"))  # what augmented faces say of themselves


def check_metadata(metadata: Mapping[str, Any], required: Iterable[str] = ()) -> None:
    """Raise ManifestError where a manifest says of itself what cannot be, or does not say what is required."""
    check_fields(metadata, METADATA, required)


def _is_crop(crop: dict[str, Any]) -> bool:
    try:
        Crop(**crop)
    except (ManifestError, TypeError):  # another key
        return False
    return True


def _are_parts(parts: Any) -> bool:
    return isinstance(parts, list) and all(
        isinstance(part, dict)
        and part.keys() == {"name", "rows", "sha256", "face_ids"}
        and all(isinstance(part[key], str) for key in ("name", "sha256", "face_ids"))
        and _PART.fullmatch(part["name"]) is not None
        and type(part["rows"]) is int
        and part["rows"] > 0
        for part in parts
    )


def check_images(faces: pa.Table, crop: Crop = DEFAULT_CROP) -> None:
    """Raise ManifestError where a usable face has no image of a crop's length.

    Args:
        faces: with the columns face_id, usable and image.
        crop: how they are cut out.
    """
    image_size = pc.fill_null(pc.binary_length(pc.struct_field(faces["image"], "bytes")), 0)
    complete = pc.equal(image_size, pa.scalar(crop.num_bytes, image_size.type))
    broken = pc.and_(faces["usable"], pc.invert(complete))
    _refuse(faces, broken, f"is usable without an image of {crop.num_bytes} bytes")


def check_rows(faces: pa.Table) -> None:
    """Raise ManifestError at the first broken rule of a table of rows."""
    check_columns(faces, ROWS)
    _refuse(
        faces, pc.invert(pc.is_in(faces["expression"], pa.array([*EXPRESSIONS, None]))), "has an unknown expression"
    )
    _refuse(
        faces, pc.and_(pc.invert(faces["usable"]), pc.is_null(faces["reason"])), "is not usable and gives no reason"
    )
    _check_numbers(faces)
    counts = pc.value_counts(faces["face_id"]).flatten()
    if twice := counts[0].filter(pc.greater(counts[1], 1)).to_pylist():
        raise ManifestError(f"face_id {twice[0]!r} stands twice; {len(twice)} ids do")
    known = faces.select(["subject", "fold"]).drop_null()
    who, folds = codes(known["subject"]), known["fold"].to_numpy()
    fold_of = np.empty(who.max(initial=0) + 1, np.int8)
    fold_of[who] = folds
    if (split := fold_of[who] != folds).any():
        row = int(split.argmax())
        raise ManifestError(
            f"subject {known['subject'][row].as_py()!r} is in folds {folds[row]} and {fold_of[who[row]]}; "
            "a subject belongs to one fold"
        )


def _check_numbers(faces: pa.Table) -> None:
    """Raise ManifestError where a number is none, or out of its range."""
    score = faces["score"]
    unlike = pc.invert(pc.and_(pc.greater_equal(score, 0), pc.less_equal(score, 1)))  # nan, too
    _refuse(faces, pc.fill_null(unlike, False), "has a score that is no number from 0 to 1")
    _refuse(faces, pc.fill_null(pc.less(faces["frame"], 0), False), "has a frame below 0")
    for name in ("box", "landmarks", "matrix"):
        values = pc.list_flatten(faces[name])
        if not pc.all(pc.is_finite(values)).as_py() and len(values):
            rows = pc.list_parent_indices(faces[name]).filter(pc.invert(pc.is_finite(values)))
            raise ManifestError(f"face {faces['face_id'][rows[0].as_py()].as_py()!r} has a {name} that is no number")
    fold = faces["fold"]
    _refuse(faces, pc.fill_null(pc.less(fold, 1), False), "has a fold below 1")
    dealt = sorted(set(fold.drop_null().unique().to_pylist()))
    if dealt != list(range(1, len(dealt) + 1)):
        raise ManifestError(f"fold {dealt[-1]} is the last, but only {len(dealt)} folds have faces; expected 1, 2, ...")


def check_pairs(pairs: pa.Table, faces: pa.Table) -> None:
    """Raise ManifestError unless every pair shares an expression, joins two people and lies in one training part."""
    check_columns(pairs, PAIRS)
    for side in ("anchor", "partner"):
        rows = pc.min_max(pairs[side]).as_py() if len(pairs) else {"min": 0, "max": 0}
        if rows["min"] < 0 or rows["max"] >= max(len(faces), 1):
            raise ManifestError(f"{side} {rows['min']} to {rows['max']}: expected rows from 0 to {len(faces) - 1}")
    usable, fold = np.array(faces["usable"]), faces["fold"].fill_null(0).to_numpy()
    expression, subject, sequence = (codes(faces[name]) for name in ("expression", "subject", "sequence"))
    last = fold.max(initial=0)
    for first in range(0, len(pairs), PAIRS_AT_ONCE):
        some = pairs.slice(first, PAIRS_AT_ONCE)
        anchor, partner = (np.array(some[side], np.intp) for side in ("anchor", "partner"))
        test_fold, folds = some["fold"].to_numpy(), (fold.take(anchor), fold.take(partner))
        next_fold = np.where(test_fold == last, 1, test_fold + 1)
        broken = {
            "joins two expressions": _differ(expression, anchor, partner),
            "joins one person": ~_differ(subject, anchor, partner),
            "joins one sequence": ~_differ(sequence, anchor, partner),
            "joins a face to itself": anchor == partner,
            "uses a face that is not usable": ~(usable.take(anchor) & usable.take(partner)),
            "leaves the training part of its fold": np.any([(f == test_fold) | (f == next_fold) for f in folds], 0),
        }
        for rule, rows in broken.items():
            if rows.any():
                row = int(rows.argmax())
                ids = [faces["face_id"][int(side[row])].as_py() for side in (anchor, partner)]
                raise ManifestError(f"pair {first + row} of fold {test_fold[row]}, {' and '.join(ids)}, {rule}")


def check_whitening(table: pa.Table, metadata: Mapping[str, Any]) -> None:
    """Raise ManifestError unless statistics are numbers, a mean first, and vectors of one length."""
    check_columns(table, WHITENING)
    check_fields(metadata, NUMBERS, [field.path for field in NUMBERS])
    lengths = pc.unique(pc.list_value_length(table["vector"]))
    finite = pc.all(pc.is_finite(pc.list_flatten(table["vector"]))).as_py() is True
    variance = table["variance"].slice(1)
    if len(lengths) != 1 or not finite or variance.null_count or not pc.all(pc.is_finite(variance)).as_py():
        raise ManifestError("its vectors or variances are no numbers, or vectors differ in length")


def codes(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """Return a number for each value of a column, from 0 in the values' order; -1 for what is not known."""
    encoded = column.combine_chunks().dictionary_encode()
    ranks = pc.rank(encoded.dictionary, tiebreaker="first").to_numpy().astype(np.int32)  # from 1
    numbers: NDArray[np.int32] = np.append(ranks, np.int32(0))[encoded.indices.fill_null(-1).to_numpy()] - 1
    return numbers


def people(faces: pa.Table) -> pa.ChunkedArray:
    """Return who each face shows, as far as is known: the subject, else the group, else somebody of its own."""
    return pc.coalesce(faces["subject"], faces["group"], faces["face_id"])


def _differ(known: NDArray[np.int32], left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where two rows differ; what is not known differs from everything."""
    left, right = known.take(left), known.take(right)
    different: NDArray[np.bool_] = (left != right) | (left == -1)
    return different


def check_columns(table: pa.Table, schema: pa.Schema) -> None:
    """Raise ManifestError unless a table has the columns and types of a schema, in order."""
    if not table.schema.equals(schema, check_metadata=False):
        raise ManifestError(f"columns {table.schema.names} are not {schema.names}, or have other types")


def _refuse(faces: pa.Table, broken: pa.ChunkedArray, rule: str) -> None:
    rows = faces.filter(broken)
    if len(rows):
        raise ManifestError(f"face {rows['face_id'][0].as_py()!r} {rule}; {len(rows)} faces break this rule")


def has_official_folds(faces: pa.Table) -> bool:
    """Return whether the folds are the official split: fold 1 is its test part, fold 2 validates, fold 3 trains."""
    folds = faces["fold"].fill_null(0).to_numpy()
    test = pc.fill_null(pc.equal(faces["split"], "test"), False).to_numpy()
    return bool(folds.max(initial=0) == 3 and test.any() and np.array_equal((folds == 1), test & (folds > 0)))


def num_folds(faces: pa.Table) -> int:
    """Return how many folds can be trained: those that were dealt, but of an official split the one."""
    return 1 if has_official_folds(faces) else int(faces["fold"].fill_null(0).to_numpy().max(initial=0))


def parts(faces: pa.Table, fold: int) -> dict[str, NDArray[np.int64]]:
    """Return the usable rows of one fold's parts: test is the fold, validation the next one, train the rest.

    A face without expression is in no part, but in a dataset that has no expressions at all.

    Raises:
        ManifestError: the manifest has no such fold.
    """
    folds = faces["fold"].fill_null(0).to_numpy()
    dealt = int(folds.max(initial=0))
    if dealt == 0:
        raise ManifestError("the manifest has no folds; make them with: fertools make-folds")
    if not 1 <= fold <= num_folds(faces):
        known = "1, the official split" if has_official_folds(faces) else f"1 to {dealt}"
        raise ManifestError(f"no fold {fold}; known folds: {known}")
    expressed = np.array(pc.is_valid(faces["expression"]))
    usable = np.array(faces["usable"]) & (folds > 0) & (expressed | (not expressed.any()))
    validation = fold % dealt + 1
    where = {"test": folds == fold, "validation": folds == validation}
    where["train"] = ~(where["test"] | where["validation"])
    return {name: np.flatnonzero(usable & mask) for name, mask in where.items()}
