"""Runs that take a second: every method, narrow, for a few epochs."""

import math
from contextlib import contextmanager

import pytest
import torch

from trainer.evaluation.metrics import dependence, leaks, probes
from trainer.evaluation.reporting import run_report
from trainer.methods import build
from trainer.training.fit import RunSpec, fit

CPU = torch.device("cpu")
SMALL = {
    "dicefer": ("code_size=8", "critic_width=16", "epochs_expression=2", "epochs_identity=2", "epochs_classifier=2"),
    "ifgan": ("discriminator_width=4", "classifier_width=4", "size=32", "epochs=3"),
    "resnet": ("code_size=8", "epochs=3"),
    "resnet_island": ("epochs=3",),
} | {
    name: ("code_size=8", "epochs_expression=2", "epochs_classifier=2")
    for name in ("cross_entropy", "supcon", "person_adversary", "independence")
}


@contextmanager
def judged_quickly():
    """Judge runs by the cheapest probe and few permutations, as judging takes most of a small run's time; draw nothing.

    tests/unit holds the real measures against known values, tests/system/test_evaluate.py a run judged by all.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "PROBES", dict.fromkeys(probes.PROBES, probes.PROBES["knn"]))
        patch.setattr(probes, "NUM_PERMUTATIONS", 1)
        patch.setattr(leaks, "PROBE_PERMUTATIONS", 2)
        patch.setattr(leaks, "INFORMATION_PERMUTATIONS", 1)
        patch.setattr(dependence, "NUM_PERMUTATIONS", 10)
        patch.setattr(run_report, "_figures", lambda *_: {"curves": [], "reliability": [], "codes": []})
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_judging():
    """Judge the runs of a module's tests quickly."""
    with judged_quickly():
        yield


def silent(*_):
    pass


def run_spec(manifest, method, *settings, fold=1, seed=0, preset="demo"):
    settings = ("width=4", "batch_size=12", *SMALL[method], *settings)
    return RunSpec(
        manifest=manifest, method=method, preset=preset, settings=settings, epochs=None, fold=fold, seed=seed
    )


class Stop:
    """Interrupts a training after so many epochs, or steps: its `report` and `should_stop` are what `fit` calls."""

    def __init__(self, epochs=math.inf, steps=math.inf):
        self.epochs, self.steps = epochs, steps

    def report(self, *_):
        self.epochs -= 1

    def should_stop(self):
        self.steps -= 1
        return self.epochs <= 0 or self.steps < 0


def cut_short(ask, runs, **when):
    stop = Stop(**when)
    return fit(ask, runs, CPU, stop.report, stop.should_stop)


def weights(run):
    method = build(**built(run))
    run.load_weights(method)
    return method.state_dict()


def same_weights(run, other):
    """Whether two runs came to the same weights, to the bit."""
    one, two = weights(run), weights(other)
    return one.keys() == two.keys() and all(torch.equal(value, two[key]) for key, value in one.items())


def built(run):
    config = run.read_json("config.json")
    return {key: config[key] for key in ("settings", "expressions", "seed")} | {"name": config["method"], "device": CPU}


def timeless(run):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.metrics()]
