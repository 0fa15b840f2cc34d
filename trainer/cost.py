"""What a method costs: parameters, images a second in training and in inference, memory; measured, each in a process.

A few steps of every training stage are timed, on the fold's own batches. The weights are thrown away.
"""

import math
import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.data import FoldData
from trainer.errors import TrainerError
from trainer.fit import Asked
from trainer.method import Method, Pairs, Stage
from trainer.methods import build, find_method
from trainer.run import environment

REPEATS = 5
BATCH = 256  # faces, in inference
SHORTEST = 0.5  # seconds that a repeat is to take, at least; of more steps where one is shorter
STATUS, FORGET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux


def measure_apart(asked: Asked, device: torch.device) -> dict[str, Any]:
    """Measure a method in a fresh process, with as many threads as this one.

    Returns:
        See `measure`.

    Raises:
        TrainerError: the method cannot be trained so, or the process was ended from outside.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(measure, asked, str(device), torch.get_num_threads(), SHORTEST).result()
        except BrokenProcessPool as error:
            raise TrainerError(
                f"the process that measures {asked.method} was ended from outside: too little memory? A preset with a "
                "smaller batch_size or width needs less"
            ) from error


def measure(asked: Asked, device_name: str, num_threads: int, shortest: float) -> dict[str, Any]:
    """Measure a method in this process, in which nothing else should have run.

    Args:
        asked: what is trained; of its fold, the batches are taken.
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
    kind, settings = find_method(asked.method), asdict(asked.config())
    data = FoldData.seen_by(kind, settings, asked.manifest, asked.fold, device, asked.expressions)
    before = _begin_memory(device)
    method = build(asked.method, settings, data.expressions, asked.seed, device)
    if "averages" in dict(method.named_buffers()):
        method.get_buffer("averages").zero_()  # any picture takes the same time
    faces = next(data.upright("train"))
    counted = parameters(method, faces[:2])
    stages = {stage.name: _training(method, stage, data, shortest) for stage in method.stages()}
    peak = None if before is None else _peak_memory(device) - before
    return {
        "where": environment(device), "parameters": counted, "stages": stages, "peak_memory": peak,
        "training": [len(rates) / sum(1 / rate for rate in rates) for rates in zip(*stages.values(), strict=True)],
        "inference": _inference(method, faces, shortest),
    }  # fmt: skip


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
    device = next(method.parameters()).device
    batches: Iterator[Any] = chain.from_iterable(
        data.batches(stage.reads, stage.batch_size, epoch, epoch, stage.balanced) for epoch in count()
    )

    def step() -> int:
        batch = next(batches)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):  # as in trainer.loop
            stage.step(batch)
        return len(batch.expression) * (2 if stage.reads is Pairs else 1)

    method.train()
    stage.begin(0)
    step()
    stage.begin(1)  # a first epoch may do less
    return _rates(step, device, shortest)


@torch.inference_mode()
def _inference(method: Method, faces: Tensor, shortest: float) -> list[float]:
    """Return images a second from faces to probabilities."""
    batch = faces.repeat(math.ceil(BATCH / len(faces)), 1, 1, 1)[:BATCH]

    def step() -> int:
        method(batch).softmax(1)
        return len(batch)

    method.eval()
    return _rates(step, batch.device, shortest)


def _rates(step: Callable[[], int], device: torch.device, shortest: float) -> list[float]:
    """Return images a second of a step that says how many it took, a value a repeat, after warming up."""
    step()
    _, seconds = _time(step, 1, device)
    steps = max(1, math.ceil(shortest / seconds))
    timed = [_time(step, steps, device) for _ in range(REPEATS)]
    return [images / seconds for images, seconds in timed]


def _time(step: Callable[[], int], steps: int, device: torch.device) -> tuple[int, float]:
    _wait(device)
    started = time.perf_counter()
    images = sum(step() for _ in range(steps))
    _wait(device)
    return images, time.perf_counter() - started


def _wait(device: torch.device) -> None:
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


def _peak_memory(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")


def _resident(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", STATUS.read_text())
    assert found, f"{STATUS} has no {what}"
    return 1024 * int(found[1])
