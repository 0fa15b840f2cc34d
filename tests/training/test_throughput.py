"""Images per second, memory and parameters of a method: catches wrong counts, units and warm-ups."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from ends import die
from small_runs import CPU, SMALL, run_spec

from trainer.errors import TrainerError
from trainer.experiments import throughput
from trainer.experiments.workers import in_subprocess
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
    counted = throughput.parameters(made("resnet"), torch.zeros(2, 1, 112, 112))
    assert counted == {"training": shared + first + code + head} | {"inference": shared + first + code + head}


def test_what_only_trains_is_not_counted_in_inference():
    faces = torch.rand(2, 1, 112, 112)
    method = made("dicefer", width=4, code_size=8, critic_width=16)
    counted = throughput.parameters(method, faces)
    assert counted["inference"] == count(method.expression_encoder) + count(method.classifier) < counted["training"]
    painter = made("ifgan", width=4, size=32, classifier="resnet18", classifier_width=4)
    counted = throughput.parameters(painter, faces)
    assert counted["training"] - counted["inference"] == count(painter.discriminator)


def test_a_rate_counts_images_over_time_and_repeats_last_long_enough(monkeypatch):
    clock = iter(np.arange(0, 1000, 0.1))  # a step, timed from without, takes a tenth of a second whatever it does
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    steps = []

    def step():
        steps.append(1)
        return 7

    rates = throughput.interleaved_rates({"": step}, CPU, min_seconds=0.45)[""]
    assert rates == pytest.approx([5 * 7 / 0.1] * throughput.REPEATS) and len(steps) == 2 + 5 * throughput.REPEATS


def test_all_stages_are_measured_and_together_are_between_the_slowest_and_a_third_of_it(patterns):
    found = throughput.measure(run_spec(patterns, "dicefer", "width=8"), "cpu", torch.get_num_threads(), 0.0)
    assert list(found["stages"]) == ["expression", "identity", "classifier"]
    assert {len(rates) for rates in found["stages"].values()} == {throughput.REPEATS} == {len(found["inference"])}
    slowest, together = np.array(list(found["stages"].values())).min(0), np.array(found["training"])
    assert (slowest <= together * (1 + 1e-9)).all() and (together <= 3 * slowest).all()  # no stage takes no time
    assert found["where"]["threads"] == torch.get_num_threads() and found["where"]["device"].startswith("cpu")


def test_memory_is_what_was_touched_after_the_beginning():
    """In a process of its own, as what is measured is: another's may give memory back meanwhile."""
    code = """
import numpy as np, torch
from trainer.runs.device import peak_memory, reset_peak_memory
earlier = np.ones(2**25, np.uint8)
del earlier
before = reset_peak_memory(torch.device("cpu"))
touched = np.ones(2**26, np.uint8)
print("unknown" if before is None else peak_memory(torch.device("cpu"), before))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    if out == "unknown":
        pytest.skip("the system does not tell")
    assert 2**26 <= int(out) < 1.2 * 2**26


def test_a_refusal_comes_from_the_other_process_in_its_own_words(patterns):
    with pytest.raises(ConfigError, match="width=4: ImageNet's weights are of 64"):
        throughput.measure_in_subprocess(run_spec(patterns, "resnet_island", "imagenet=true"), CPU)


def test_a_killed_process_is_reported():
    with pytest.raises(TrainerError, match="process that measures resnet was killed, perhaps for too little memory"):
        in_subprocess("resnet", die)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SMALL)
def test_every_method_is_measured_on_a_gpu(name, patterns):
    found = throughput.measure(run_spec(patterns, name), "cuda", 1, 0.0)
    assert found["peak_memory"] >= 4 * found["parameters"]["training"] and min(found["training"]) > 0
