"""What a method costs: parameters, images a second in training and in inference, memory; measured, each in a process.

A few steps of every training stage are timed, on the fold's own batches. The weights are thrown away.
"""

import math
import multiprocessing
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.data.fold_data import FoldData
from trainer.errors import TrainerError
from trainer.methods import build, find_method
from trainer.methods.base import Method, Pairs, Stage
from trainer.runs.run import environment
from trainer.training.fit import RunSpec

REPEATS = 5
BATCH = 256  # faces, in inference
SHORTEST = 0.5  # seconds that a repeat is to take, at least; of more steps where one is shorter
Step = Callable[[], int]  # does its work once; returns how many images it took
STATUS, FORGET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux


def measure_apart(spec: RunSpec, device: torch.device) -> dict[str, Any]:
    """Measure a method in a fresh process, with as many threads as this one.

    Returns:
        See `measure`.

    Raises:
        TrainerError: the method cannot be trained so, or the process was ended from outside.
    """
    return apart(measure, spec, str(device), torch.get_num_threads(), SHORTEST)


def apart(measurement: Callable[..., dict[str, Any]], spec: RunSpec, *arguments: object) -> dict[str, Any]:
    """Return what a function measures in a fresh process.

    Raises:
        TrainerError: as the function does, or the process was ended from outside.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(measurement, spec, *arguments).result()
        except BrokenProcessPool as error:
            raise TrainerError(
                f"the process that measures {spec.method} was ended from outside: too little memory? A preset with a "
                "smaller batch_size or width needs less"
            ) from error


def measure(spec: RunSpec, device_name: str, num_threads: int, shortest: float) -> dict[str, Any]:
    """Measure a method in this process, in which nothing else should have run.

    Args:
        spec: the run; batches are taken from its fold.
        device_name: of torch.
        num_threads: of torch, on the CPU.
        shortest: seconds that a repeat takes, at least.

    Returns:
        where: device, threads, versions. parameters: `training`, all; `inference`, those that the answer depends on.
        stages: images a second of each training stage, a value a repeat (a pair is two images). training: of all
        stages together, as many images through each of them. inference: the same of probabilities, from whole batches.
        peak_memory: bytes in use in training, at most, beyond what was in use before the method was built; None where
        the system does not tell.
    """
    torch.set_num_threads(num_threads)
    device = torch.device(device_name)
    method, data, before = set_up(spec, device)
    faces = next(data.upright("train"))
    with spec.step_runner.eager_float32():
        counted = parameters(method, faces[:2])
    stages = {
        stage.name: _training(method, spec.step_runner.wrap_stage(stage, device), data, shortest)
        for stage in method.stages()
    }
    peak = peak_memory(device, before)
    with spec.step_runner.eager_float32():
        inferred = inference(method, faces, shortest)
    return {
        "where": environment(device), "parameters": counted, "stages": stages, "inference": inferred,
        "training": [len(rates) / sum(1 / rate for rate in rates) for rates in zip(*stages.values(), strict=True)],
        "peak_memory": peak,
    }  # fmt: skip


def set_up(spec: RunSpec, device: torch.device) -> tuple[Method, FoldData, int | None]:
    """Return an untrained method, a fold's faces, and the bytes in use before the method was built."""
    kind, settings = find_method(spec.method), asdict(spec.config())
    data = FoldData.seen_by(kind, settings, spec.manifest, spec.fold, device, spec.expressions)
    before = _begin_memory(device)
    method = build(spec.method, settings, data.expressions, spec.seed, device)
    spec.step_runner.prepare(method, device)
    if "averages" in dict(method.named_buffers()):
        method.get_buffer("averages").zero_()  # any picture takes the same time
    return method, data, before


def parameters(method: Method, faces: Tensor) -> dict[str, int]:
    """Count a method's parameters: all, and those that what it says of faces (two or more) depends on."""
    known = [parameter for parameter in method.parameters() if parameter.requires_grad]
    method.eval()
    used = torch.autograd.grad(method(faces).sum(), known, allow_unused=True)
    return {
        "training": sum(parameter.numel() for parameter in known),
        "inference": sum(parameter.numel() for parameter, by in zip(known, used, strict=True) if by is not None),
    }


def slug(device: torch.device) -> str:
    """Return the name of a device, with its threads, as part of a file's name."""
    where = environment(device)
    return re.sub(r"\W+", "-", f"{where['device']} {where['threads']} threads")


def _training(method: Method, stage: Stage, data: FoldData, shortest: float) -> list[float]:
    """Return images a second of a stage: of drawing batches, and of its steps; not of validation or checkpoints."""
    step = begun(method, stage, endless(stage, data))
    return _rates(step, next(method.parameters()).device, shortest)


def endless(stage: Stage, data: FoldData) -> Iterator[Any]:
    """Yield the batches of a stage, an epoch after the other."""
    return chain.from_iterable(
        data.batches(stage.reads, stage.batch_size, epoch, epoch, stage.balanced) for epoch in count()
    )


def begun(method: Method, stage: Stage, batches: Iterator[Any]) -> Step:
    """Return a step of a stage on the next of some batches, after the first: a first epoch may do less."""

    def step() -> int:
        batch = next(batches)
        stage.step(batch)
        return len(batch.expression) * (2 if stage.reads is Pairs else 1)

    method.train()
    stage.begin(0)
    step()
    stage.begin(1)
    return step


@torch.inference_mode()
def inference(method: Method, faces: Tensor, shortest: float) -> list[float]:
    """Return images a second from faces to probabilities."""
    batch = faces.repeat(math.ceil(BATCH / len(faces)), 1, 1, 1)[:BATCH]

    def step() -> int:
        method(batch).softmax(1)
        return len(batch)

    method.eval()
    return _rates(step, batch.device, shortest)


def _rates(step: Step, device: torch.device, shortest: float) -> list[float]:
    """Return images a second of a step, a value a repeat, after warming up."""
    return interleaved({"": step}, device, shortest)[""]


def interleaved(steps: Mapping[str, Step], device: torch.device, shortest: float) -> dict[str, list[float]]:
    """Return images a second of each of some steps, a value a round: all have their turn in it, in changing order.

    Args:
        device: that they run on.
        shortest: seconds that a turn takes, at least.
    """
    times: dict[str, int] = {}
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for name, step in steps.items():
        step()
        times[name] = max(1, math.ceil(shortest / _time(step, 1, device)[1]))
    for number in range(REPEATS):
        for name in list(steps)[:: -1 if number % 2 else 1]:
            images, seconds = _time(steps[name], times[name], device)
            rates[name].append(images / seconds)
    return rates


def _time(step: Step, steps: int, device: torch.device) -> tuple[int, float]:
    wait(device)
    started = time.perf_counter()
    images = sum(step() for _ in range(steps))
    wait(device)
    return images, time.perf_counter() - started


def wait(device: torch.device) -> None:
    """Wait for a device to be done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _begin_memory(device: torch.device) -> int | None:
    """Forget earlier peaks; return how many bytes are in use, None where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        FORGET_PEAK.write_text("5")
        return _resident("VmRSS")
    except OSError:
        return None


def peak_memory(device: torch.device, before: int | None) -> int | None:
    """Return how many bytes were in use at most beyond those before; None where the system does not tell."""
    if before is None:
        return None
    return (torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")) - before


def _resident(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", STATUS.read_text())
    assert found, f"{STATUS} has no {what}"
    return 1024 * int(found[1])
