"""A run depends on what it read: nothing else may refuse it, and whatever of that changed is named.

Catches: hashes of whole files in a run's provenance, preparations that write anew what has not changed, and a changed
crop, label, person or fold that nobody notices.
"""

import os
import shutil
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from manifest_files import copy_manifest, with_column
from small_runs import CPU, cut_short, run_spec, silent, weights

from fertools.checks.audit import audit
from fertools.datasets import DATASETS
from fertools.folds.identities.embed import Embedder
from fertools.folds.identities.group import group
from fertools.folds.make_folds import make_folds
from fertools.preparation.prepare import prepare
from manifests import faces as crops
from manifests import files, schema
from trainer.evaluation import evaluate
from trainer.experiments.jobs import finished
from trainer.inference import demo
from trainer.inference.export import export
from trainer.runs.run import Run, RunError
from trainer.training.fit import fit

ready = partial(prepare, DATASETS["affectnet"], published=True)  # no detector: fast


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A raw folder, its manifest, and runs of it: one finished, one that was stopped."""
    from fertools.drawn.corpus import draw

    folder = tmp_path_factory.mktemp("world")
    draw(folder / "raw", 8, seed=0, workers=1, dataset="affectnet")
    ready(folder / "raw", folder / "manifests")
    manifest = folder / "manifests/affectnet.parquet"
    make_folds(manifest, 4, "zca", seed=0)
    spec = run_spec(manifest, "resnet")
    fit(spec, folder / "runs", CPU, silent)
    cut_short(spec, folder / "stopped", epochs=1)
    return folder


def prepared_again(folder):
    ready(folder / "raw", folder / "manifests")


def grouped(folder):
    by_grey = Embedder("by-grey", "none", "x", lambda faces: np.eye(256, dtype=np.float32)[faces[:, 72, 72]] + 0.01)
    group(folder / "manifests/affectnet.parquet", by_grey, threshold=0.5)


def audited(folder):
    audit(folder / "manifests/affectnet.parquet")


def with_a_stray_file(folder):
    (folder / "raw/train_set/images/notes.txt").write_text("to do")
    prepared_again(folder)


def with_images_touched(folder):
    for path in folder.rglob("raw/**/*.jpg"):
        os.utime(path, ns=(0, 0))
    prepared_again(folder)


def with_folds_made_again(folder):
    make_folds(folder / "manifests/affectnet.parquet", 4, "zca", seed=0)


def with_its_files_touched(folder):
    for path in folder.rglob("manifests/**/*.parquet"):
        os.utime(path, ns=(0, 0))


@pytest.mark.parametrize(
    "act",
    [with_folds_made_again, audited, with_a_stray_file, with_images_touched, with_its_files_touched, grouped],
)
def test_what_a_run_did_not_read_refuses_it_nowhere(act, world, tmp_path, monkeypatch):
    manifests, spec = world / "manifests", run_spec(world / "manifests/affectnet.parquet", "resnet")
    before = files.read_metadata(spec.manifest), spec.manifest.stat().st_mtime_ns
    act(world)
    assert (files.read_metadata(spec.manifest) != before[0]) == (act in (grouped, with_a_stray_file))
    run = Run(shutil.copytree(world / "runs" / spec.name(), tmp_path / "done" / spec.name()))
    scores = run.read_json("scores.json")
    assert evaluate.judge(run, *evaluate.load(run, manifests, CPU))[0]["classification"] == scores["classification"]
    assert export(run, manifests, "safetensors", tmp_path / "out").agreement["differing_predictions"] == 0
    monkeypatch.setattr(demo.photos, "finder", lambda *_: lambda _: ())  # the detector is no part of this
    assert demo.reader(run.folder, manifests, "cpu").near is not None
    assert finished(spec, tmp_path / "done") is not None
    shutil.copytree(world / "stopped", tmp_path / "stopped")
    resumed = fit(spec, tmp_path / "stopped", CPU, silent)
    assert resumed.weights_sha256() == run.weights_sha256() and weights(resumed).keys() == weights(run).keys()


# --- what it did read


@pytest.fixture
def read(patterns, tmp_path):
    """A manifest to be changed, and a finished run of it."""
    spec = run_spec(copy_manifest(patterns, tmp_path / "manifests/set.parquet"), "resnet")
    return spec, fit(spec, tmp_path / "runs", CPU, silent)


def other_crop(manifest):
    faces = files.read(manifest, images=True)
    images = faces["image"].to_pylist()
    images[7]["bytes"] = images[7]["bytes"][:-1] + b"\0"
    faces = faces.set_column(len(schema.ROWS), schema.FACES.field("image"), pa.array(images, schema.IMAGE))
    files.write([faces], manifest, files.read_metadata(manifest))


def other_expression(manifest):
    values = files.read(manifest)["expression"].to_pylist()
    with_column(manifest, "expression", ["fear", *values[1:]])


def other_subject(manifest):
    values = files.read(manifest)["subject"].to_pylist()
    with_column(manifest, "subject", ["set/new" if value == "set/7" else value for value in values])


def other_split(manifest):
    with_column(manifest, "split", ["train"] * 48)


@pytest.mark.parametrize(
    ("change", "num_folds", "seed", "names"),
    [
        (other_crop, 4, 0, "faces differ"),
        (other_expression, 4, 0, "expression, pairs differ"),
        (other_subject, 4, 0, "subject, pairs differ"),
        (other_split, 4, 0, "split, pairs differ"),
        (lambda _: None, 3, 0, "fold, pairs differ"),
        (lambda _: None, 4, 1, "pairs differ"),
    ],
    ids=["crop", "label", "subject", "split", "fold", "pairs"],
)
def test_what_changed_of_what_it_read_is_named(change, num_folds, seed, names, read):
    spec, run = read
    change(spec.manifest)
    make_folds(spec.manifest, num_folds, "standardize", seed=seed)
    with pytest.raises(RunError, match=rf"was trained on other data than .*set.parquet holds now: {names}\. Train"):
        evaluate.load(run, spec.manifest.parent, CPU)
    with pytest.raises(RunError, match=f"set.parquet: {names}; delete it"):
        finished(spec, run.folder.parent)
    with pytest.raises(RunError, match=f"holds another run .*{names.split()[-2].strip(',:')} differs"):
        fit(spec, run.folder.parent, CPU, silent)


def test_another_whitening_is_named(read):
    spec, run = read
    make_folds(spec.manifest, 4, "zca", seed=0)
    with pytest.raises(RunError, match="holds now: whitening differ"):
        evaluate.load(run, spec.manifest.parent, CPU)


def test_crops_that_were_damaged_are_named(read):
    spec, run = read
    part = crops.folder(spec.manifest) / "part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[500_000] ^= 1
    part.write_bytes(data)
    with pytest.raises(schema.ManifestError, match="part-00000.parquet is (damaged|not there)"):
        evaluate.load(run, spec.manifest.parent, CPU)
