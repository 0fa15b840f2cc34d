import dataclasses
import json
import shutil
import tempfile

import pytest
from small_runs import CPU, run_spec, silent

from manifests import files
from trainer.experiments import price, reproduce
from trainer.experiments.papers.item import Item, Variant
from trainer.methods import find_presets
from trainer.training.fit import fit

STEPS = {"stages": {"classifier": [10.0] * 5}, "inference": [120.0] * 5}  # images a second


@pytest.fixture
def grid(patterns, tmp_path, monkeypatch):
    """Bright squares under CK+'s name: in each of four folds 24 faces are trained on, 12 validate and 12 test."""
    for place in (lambda path: path, files.pairs_path):
        shutil.copy(place(patterns), place(tmp_path / "ckplus.parquet"))
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
    monkeypatch.setattr(price, "measure_apart", lambda *_: STEPS)
    monkeypatch.setattr(price, "apart", lambda *_: {"seconds": 30.0})


def test_what_takes_the_same_time_is_measured_once(grid):
    same = item(weighed(), weighed("adversarial_weight=0.5"), weighed("learning_rate=0.1", "epochs_identity=3"))
    assert len(reproduce.jobs(same, grid)) == 18
    titles = [job.title for job in price.measurements({"same": same}, grid)]
    assert titles == ["steps of dicefer", "judging-ckplus-dicefer-tiny"]
    other = item(*same.variants, weighed("swap=false"), weighed("local_weight=0"))
    titles = [job.title for job in price.measurements({"same": same, "other": other}, grid)]
    assert {title for title in titles if title.startswith("steps")} == {
        "steps of dicefer", "steps of dicefer swap=false", "steps of dicefer local_weight=0",
    }  # fmt: skip


@pytest.mark.usefixtures("made_up")
def test_a_price_is_epochs_of_faces_over_measured_rates_and_judging(grid):
    """Six runs of 5 epochs of 24 faces at 10 a second, 12 faces validated at 120 a second, and 30 s each besides."""
    items = {"one": RESNET, "again": RESNET}
    unknown = price.price(items, grid)
    assert unknown["all"]["training_minutes"] is None and "6 jobs: unknown" in price.price_text(unknown)
    for job in price.measurements(items, grid):
        assert job.alone and not job.done
        job.work(silent)
        assert job.done
    priced = price.price(items, grid)
    assert priced["all"]["training_minutes"] == pytest.approx(6 * (5 * 24 / 10 + 5 * 12 / 120) / 60)
    assert priced["all"]["judging_minutes"] == pytest.approx(6 * 30 / 60)
    assert [one["jobs"] for one in priced["items"]] == [6, 6] and priced["all"]["jobs"] == 6  # shared runs once
    told = price.price_text(priced)
    assert "cpu" in told and "6 jobs: 4.2 min, 3.0 of them judging" in told
    assert json.loads(json.dumps(priced)) == priced


@pytest.mark.usefixtures("made_up")
def test_what_is_done_has_no_price(grid):
    for job in reproduce.jobs(RESNET, grid):
        job.path.parent.mkdir(parents=True)
        job.path.write_text("{}")
        provenance = {"data": {"manifest_sha256": files.file_sha256(grid.manifests / "ckplus.parquet")}}
        (job.path.parent / "provenance.json").write_text(json.dumps(provenance))
    assert price.measurements({"one": RESNET}, grid) == []
    assert price.price({"one": RESNET}, grid)["all"] == {"jobs": 0, "training_minutes": 0.0, "judging_minutes": 0.0}


@pytest.mark.parametrize("method", ["resnet", "ifgan"])
def test_judging_is_timed_with_untrained_weights_and_leaves_nothing(method, patterns, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = []
    monkeypatch.setattr(price, "fit", lambda *each: ended.append(fit(*each).finished))
    found = price.time_judging(run_spec(patterns, method), "cpu", 1, examined=False)
    assert ended == [True] and found["seconds"] > 0.1 and found["where"]["threads"] == 1
    assert list(tmp_path.iterdir()) == []
