"""`trainer bench` against known operation counts, slow batches and idle steps: catches a wrong unit or limit."""

import json
import time
from functools import partial

import pytest
import torch
from small_runs import CPU, run_spec
from typer.testing import CliRunner

from trainer.cli.main import app
from trainer.data.fold_data import FoldData
from trainer.experiments import throughput as library


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setitem(library.MATRIX, "cpu", 64)
    monkeypatch.setattr(library, "BATCH", 4)
    monkeypatch.setattr(library, "REPEATS", 3)


def test_every_stage_is_measured_in_its_own_unit(patterns):
    found = library.bench(run_spec(patterns, "dicefer"), CPU, 0.0)
    assert {name: stage["unit"] for name, stage in found["stages"].items()} == {
        "expression": "pairs", "identity": "pairs", "classifier": "images"
    }  # fmt: skip
    stages = list(found["stages"].values())
    assert all(stage["rate"] > 0 and stage["share"] > 0 and 0 < stage["utilisation"] < 2 for stage in stages)
    assert stages[1]["operations"] > stages[0]["operations"] > stages[2]["operations"]  # two encoders; one; no backward
    assert "pairs/s, batches of" in library.text(found) and found["where"]["precision"] == "float32"
    json.dumps(found)


def test_operations_of_a_step_are_three_times_the_known_ones_of_an_answer(patterns):
    """ResNet-18 answers a 112 px face in a quarter of the 1.8e9 multiplications and additions published for 224 px."""
    ask = run_spec(patterns, "resnet", "width=64", "batch_size=3")
    stage = library.bench(ask, CPU, 0.0)["stages"]["classifier"]
    assert stage["operations"] / (stage["batch"] * 3 * 2 * 1.8e9 / 4) == pytest.approx(1, abs=0.1)


def test_slow_batches_are_a_smaller_share_of_the_limit(patterns, monkeypatch):
    cut = FoldData._cut
    monkeypatch.setattr(FoldData, "_cut", lambda *given: (time.sleep(0.1), cut(*given))[1])
    stage = library.bench(run_spec(patterns, "resnet"), CPU, 0.0)["stages"]["classifier"]
    assert stage["share"] < 0.7 and stage["rate"] < stage["limit"] and stage["rate"] < stage["batch"] / 0.1


def test_an_idle_step_uses_nothing():
    assert library.utilisation(lambda: time.sleep(0.005) or 1, CPU) < 0.3


def test_the_command_prints_what_was_measured(patterns, monkeypatch):
    monkeypatch.setattr(library, "bench", partial(library.bench, min_seconds=0.0))
    settings = [part for setting in run_spec(patterns, "resnet").settings for part in ("--set", setting)]
    told = CliRunner().invoke(
        app, ["bench", "--manifests", str(patterns.parent), "--method", "resnet", *settings, "--json"]
    )
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["stages"].keys() == {"classifier"}


@pytest.mark.gpu
def test_a_gpu_is_measured(patterns):
    found = library.bench(run_spec(patterns, "dicefer"), torch.device("cuda"), 0.0)
    assert found["where"]["precision"] == "bf16" and found["peak_memory"] > 0
    assert all(0 < stage["utilisation"] <= 1 for stage in found["stages"].values())
