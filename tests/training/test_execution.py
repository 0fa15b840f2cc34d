"""Precision and compilation change how steps are carried out, not what they aim at."""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch
from small_runs import CPU, run_spec, silent, weights
from torch import nn
from torch.nn.functional import cosine_similarity

from trainer.data.fold_data import FoldData
from trainer.errors import TrainerError
from trainer.methods import METHODS, build, find_method, find_presets
from trainer.methods.base import Faces, Stage
from trainer.methods.optimizers import adamw, minimise
from trainer.training import fit as library
from trainer.training.precision import StepRunner

GPU = torch.device("cuda")


def narrow(patterns, name):
    config = dataclasses.asdict(run_spec(patterns, name, "width=16", "learning_rate=1e-5").config())
    data = FoldData.seen_by(find_method(name), config, patterns, 1, CPU)
    return build(name, config, data.expressions, 0, CPU), data


def logged(patterns, name, step_runner, device=CPU, steps=2):
    """What the first steps of each stage log, and the codes after them."""
    method, data = narrow(patterns, name)
    method.to(device)
    step_runner.prepare(method, device)
    if "averages" in dict(method.named_buffers()):
        method.get_buffer("averages").copy_(nn.functional.interpolate(data.averages(), method.config.size))
    told, faces = [], next(data.upright("validation")).to(device)
    for stage in method.stages():
        stage = step_runner.wrap_stage(stage, device)
        method.train()
        stage.begin(1)
        for batch in list(data.batches(stage.reads, 12, 0, 0))[:steps]:
            values = stage.step(type(batch)(*(part.to(device) for part in batch)))
            told.append({f"{stage.name} {key}": float(value.detach()) for key, value in values.items()})
    with torch.inference_mode(), step_runner.eager_float32():
        return told, {key: code.float().cpu() for key, code in method.eval().codes(faces).items()}


def assert_alike(found, reference, tolerance, likeness):
    for mine, other in zip(found[0], reference[0], strict=True):
        noisy = {
            key for key in other if "hsic" in key
        }  # of codes that have not spread yet: a ratio of two small numbers
        assert {key: mine[key] for key in mine.keys() - noisy} == pytest.approx(
            {key: other[key] for key in other.keys() - noisy}, abs=tolerance, rel=tolerance
        )
    for name, code in found[1].items():
        assert cosine_similarity(code, reference[1][name]).min() > likeness, name


def test_auto_is_tf32_on_cuda_alone():
    assert [StepRunner().precision_on(torch.device(kind)) for kind in ("cpu", "cuda")] == ["float32", "tf32"]
    assert StepRunner("float32").precision_on(GPU) == "float32" and StepRunner("bf16").precision_on(CPU) == "bf16"
    with pytest.raises(TrainerError, match="precision 'fp16': expected one of auto, float32, tf32, bf16"):
        StepRunner("fp16")


def test_tf32_holds_for_a_step_alone_also_for_one_that_fails():
    """The flags are a process's: left on, they would judge, and find landmarks, in ten bits."""

    def flags():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def step(batch):
        seen.append(flags())
        if batch == "bad":
            raise ValueError
        return {}

    before, seen = flags(), []
    torch.backends.cudnn.allow_tf32 = False
    try:
        stage = StepRunner("tf32").wrap_stage(Stage("s", 1, 1, Faces, step, ()), CPU)
        stage.step("good")
        with pytest.raises(ValueError):
            stage.step("bad")
        assert seen == [(True, True)] * 2 and flags() == (False, False)
        StepRunner("float32").wrap_stage(Stage("s", 1, 1, Faces, step, ()), CPU).step("good")
        assert seen[-1] == (False, False)
    finally:
        torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize("name", METHODS)
def test_the_first_steps_in_bf16_log_what_they_do_in_float32(name, patterns):
    """To a twentieth, for bf16 keeps 8 bits; at a small learning rate, for Adam's step is as large of any gradient."""
    found, reference = (logged(patterns, name, StepRunner(kind), steps=1) for kind in ("bf16", "float32"))
    assert_alike(found, reference, tolerance=0.05, likeness=0.98)
    assert found[0] != reference[0]


def test_a_run_in_bf16_says_so_has_weights_of_float32_and_is_judged_in_float32(patterns, tmp_path):
    ask = dataclasses.replace(run_spec(patterns, "resnet"), step_runner=StepRunner("bf16"))
    kinds = set()
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, _, out: kinds.add((module.training, out.dtype)) if isinstance(module, nn.Conv2d) else None
    )
    with hook:
        run = library.fit(ask, tmp_path, CPU, silent)
    assert kinds == {(True, torch.bfloat16), (False, torch.float32)}
    told = run.read_json("provenance.json")
    assert (told["precision"], told["compiled"]) == ("bf16", False)
    assert {value.dtype for value in weights(run).values()} == {torch.float32, torch.int64}


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def test_compiled_in_place_steps_are_those_of_eager_and_weights_keep_their_names():
    """A network of two layers: a real one takes half a minute to compile on the CPU; see the GPU's test."""
    found = []
    for step_runner in (StepRunner(), StepRunner(compiled=True)):
        torch.manual_seed(0)
        method = Tiny()
        step_runner.prepare(method, CPU)
        optimizer = adamw(method.parameters(), 1e-2, 0.1)
        for _ in range(5):
            minimise(method.network(torch.randn(6, 8)).square().sum(), optimizer)
        found.append(method.state_dict())
    assert list(found[0]) == list(found[1])
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, atol=1e-6, rtol=1e-5)


def test_what_judges_is_not_compiled():
    compiled, method = [], Tiny()

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    method.network.compile(backend=backend)
    with StepRunner(compiled=True).eager_float32():
        method.network(torch.randn(5, 8))
    assert compiled == []
    method.network(torch.randn(5, 8))
    assert len(compiled) == 1


@pytest.mark.parametrize("name", METHODS)
def test_channels_that_come_last_stay_last_through_a_network(name):
    """Else every convolution would copy what it is given; as those do, once, that two grey pictures are joined for."""
    method, others = build(name, dataclasses.asdict(find_presets(name)["demo"]), ["a", "b"], 0, CPU), []

    def watch(_, given):
        others.append(given[0].shape[1] > 2 and not given[0].is_contiguous(memory_format=torch.channels_last))

    for module in method.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(watch)
    method.eval()(torch.randn(2, 1, 112, 112))
    assert others and not any(others)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_on_a_gpu_steps_are_those_of_eager_float32(name, patterns):
    torch.backends.cudnn.allow_tf32 = False
    found, reference = (logged(patterns, name, StepRunner(kind), GPU) for kind in ("bf16", "float32"))
    assert_alike(found, reference, tolerance=0.05, likeness=0.98)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_on_a_gpu_compiled_steps_are_those_of_eager_ones_and_a_run_is_judged(name, patterns, tmp_path):
    """In a process of its own: what checks shapes in tests cannot be compiled."""
    code = f"""
import dataclasses
from pathlib import Path
import torch
from small_runs import run_spec, silent
from test_execution import GPU, assert_alike, logged
from trainer.runs.device import pick_device
from trainer.training import fit
from trainer.training.precision import StepRunner

device = pick_device("cuda")
patterns = Path({str(patterns)!r})
reference = logged(patterns, {name!r}, StepRunner("float32"), device)
assert_alike(logged(patterns, {name!r}, StepRunner("float32", True), device), reference, 1e-3, 0.9999)
assert_alike(logged(patterns, {name!r}, StepRunner("bf16", True), device), reference, 0.05, 0.98)
ask = dataclasses.replace(run_spec(patterns, {name!r}), step_runner=StepRunner(compiled=True))
run = fit.fit(ask, Path({str(tmp_path)!r}), device, silent)
print(run.finished, run.read_json("provenance.json")["compiled"])
"""
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=here)
    assert done.stdout.endswith("True True\n"), done.stderr[-2000:]
