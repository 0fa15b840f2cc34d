"""Catches a test face among augmented ones, other bytes for the same seed, and a pipeline that is code or resizes."""

import dataclasses
import hashlib
import io
import json
import shutil
import signal
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from manifest_files import copy_manifest, official_of_nobody
from PIL import Image
from typer.testing import CliRunner

import fertools
from fertools.augmentation.augment import AugmentError, augment, chosen
from fertools.augmentation.pipeline import MAX_BYTES, Pipeline, PipelineError
from fertools.augmentation.variants import VARIANTS, Variants
from fertools.checks import whole
from fertools.cli import app
from fertools.folds.make_folds import make_folds
from manifests import faces, files, schema
from manifests.crop import DEFAULT_CROP, Crop
from manifests.errors import ManifestError
from trainer.data import augment as of_trainer
from trainer.data.fold_data import whitener

FLIP = {"__class_fullname__": "HorizontalFlip", "p": 0.5}
INVERT = {"__class_fullname__": "InvertImg", "p": 0.5}
NOISE = {"__class_fullname__": "GaussNoise", "p": 1.0}
TURN = {"__class_fullname__": "Affine", "rotate": [-15, 15], "p": 1.0}
ONE_OF = {"__class_fullname__": "OneOf", "p": 0.5, "transforms": [NOISE, TURN]}


@pytest.fixture
def manifest(patterns, tmp_path):
    return copy_manifest(patterns, tmp_path / "manifests" / "set.parquet")


@pytest.fixture
def written(tmp_path):
    """A pipeline's file, of one or several transforms."""

    def write(*transforms):
        compose = {"__class_fullname__": "Compose", "p": 1.0, "transforms": list(transforms)}
        path = tmp_path / "pipeline.json"
        path.write_text(json.dumps({"__version__": "2.0.8", "transform": compose}))
        return path

    return write


def pictures(frame):
    return np.stack([np.array(Image.open(io.BytesIO(image["bytes"]))) for image in frame["image"]])


def run(manifest, *words):
    return CliRunner().invoke(app, ["augment", "set", "--manifests", str(manifest.parent), *map(str, words)])


# --- which faces


def test_no_fold_has_a_face_of_its_test_or_validation_part_and_none_is_left_out(manifest):
    table = files.read(manifest)
    for fold in range(1, schema.num_folds(table) + 1):
        made = augment(manifest, fold, Variants())
        names = {part: set(table["face_id"].take(rows).to_pylist()) for part, rows in schema.parts(table, fold).items()}
        found = pd.read_parquet(made.file)
        assert set(found["face_id"]) == names["train"] and names["test"] and names["validation"]
        assert set(found["face_id"]).isdisjoint(names["test"] | names["validation"])
        assert (found.groupby("face_id")["copy"].agg(list).map(sorted).map(tuple) == tuple(range(14))).all()


def test_test_faces_are_not_even_read(manifest, monkeypatch):
    read, stored = [], faces.stored
    monkeypatch.setattr(faces, "stored", lambda path, rows: read.extend(rows) or stored(path, rows))
    augment(manifest, 2, Variants())
    assert set(read) == set(schema.parts(files.read(manifest), 2)["train"])


def test_an_official_split_has_one_fold_to_augment(manifest, tmp_path):
    official = official_of_nobody(manifest, tmp_path / "official.parquet")
    found = pd.read_parquet(augment(official, 1, Variants()).file)
    rows = files.read(official).to_pandas()
    test = set(rows["face_id"][rows["split"] == "test"])
    assert test and len(found) and test.isdisjoint(found["face_id"])
    with pytest.raises(ManifestError, match="no fold 2; known folds: 1, the official split"):
        augment(official, 2, Variants())


# --- the 14 variants


@pytest.mark.parametrize("crop", [DEFAULT_CROP, Crop(256, "eyes-nose", "rgb")], ids=str)
def test_the_14_variants_are_those_of_trainer(crop):
    pixels = np.random.default_rng(0).integers(0, 256, (3, *crop.shape), dtype=np.uint8)
    images, parameters, _ = Variants().apply(crop, pixels, ["a", "b", "c"])
    channels = torch.from_numpy(pixels).reshape(3, crop.stored, crop.stored, -1).movedim(-1, 1).float()
    theirs = [
        F.grid_sample(channels, grid.expand(3, -1, -1, -1), align_corners=False).movedim(1, -1)
        for grid in of_trainer.variant_grids(crop)
    ]
    far = np.abs(torch.stack(theirs, dim=1).reshape(images.shape).numpy() - images)
    assert far.max() < 0.51  # of a grey level: what rounding takes
    assert VARIANTS == of_trainer.VARIANTS
    told = [json.loads(text) for text in parameters]
    assert [(one["angle"], one["flipped"]) for one in told] == of_trainer.VARIANTS * 3


def test_the_file_opens_in_pandas_and_says_what_it_was_made_from(manifest):
    made = augment(manifest, 3, Variants())
    assert made.file == str(manifest.parent / "set.augmented" / "fold03.parquet")
    found = pd.read_parquet(made.file)
    assert list(found.columns) == ["face_id", "copy", "parameters", "image"] and len(found) == made.images
    assert pictures(found).shape == (made.images, 112, 112)
    metadata = {key.decode(): value for key, value in pq.read_schema(made.file).metadata.items()}
    told = {key: json.loads(metadata[key]) for key in ("made_from", "fold", "seed", "pipeline", "copies", "libraries")}
    training = schema.parts(files.read(manifest), 3)["train"]
    assert told["made_from"] == files.whitening_source(manifest, training)
    assert (told["fold"], told["seed"], told["copies"], set(told["libraries"])) == (3, None, 14, {"fertools"})
    canonical = json.dumps(told["pipeline"], sort_keys=True)
    assert json.loads(metadata["pipeline_sha256"]) == hashlib.sha256(canonical.encode()).hexdigest()


def test_the_upright_variant_is_the_middle_of_the_crop_in_colour_too(large_patterns, tmp_path):
    own = shutil.copytree(large_patterns.parent, tmp_path / "large") / large_patterns.name
    found = pd.read_parquet(augment(own, 1, Variants()).file)
    crop, table = files.read_crop(own), files.read(own)
    upright = found[found["parameters"] == '{"angle": 0.0, "flipped": false}']
    rows = np.array([table["face_id"].to_pylist().index(face_id) for face_id in upright["face_id"]])
    middle = files.read_images(own, rows)[:, crop.margin : -crop.margin, crop.margin : -crop.margin]
    assert np.array_equal(pictures(upright), middle) and middle.shape[1:] == (224, 224, 3)


# --- pipelines


def test_a_pipeline_gives_the_same_bytes_twice_and_in_any_number_of_workers(manifest, written):
    how, digests = Pipeline.read(written(FLIP, ONE_OF, NOISE), copies=7, seed=5), set()
    for workers in (1, 1, 2):
        made = augment(manifest, 1, how, workers=workers)
        assert made.made
        digests.add(hashlib.sha256(Path(made.file).read_bytes()).hexdigest())
        Path(made.file).unlink()
    assert len(digests) == 1


def test_a_copy_depends_on_seed_face_and_number_alone(patterns, written):
    how = Pipeline.read(written(FLIP, ONE_OF), copies=3, seed=0)
    pixels, ids = files.read_images(patterns, np.arange(6)), list("abcdef")
    images, parameters, _ = how.apply(DEFAULT_CROP, pixels, ids)
    again, _, _ = how.apply(DEFAULT_CROP, pixels[::-1], ids[::-1])
    assert np.array_equal(again.reshape(6, 3, 112, 112)[::-1].reshape(images.shape), images)
    fewer, _, _ = dataclasses.replace(how, copies=1).apply(DEFAULT_CROP, pixels, ids)
    assert np.array_equal(fewer, images[::3])
    other, drawn, _ = dataclasses.replace(how, seed=1).apply(DEFAULT_CROP, pixels, ids)
    assert not np.array_equal(other, images) and drawn != parameters


def test_two_transforms_are_drawn_independently_and_what_was_drawn_is_told(written):
    pixels = np.zeros((1, *DEFAULT_CROP.shape), np.uint8)
    _, parameters, _ = Pipeline.read(written(FLIP, INVERT), copies=64).apply(DEFAULT_CROP, pixels, ["a"])
    told = [tuple(one["transform"] for one in json.loads(text)) for text in parameters]
    names = ("HorizontalFlip", "InvertImg")
    assert set(told) == {
        tuple(name for name, is_drawn in zip(names, drawn, strict=True) if is_drawn)
        for drawn in product((False, True), repeat=2)
    }


def test_large_arrays_are_told_by_their_shape(written):
    pixels = np.zeros((1, *DEFAULT_CROP.shape), np.uint8)
    _, (text,), _ = Pipeline.read(written(NOISE)).apply(DEFAULT_CROP, pixels, ["a"])
    assert json.loads(text)[0]["noise_map"] == "float32 array of 144 x 144" and len(text) < 500


def test_a_pipeline_sees_the_margin(patterns, written):
    """A face that is moved by 16 px shows the crop's own pixels at its edge."""
    shift = {"__class_fullname__": "Affine", "translate_px": {"x": [16, 16], "y": [0, 0]}, "p": 1.0}
    pixels = files.read_images(patterns, np.arange(2))
    moved, _, _ = Pipeline.read(written(shift)).apply(DEFAULT_CROP, pixels, ["a", "b"])
    assert np.array_equal(moved, pixels[:, 16:-16, :112])


def test_what_albumentations_warns_of_is_told(manifest, written):
    result = run(manifest, "--pipeline", written({"__class_fullname__": "ToGray", "p": 1.0}), "--workers", 1)
    assert result.exit_code == 0 and "note: The image is already gray." in result.stderr


REFUSED = {
    "a Lambda": ({"__class_fullname__": "Lambda", "__name__": "f"}, "'Lambda' is refused: a Lambda is code"),
    "a Lambda within": (
        {**ONE_OF, "transforms": [{"__class_fullname__": "albumentations.Lambda"}]}, "Lambda' is refused: ",
    ),
    "another's": ({"__class_fullname__": "os.system", "p": 1.0}, "'os.system' is refused: expected one of albumentat"),
    "no transform": ({"__class_fullname__": "BboxParams", "format": "coco"}, "'BboxParams' is refused"),
    "unknown": ({"__class_fullname__": "Rotatee", "p": 1.0}, "transform 'Rotatee' is refused"),
    "no name": ({"p": 1.0}, "it has no __class_fullname__"),
    "an argument": ({"__class_fullname__": "Rotate", "limits": 5, "p": 1.0}, r"Rotate: Argument\(s\) 'limits' are not"),
    "a value": ({"__class_fullname__": "Rotate", "limit": "far", "p": 1.0}, "Rotate: .*limit"),
    "no list": ({"__class_fullname__": "OneOf", "p": 1.0, "transforms": 3}, "OneOf: transforms is 3, expected a list"),
    "a file": (
        {"__class_fullname__": "FDA", "reference_images": ["/etc/passwd"], "p": 1.0}, "FDA reads other files",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("transform", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_transform_of_albumentations_is_refused(transform, words, written):
    with pytest.raises(PipelineError, match=rf"pipeline\.json: .*{words}"):
        Pipeline.read(written(transform))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[" * 50_000, "is nested too deeply"),
        (
            b'{"transform":%s5%s}' % (1700 * b'{"__class_fullname__":"Sequential","transforms":[', 1700 * b"]}"),
            "is nested too deeply",
        ),
        (b" " * (MAX_BYTES + 1), "has more than 100,000 bytes"),
        (b"[]", "no pipeline of albumentations; write it with"),
        (b'{"transform": NaN}', "is no JSON"),
        (b'{"transform": 5}', "5 is no transform"),
    ],
)
def test_a_file_that_is_no_pipeline_is_refused(data, words, tmp_path):
    path = tmp_path / "broken.json"
    path.write_bytes(data)
    with pytest.raises(PipelineError, match=words):
        Pipeline.read(path)


def test_a_file_that_is_not_there_is_refused_with_how_to_write_one(tmp_path):
    with pytest.raises(PipelineError, match=r"none\.json cannot be read \(No such file.*albumentations.to_dict"):
        Pipeline.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("transform", "found"),
    [
        ({"__class_fullname__": "CenterCrop", "height": 100, "width": 90, "p": 1.0}, "a uint8 image of 100 x 90"),
        ({"__class_fullname__": "ToFloat", "p": 1.0}, "a float32 image of 144 x 144"),
        ({"__class_fullname__": "ToTensorV2", "p": 1.0}, "a Tensor"),
        ({"__class_fullname__": "ToRGB", "p": 1.0}, "a uint8 image of 144 x 144 x 3"),
    ],
)
def test_what_changes_size_or_type_is_refused_and_leaves_no_file(transform, found, manifest, written):
    result = run(manifest, "--pipeline", written(transform), "--workers", 1)
    assert result.exit_code == 1 and f"makes {found} of the uint8 image of 144 x 144" in result.stderr
    assert "leave out what crops, resizes" in result.stderr
    assert not list((manifest.parent / "set.augmented").glob("*"))


def test_a_pipeline_that_needs_colour_says_so_of_grey_faces(manifest, written):
    how = Pipeline.read(written({"__class_fullname__": "RandomRain", "p": 1.0}))
    with pytest.raises(PipelineError, match="fails on the uint8 image of 144 x 144 of set/.*3-channel"):
        augment(manifest, 1, how)


# --- whitening


@pytest.mark.parametrize("kind", ["zca", "standardize", "none"])
def test_whitened_faces_are_those_of_trainer(kind, manifest):
    make_folds(manifest, 4, kind, seed=0)
    found = pd.read_parquet(augment(manifest, 2, Variants(), whiten=True).file)
    levels = torch.from_numpy(pictures(found)[:, None] / np.float32(255))
    theirs = whitener(manifest, 2, kind, torch.device("cpu"))(levels)
    ours = np.stack(found["whitened"]).reshape(theirs.shape)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-3)


def test_large_faces_are_whitened_as_grey_ones_of_112_px(large_patterns, tmp_path):
    own = shutil.copytree(large_patterns.parent, tmp_path / "large") / large_patterns.name
    found = pd.read_parquet(augment(own, 1, Variants(), whiten=True).file)
    assert pictures(found).shape[1:] == (112, 112) and {len(row) for row in found["whitened"]} == {112 * 112}


# --- again, interrupted, stale


def test_the_same_options_again_do_nothing_and_others_write_anew(manifest, written):
    first = run(manifest, "--fold", 2)
    path = files.augmented_path(manifest, 2)
    before = path.stat().st_mtime_ns
    again = run(manifest, "--fold", 2, "--variants", 14)
    assert first.exit_code == again.exit_code == 0 and path.stat().st_mtime_ns == before
    assert "fold 2, there already: nothing to do" in again.stdout and "nothing to do" not in first.stdout
    words = ("--fold", 2, "--pipeline", written(FLIP), "--copies", 2, "--workers", 1, "--json")
    told = json.loads(run(manifest, *words).stdout)
    assert told["made"] and told["images"] == 2 * told["faces"] and told["file"] == str(path)
    assert not json.loads(run(manifest, *words).stdout)["made"]
    assert json.loads(run(manifest, *words, "--seed", 1).stdout)["made"]


def test_ctrl_c_leaves_what_was_there_and_no_other_file(manifest):
    augment(manifest, 1, Variants())
    path = files.augmented_path(manifest, 1)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        augment(manifest, 1, Variants(), whiten=True, progress=lambda *_: signal.raise_signal(signal.SIGINT))
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_faces_of_folds_that_were_dealt_anew_are_named(manifest):
    augment(manifest, 4, Variants())
    assert whole.examine(manifest).damage == []
    make_folds(manifest, 3, "standardize", seed=0)
    augment(manifest, 1, Variants())
    (damage,) = whole.examine(manifest).damage
    assert damage.file.endswith("fold04.parquet") and "no fold 4" in damage.found and "delete it" in damage.found
    make_folds(manifest, 5, "standardize", seed=0)
    assert [Path(damage.file).stem for damage in whole.examine(manifest).damage] == ["fold01", "fold04"]
    assert "made of other faces or folds (training rows differ)" in whole.examine(manifest).damage[0].found


# --- refusals of the command, and Python


def test_options_that_exclude_each_other_are_refused(written):
    with pytest.raises(AugmentError, match="--variants and --pipeline exclude each other"):
        chosen(14, written(FLIP), None, 0)
    with pytest.raises(AugmentError, match="no 7 variants of a face; known: 14"):
        chosen(7, None, None, 0)
    with pytest.raises(AugmentError, match="--copies is of a --pipeline"):
        chosen(None, None, 3, 0)
    with pytest.raises(PipelineError, match="5000 copies of a face; expected 1 to 1000"):
        chosen(None, written(FLIP), 5000, 0)


def test_no_folds_and_an_unknown_fold_are_refused_in_words(manifest):
    result = run(manifest, "--fold", 9)
    assert result.exit_code == 1 and "no fold 9; known folds: 1 to 4" in result.stderr
    files.write_column(manifest, "fold", [None] * 48, files.read_metadata(manifest))
    result = run(manifest, "--whiten")
    assert result.exit_code == 1 and "no folds; make them with: fertools make-folds" in result.stderr


def test_it_is_a_function_of_fertools(manifest, written):
    made = fertools.augment("set", 2, manifest.parent, pipeline=written(FLIP), copies=2)
    assert made == dataclasses.replace(
        fertools.augment("set", 2, manifest.parent, pipeline=written(FLIP), copies=2), made=True
    )
    assert len(pd.read_parquet(made.file)) == made.images == 2 * made.faces
