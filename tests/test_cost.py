import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
import torch
import torchvision
from small_runs import CPU, SMALL, run_spec

from trainer.errors import TrainerError
from trainer.experiments import cost
from trainer.methods import build, find_method
from trainer.methods.config import ConfigError


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def made(name, **settings):
    kind = find_method(name)
    return build(name, vars(kind.PRESETS["default"]) | settings, ["anger", "fear", "joy"], 0, CPU)


def test_resnet_has_the_parameters_of_torchvisions_but_for_its_ends():
    known = torchvision.models.resnet18()
    shared = count(known) - count(known.fc) - count(known.conv1)
    first, code, head = 49 * 64, 512 * 64 + 64, 2 * 64 + 64 * 3 + 3  # one channel, code, normalisation and classes
    counted = cost.parameters(made("resnet"), torch.zeros(2, 1, 112, 112))
    assert counted == {"training": shared + first + code + head} | {"inference": shared + first + code + head}


def test_what_only_trains_is_not_counted_in_inference():
    faces = torch.rand(2, 1, 112, 112)
    method = made("dicefer", width=4, code_size=8, critic_width=16)
    counted = cost.parameters(method, faces)
    assert counted["inference"] == count(method.expression_encoder) + count(method.classifier) < counted["training"]
    painter = made("ifgan", width=4, size=32, classifier="resnet18", classifier_width=4)
    counted = cost.parameters(painter, faces)
    assert counted["training"] - counted["inference"] == count(painter.discriminator)


def test_a_rate_counts_images_over_time_and_repeats_last_long_enough(monkeypatch):
    clock = iter(np.arange(0, 1000, 0.1))  # a step, timed from without, takes a tenth of a second whatever it does
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    steps = []

    def step():
        steps.append(1)
        return 7

    rates = cost._rates(step, CPU, shortest=0.45)
    assert rates == pytest.approx([5 * 7 / 0.1] * cost.REPEATS) and len(steps) == 2 + 5 * cost.REPEATS


def test_all_stages_are_measured_and_together_are_between_the_slowest_and_a_third_of_it(patterns):
    found = cost.measure(run_spec(patterns, "dicefer", "width=8"), "cpu", torch.get_num_threads(), 0.0)
    assert list(found["stages"]) == ["expression", "identity", "classifier"]
    assert {len(rates) for rates in found["stages"].values()} == {cost.REPEATS} == {len(found["inference"])}
    slowest, together = np.array(list(found["stages"].values())).min(0), np.array(found["training"])
    assert (slowest <= together * (1 + 1e-9)).all() and (together <= 3 * slowest).all()  # no stage takes no time
    assert found["where"]["threads"] == torch.get_num_threads() and found["where"]["device"].startswith("cpu")


def test_memory_is_what_was_touched_after_the_beginning():
    """In a process of its own, as what is measured is: another's may give memory back meanwhile."""
    code = """
import numpy as np, torch
from trainer.experiments import cost
earlier = np.ones(2**25, np.uint8)
del earlier
before = cost._begin_memory(torch.device("cpu"))
touched = np.ones(2**26, np.uint8)
print("untold" if before is None else cost.peak_memory(torch.device("cpu"), before))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    if told == "untold":
        pytest.skip("the system does not tell")
    assert 2**26 <= int(told) < 1.2 * 2**26


def test_a_refusal_comes_from_the_other_process_in_its_own_words(patterns):
    with pytest.raises(ConfigError, match="width=4: ImageNet's weights are of 64"):
        cost.measure_apart(run_spec(patterns, "resnet_island", "imagenet=true"), CPU)


def test_a_process_that_is_killed_is_told(patterns, monkeypatch):
    def end(*_):
        raise BrokenProcessPool

    monkeypatch.setattr(cost.ProcessPoolExecutor, "submit", end)
    with pytest.raises(TrainerError, match="process that measures resnet was ended from outside: too little memory"):
        cost.measure_apart(run_spec(patterns, "resnet"), CPU)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SMALL)
def test_every_method_is_measured_on_a_gpu(name, patterns):
    found = cost.measure(run_spec(patterns, name), "cuda", 1, 0.0)
    assert found["peak_memory"] >= 4 * found["parameters"]["training"] and min(found["training"]) > 0
