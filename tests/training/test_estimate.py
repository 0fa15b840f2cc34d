"""Run-time estimates of papers' tables: catches shared runs counted twice, wrong rates, and leftovers of timing."""

import dataclasses
import json
import tempfile

import pytest
from manifest_files import copy_manifest
from small_runs import CPU, run_spec, silent

from trainer.data.provenance import pairs_read
from trainer.experiments import estimate, reproduce
from trainer.experiments.papers.item import Item, Variant
from trainer.methods import find_presets
from trainer.training.fit import fit

STEPS = {"stages": {"classifier": [10.0] * 5}, "inference": [120.0] * 5}  # images a second


@pytest.fixture
def grid(patterns, tmp_path, monkeypatch):
    """Bright squares under CK+'s name: in each of four folds 24 faces are trained on, 12 validate and 12 test."""
    copy_manifest(patterns, tmp_path / "ckplus.parquet")
    for name in ("resnet", "dicefer"):
        small = {"width": 4, "batch_size": 12} | ({"epochs": 5} if name == "resnet" else {})
        monkeypatch.setitem(find_presets(name), "tiny", dataclasses.replace(find_presets(name)["demo"], **small))
    return reproduce.Grid(
        manifests=tmp_path, runs=tmp_path / "runs", preset="tiny", folds=(1, 2), seeds=(0, 1, 2), device=CPU
    )


def item(*variants, measures=("accuracy",)):
    return Item(title="A table", variants=variants, datasets=("ckplus",), measures=measures)


def weighed(*settings):
    return Variant(title=" ".join(settings), settings=settings)


RESNET = item(Variant(title="ResNet-18", method="resnet"))


@pytest.fixture
def made_up(monkeypatch):
    """Measurements that nobody took."""
    monkeypatch.setattr(estimate, "measure_in_subprocess", lambda *_: STEPS)
    monkeypatch.setattr(estimate, "in_subprocess", lambda *_: {"seconds": 30.0})


def test_what_takes_the_same_time_is_measured_once(grid):
    same = item(weighed(), weighed("adversarial_weight=0.5"), weighed("learning_rate=0.1", "epochs_identity=3"))
    assert len(reproduce.jobs(same, grid)) == 18
    titles = [job.title for job in estimate.measurements({"same": same}, grid)]
    assert titles == ["steps of dicefer", "judging-ckplus-dicefer-tiny"]
    other = item(*same.variants, weighed("swap=false"), weighed("local_weight=0"))
    titles = [job.title for job in estimate.measurements({"same": same, "other": other}, grid)]
    assert {title for title in titles if title.startswith("steps")} == {
        "steps of dicefer", "steps of dicefer swap=false", "steps of dicefer local_weight=0",
    }  # fmt: skip


@pytest.mark.usefixtures("made_up")
def test_an_estimate_is_epochs_of_faces_over_measured_rates_and_judging(grid):
    """Six runs of 5 epochs of 24 faces at 10 a second, 12 faces validated at 120 a second, and 30 s each besides."""
    items = {"one": RESNET, "again": RESNET}
    unknown = estimate.estimate(items, grid)
    assert unknown["all"]["training_minutes"] is None and "6 jobs: unknown" in estimate.estimate_text(unknown)
    for job in estimate.measurements(items, grid):
        assert job.alone and not job.done
        job.work(silent)
        assert job.done
    estimated = estimate.estimate(items, grid)
    assert estimated["all"]["training_minutes"] == pytest.approx(6 * (5 * 24 / 10 + 5 * 12 / 120) / 60)
    assert estimated["all"]["judging_minutes"] == pytest.approx(6 * 30 / 60)
    assert [one["jobs"] for one in estimated["items"]] == [6, 6] and estimated["all"]["jobs"] == 6  # shared runs once
    text = estimate.estimate_text(estimated)
    assert "cpu" in text and "6 jobs: 4.2 min, 3.0 of them judging" in text
    assert json.loads(json.dumps(estimated)) == estimated


@pytest.mark.usefixtures("made_up")
def test_what_is_done_takes_no_time(grid):
    for job in reproduce.jobs(RESNET, grid):
        job.path.parent.mkdir(parents=True)
        job.path.write_text("{}")
        provenance = {"data": {"read": pairs_read(grid.manifests / "ckplus.parquet")}}
        (job.path.parent / "provenance.json").write_text(json.dumps(provenance))
    assert estimate.measurements({"one": RESNET}, grid) == []
    assert estimate.estimate({"one": RESNET}, grid)["all"] == {
        "jobs": 0,
        "training_minutes": 0.0,
        "judging_minutes": 0.0,
    }


@pytest.mark.parametrize("method", ["resnet", "ifgan"])
def test_judging_is_timed_with_untrained_weights_and_leaves_nothing(method, patterns, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = []
    monkeypatch.setattr(estimate, "fit", lambda *each: ended.append(fit(*each).finished))
    found = estimate.time_judging(run_spec(patterns, method), "cpu", 1, examined=False)
    assert ended == [True] and found["seconds"] > 0.1 and found["where"]["threads"] == 1
    assert list(tmp_path.iterdir()) == []
