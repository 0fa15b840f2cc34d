"""Crops that are larger, in colour or aligned by eyes and nose: the same manifests, and every reader of them."""

import dataclasses
import io
import shutil

import numpy as np
import pytest
import torch
from manifest_files import copy_manifest
from PIL import Image
from small_runs import CPU, built, cut_short, run_spec, silent

from fertools.checks import audit, diff
from fertools.datasets import DATASETS
from fertools.drawn.corpus import draw
from fertools.errors import FertoolsError
from fertools.export import contact_sheet
from fertools.export.export import export
from fertools.folds.identities.embed import Embedder
from fertools.folds.identities.group import group
from fertools.folds.make_folds import make_folds
from fertools.folds.whitening import centre, fit_zca
from fertools.preparation.prepare import prepare
from manifests import files
from manifests.schema import DEFAULT_CROP, Crop, ManifestError
from trainer.data.fold_data import FoldData
from trainer.evaluation.evaluate import judge_elsewhere, load
from trainer.methods import build
from trainer.methods.base import Faces
from trainer.methods.config import ConfigError
from trainer.training.fit import fit

LARGE = Crop(256, "eyes-nose", "rgb")


@pytest.fixture
def copy(large_patterns, tmp_path):
    """The large manifest and its pairs, to be changed."""
    return copy_manifest(large_patterns, tmp_path / large_patterns.name)


# --- from a raw folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A drawn RAF-DB of two people, photographs in colour with published landmarks."""
    root = tmp_path_factory.mktemp("raw") / "rafdb"
    draw(root, 2, seed=0, workers=1, dataset="rafdb")
    for crops in root.rglob("aligned"):
        shutil.rmtree(crops)  # else these are taken, for which no landmarks are published
    return root


def test_a_raw_folder_gives_the_crops_that_are_asked_for_and_says_how(photographs, tmp_path):
    summary = prepare(DATASETS["rafdb"], photographs, tmp_path, published=True, crop=LARGE)
    manifest = tmp_path / "rafdb.parquet"
    assert files.read_crop(manifest) == LARGE and summary.usable == 16
    command = files.read_metadata(manifest)["command"]
    assert command.endswith("--landmarks published --size 256 --align eyes-nose --color rgb")
    row = files.read(manifest, images=True).slice(3, 1).to_pylist()[0]
    with Image.open(io.BytesIO(row["image"]["bytes"])) as picture:
        assert (picture.size, picture.mode, picture.format) == ((288, 288), "RGB", "PPM")
    assert row["image"]["path"].endswith(".ppm")
    matrix, landmarks = np.array(row["matrix"]).reshape(2, 3), np.array(row["landmarks"]).reshape(5, 2)
    eyes = (landmarks @ matrix[:, :2].T + matrix[:, 2])[:2]
    assert np.abs(eyes[:, 1] - (32 + 103.7)).max() < 6 and 68 < eyes[1, 0] - eyes[0, 0] < 74
    with pytest.raises(FertoolsError, match=r"--color rgb\); --overwrite"):
        prepare(DATASETS["rafdb"], photographs, tmp_path, published=True)
    assert prepare(DATASETS["rafdb"], photographs, tmp_path, published=True, crop=LARGE).up_to_date


# --- their other readers


def test_a_contact_sheet_is_in_colour_and_no_larger(patterns, large_patterns):
    small, large = contact_sheet.contact_sheet(patterns), contact_sheet.contact_sheet(large_patterns)
    assert (small.mode, large.mode) == ("L", "RGB") and small.size == large.size
    red, green, blue = np.moveaxis(np.asarray(large)[28:140, :112].astype(int), -1, 0)  # the first face
    np.testing.assert_array_equal(red, np.asarray(small)[28:140, :112])
    assert np.abs(green - red // 2).max() <= 1 and np.abs(blue - (255 - red)).max() <= 1


def test_people_are_told_apart_in_grey_whatever_the_crop(copy):
    seen = []

    def network(crops):
        seen.append(crops)
        return np.eye(len(crops), 64)

    group(copy, Embedder("any", "none", "x", network), threshold=0.5)
    assert sum(map(len, seen)) == 48 and {crops.shape[1:] for crops in seen} == {(144, 144)}


def test_an_audit_finds_the_near_copies_that_it_finds_in_small_grey_crops(patterns, large_patterns):
    found = [audit.audit(path, None, [], lambda *_: None).total.leaks for path in (patterns, large_patterns)]
    assert any(leak.kind == "near copy" for leak in found[0])
    for small, large in zip(*found, strict=True):
        assert small.kind == large.kind and abs(small.faces - large.faces) <= 2


ABOUT = {"title": "Set", "source": "x", "licence": "x", "command": "x", "fertools": "0", "detector": {"name": "x"}}


@pytest.mark.parametrize("form", ["hf", "webdataset", "folder"])
def test_an_export_has_their_colours_in_order(form, copy, tmp_path):
    import datetime
    import tarfile

    import pyarrow.parquet as pq

    files.write_column(copy, "split", ["train"] * 48, files.read_metadata(copy) | ABOUT)
    out = tmp_path / "out"
    export(copy, out, form, datetime.date(2026, 1, 1), pixels=True)
    if form == "hf":
        data = pq.read_table(next(out.rglob("*.parquet")))["image"][0]["bytes"].as_py()
    elif form == "folder":
        data = next(path for path in sorted(out.rglob("*.png")) if "set_0_anger_0" in path.name).read_bytes()
    else:
        with tarfile.open(next(out.rglob("*.tar"))) as tar:
            data = tar.extractfile(next(name for name in tar.getnames() if name.endswith(".png"))).read()
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), files.read_images(copy, np.array([0]))[0])
    assert "aligned colour crop of 288 x 288 px" in (out / "README.md").read_text()


def test_a_difference_of_crops_is_told(patterns, large_patterns):
    changes = {change.name: (change.a, change.b) for change in diff.diff(patterns, large_patterns).metadata}
    assert changes["crop.size"] == (128, 256) and changes["crop.color"] == ("grey", "rgb")


def test_whitening_is_fitted_on_small_grey_faces_of_any_manifest(copy):
    """As small ones: what is whitened is comparable across manifests, and 256 components of 150,000 values are not."""
    make_folds(copy, 4, "zca", seed=0)
    data = FoldData(copy, 2, CPU)
    grey = centre(files.read_images(copy, data.rows["train"], LARGE.least))
    assert files.read_whitening(copy, 2, files.read(copy))[0].shape == (112 * 112,)
    white = next(data.upright("validation"))[:, 0].numpy()
    validation = centre(files.read_images(copy, data.rows["validation"], LARGE.least))
    np.testing.assert_allclose(white, fit_zca(grey).apply(validation), atol=2e-3)


# --- training


def test_a_method_sees_them_as_large_and_as_coloured_as_it_wants(large_patterns):
    whitened = FoldData(large_patterns, 1, CPU)
    grey, color = (FoldData(large_patterns, 1, CPU, plain=True, color=color) for color in (False, True))
    for data, shape in ((whitened, (1, 112, 112)), (grey, (1, 224, 224)), (color, (3, 224, 224))):
        batch = next(data.batches(Faces, 6, 0, 0))
        assert batch.image.shape[1:] == next(data.upright("train")).shape[1:] == data.averages().shape[1:] == shape
        assert next(next(data.variants("train"))).shape[1:] == shape
        assert data.pictures("train")[:].shape[1:] == (shape[1:] if shape[0] == 1 else (224, 224, 3))
    red, green, blue = (next(color.upright("train")) + 1).mul(127.5).unbind(1)
    assert (green - red / 2).abs().max() < 1 and (blue - (255 - red)).abs().max() < 1e-3
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert ((next(grey.upright("train")) + 1).mul(127.5)[:, 0] - luma).abs().max() < 1.5


def test_what_was_seen_is_written_down_where_it_is_not_the_default(patterns, large_patterns):
    assert "crop" not in FoldData(patterns, 1, CPU, plain=True).provenance()
    about = FoldData(large_patterns, 1, CPU, plain=True).provenance()
    assert about["crop"] == {"size": 256, "align": "eyes-nose", "color": "grey"}


def test_an_average_face_in_colour_is_symmetric_and_has_its_colours(large_patterns):
    red, green, blue = FoldData(large_patterns, 1, CPU, plain=True, color=True).averages().add(1).mul(127.5).unbind(1)
    for channel in (red, green, blue):
        torch.testing.assert_close(channel, channel.flip(2))
    assert (green - red / 2).abs().max() < 1 and (blue - (255 - red)).abs().max() < 1e-2


def test_ifgan_trains_on_colours_and_is_judged(large_patterns, tmp_path):
    run = fit(run_spec(large_patterns, "ifgan", "color=true", "size=48", "epochs=1"), tmp_path, CPU, silent)
    trained, data = load(run, large_patterns.parent, CPU)
    assert run.read_json("scores.json")["faces"]["test"] == 12 and data.crop == LARGE
    assert trained.averages.shape == (3, 3, 48, 48)
    torch.testing.assert_close(trained.averages.mean((2, 3)), data.averages().mean((2, 3)), atol=0.01, rtol=0)


@pytest.mark.parametrize(("method", "settings"), [("resnet_island", ["color=true"]), ("dicefer", []), ("resnet", [])])
def test_other_methods_train_on_the_same_manifest(method, settings, large_patterns, tmp_path):
    run = cut_short(run_spec(large_patterns, method, *settings), tmp_path, epochs=1)
    crop = LARGE if settings else LARGE.least
    assert len(run.metrics()) == 1 and run.read_json("provenance.json")["data"]["crop"] == dataclasses.asdict(crop)


@pytest.mark.parametrize(
    ("error", "settings", "words"),
    [
        (
            ManifestError,
            ["color=true"],
            "holds grey crops of 128 px.*, not rgb crops .*; prepare it again:.* --color rgb",
        ),
        (
            ConfigError,
            ["size=224"],
            "size=224: the faces of .* are 112 px; prepare them with --size 256.*--set size=112",
        ),
    ],
)
def test_what_a_manifest_does_not_hold_is_not_trained_on(error, settings, words, patterns, tmp_path):
    with pytest.raises(error, match=words):
        fit(run_spec(patterns, "ifgan", *settings), tmp_path, CPU, silent)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_judged_elsewhere_on_faces_that_are_aligned_alike(patterns, large_patterns, tmp_path):
    run = cut_short(run_spec(patterns, "resnet_island"), tmp_path, epochs=1)
    trained, data = build(**built(run)), FoldData(patterns, 1, CPU, plain=True)
    other = copy_manifest(large_patterns, tmp_path / "other.parquet")
    with pytest.raises(ManifestError, match="not grey crops of 128 px aligned by five-points; prepare it again"):
        judge_elsewhere(run, trained, data, other)
    crop = dataclasses.asdict(dataclasses.replace(LARGE, align=DEFAULT_CROP.align))
    files.write_column(other, "fold", [None] * 48, files.read_metadata(other) | {"crop": crop})
    assert judge_elsewhere(run, trained, data, other)["faces"] == 48
