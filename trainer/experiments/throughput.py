"""Throughput of a method on this device: images per second of each stage and of inference, parameters, memory.

`stage_rates` is the one way in which steps are timed: for `trainer compare` (`measure`), `trainer reproduce --price`
(estimate.py) and `trainer bench` (`bench`). Weights are discarded.
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from itertools import chain, count, repeat
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from trainer.data.fold_data import FoldData
from trainer.experiments.workers import in_subprocess
from trainer.methods import build, find_method
from trainer.methods.base import Method, Pairs, Stage
from trainer.runs.device import environment, peak_memory, reset_peak_memory
from trainer.training.fit import RunSpec
from trainer.training.precision import StepRunner, tf32

REPEATS = 5
BATCH = 256  # faces, in inference
MIN_SECONDS = 0.5  # of a repeat: as many steps as that takes
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of the reference product's factors
PROFILED = 20  # steps, for the utilisation
Step = Callable[[], int]  # does its work once; returns the number of images it processed


def measure(spec: RunSpec, device_name: str, num_threads: int, min_seconds: float = MIN_SECONDS) -> dict[str, Any]:
    """Measure a method in this process, in which nothing else should have run.

    Args:
        spec: what is trained, on the batches of its fold.
        device_name: of torch.
        num_threads: of torch, on the CPU.
        min_seconds: of a repeat.

    Returns:
        where: device, threads, versions. parameters: `training`, all; `inference`, those that the logits depend on.
        stages: images per second of each stage, one value per repeat (a pair is two images). training: the same over
        all stages, with as many images in each. inference: images per second from faces to probabilities.
        peak_memory: bytes of training, beyond those in use before the method was built; None where the system does not
        say.
    """
    torch.set_num_threads(num_threads)
    device = torch.device(device_name)
    method, data, before = set_up(spec, device)
    faces = next(data.upright("train"))
    with spec.step_runner.eager_float32():
        counted = parameters(method, faces[:2])
    stages = {}
    for plain_stage in method.stages():
        stage = spec.step_runner.wrap_stage(plain_stage, device)
        stages[stage.name] = stage_rates(method, stage, {"": endless_batches(stage, data)}, min_seconds)[""]
    peak = peak_memory(device, before)
    with spec.step_runner.eager_float32():
        inferred = inference_rates(method, faces, min_seconds)
    return {
        "where": environment(device), "parameters": counted, "stages": stages, "inference": inferred,
        "training": [len(rates) / sum(1 / rate for rate in rates) for rates in zip(*stages.values(), strict=True)],
        "peak_memory": peak,
    }  # fmt: skip


def measure_in_subprocess(spec: RunSpec, device: torch.device) -> dict[str, Any]:
    """Return `measure` of a method, from a fresh process with as many threads as this one.

    Raises:
        TrainerError: the method cannot be trained with these settings, or the process was killed.
    """
    return in_subprocess(spec.method, partial(measure, spec, str(device), torch.get_num_threads()))


def set_up(spec: RunSpec, device: torch.device) -> tuple[Method, FoldData, int | None]:
    """Return an untrained method, the data of its fold, and the bytes in use before the method was built."""
    kind, settings = find_method(spec.method), asdict(spec.config())
    data = FoldData.seen_by(kind, settings, spec.manifest, spec.fold, device, spec.expressions)
    before = reset_peak_memory(device)
    method = build(spec.method, settings, data.expressions, spec.seed, device)
    spec.step_runner.prepare(method, device)
    if "averages" in dict(method.named_buffers()):
        method.get_buffer("averages").zero_()  # their values do not change the time
    return method, data, before


def parameters(method: Method, faces: Tensor) -> dict[str, int]:
    """Count a method's parameters: all, and those that the logits of faces (two or more) depend on."""
    known = [parameter for parameter in method.parameters() if parameter.requires_grad]
    method.eval()
    gradients = torch.autograd.grad(method(faces).sum(), known, allow_unused=True)
    used = [parameter for parameter, gradient in zip(known, gradients, strict=True) if gradient is not None]
    return {"training": sum(map(Tensor.numel, known)), "inference": sum(map(Tensor.numel, used))}


def device_slug(device: torch.device) -> str:
    """Return the name of a device, with its number of threads, for a file's name."""
    where = environment(device)
    return re.sub(r"\W+", "-", f"{where['device']} {where['threads']} threads")


# --- the timing of steps


def stage_rates(
    method: Method, stage: Stage, sources: Mapping[str, Iterator[Any]], min_seconds: float
) -> dict[str, list[float]]:
    """Return images per second of a stage's steps on batches of each source: see `interleaved_rates`.

    Validation and checkpoints are not included.
    """
    steps = {name: stage_step(method, stage, batches) for name, batches in sources.items()}
    return interleaved_rates(steps, next(method.parameters()).device, min_seconds)


def endless_batches(stage: Stage, data: FoldData) -> Iterator[Any]:
    """Yield the batches of a stage, epoch after epoch."""
    return chain.from_iterable(
        data.batches(stage.reads, stage.batch_size, epoch, epoch, stage.balanced) for epoch in count()
    )


def stage_step(method: Method, stage: Stage, batches: Iterator[Any]) -> Step:
    """Return a step of a stage on the next of some batches, in its second epoch: the first may do less."""

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
def inference_rates(method: Method, faces: Tensor, min_seconds: float) -> list[float]:
    """Return images per second from faces to probabilities, one value per repeat."""
    batch = faces.repeat(math.ceil(BATCH / len(faces)), 1, 1, 1)[:BATCH]

    def step() -> int:
        method(batch).softmax(1)
        return len(batch)

    method.eval()
    return interleaved_rates({"": step}, batch.device, min_seconds)[""]


def interleaved_rates(steps: Mapping[str, Step], device: torch.device, min_seconds: float) -> dict[str, list[float]]:
    """Return images per second of each step, one value per repeat, after a warm-up.

    In a repeat all steps take turns, in alternating order: what else the machine does meets all of them alike.
    """
    times: dict[str, int] = {}
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for name, step in steps.items():
        step()
        times[name] = max(1, math.ceil(min_seconds / _time(step, 1, device)[1]))
    for index in range(REPEATS):
        for name in list(steps)[:: -1 if index % 2 else 1]:
            images, seconds = _time(steps[name], times[name], device)
            rates[name].append(images / seconds)
    return rates


def _time(step: Step, num_steps: int, device: torch.device) -> tuple[int, float]:
    synchronize(device)
    started = time.perf_counter()
    images = sum(step() for _ in range(num_steps))
    synchronize(device)
    return images, time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Wait for a device's kernels."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- against what the device can do


def bench(spec: RunSpec, device: torch.device, min_seconds: float = MIN_SECONDS) -> dict[str, Any]:
    """Measure a method's stages against the limits of the device, in this process, in which nothing else should run.

    Of each stage, steps on the fold's batches take turns with the same steps on one batch that stays on the device: the
    difference is the cost of loading and augmenting batches. Operations (of products and convolutions, as torch counts
    them) are compared with a large product of matrices in the same precision.

    Returns:
        where: device, threads, versions, precision. product: operations per second of a large product. stages: see
        `_against_limits`; of_product: operations per second, as a share of the product's. inference: images per second,
        in float32. peak_memory: as of `measure`.
    """
    step_runner = spec.step_runner
    product = product_rate(device, step_runner.precision_on(device), min_seconds)
    method, data, before = set_up(spec, device)
    stages = {
        stage.name: _against_limits(method, step_runner.wrap_stage(stage, device), data, min_seconds, step_runner)
        for stage in method.stages()
    }
    for measured in stages.values():
        measured["of_product"] = measured["rate"] / measured["batch"] * measured["operations"] / product
    peak = peak_memory(device, before)
    with step_runner.eager_float32():
        inferred = median(inference_rates(method, next(data.upright("train")), min_seconds))
    return {
        "where": environment(device) | step_runner.metadata(device), "dataset": spec.manifest.stem,
        "method": spec.method, "preset": spec.preset, "settings": list(spec.settings),
        "product": {"size": MATRIX[device.type], "operations_per_second": product},
        "stages": stages, "inference": inferred, "peak_memory": peak,
    }  # fmt: skip


def product_rate(device: torch.device, precision: str, min_seconds: float = MIN_SECONDS) -> float:
    """Return the operations per second of a large product of matrices."""
    size = MATRIX[device.type]
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(2, size, size, device=device, dtype=kind)

    def step() -> int:
        with tf32() if precision == "tf32" else nullcontext():
            torch.mm(left, right)
        return 1

    return 2 * size**3 * median(interleaved_rates({"": step}, device, min_seconds)[""])


def _against_limits(
    method: Method, stage: Stage, data: FoldData, min_seconds: float, step_runner: StepRunner
) -> dict[str, Any]:
    """Measure a stage.

    Returns:
        unit: pairs or images. batch: units per step. rate: units per second, on the fold's batches. limit: the same on
        one batch on the device. share: rate / limit in the same repeat, median. operations: per step. utilisation:
        see `utilisation`.
    """
    device, per_unit = next(method.parameters()).device, 2 if stage.reads is Pairs else 1
    fixed = next(endless_batches(stage, data))
    sources = {"fold": endless_batches(stage, data), "fixed": repeat(fixed)}
    rates = stage_rates(method, stage, sources, min_seconds)
    step = stage_step(method, stage, sources["fixed"])
    with step_runner.eager_float32(), FlopCounterMode(display=False) as counter:
        step()
    return {
        "unit": "pairs" if per_unit == 2 else "images", "batch": len(fixed.expression),
        "rate": median(rates["fold"]) / per_unit,
        "limit": median(rates["fixed"]) / per_unit,
        "share": median(fold / limit for fold, limit in zip(rates["fold"], rates["fixed"], strict=True)),
        "operations": counter.get_total_flops(),
        "utilisation": utilisation(stage_step(method, stage, sources["fold"]), device),
    }  # fmt: skip


def utilisation(step: Step, device: torch.device) -> float:
    """Return the share of the time of some steps in which a GPU runs kernels, or all threads of the CPU work."""
    synchronize(device)
    started, worked = time.perf_counter(), time.process_time()
    if device.type == "cpu":
        for _ in range(PROFILED):
            step()
        seconds = time.perf_counter() - started
        return (time.process_time() - worked) / seconds / torch.get_num_threads()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        started = time.perf_counter()
        for _ in range(PROFILED):
            step()
        synchronize(device)
        seconds = time.perf_counter() - started
    return float(sum(event.self_device_time_total for event in profile.key_averages())) / 1e6 / seconds


def text(result: dict[str, Any]) -> str:
    """Return the result of `bench` as text."""
    where, product = result["where"], result["product"]
    lines = [
        f"{result['dataset']}, {result['method']}, {result['preset']}: {where['device']}, threads: {where['threads']}, "
        f"{where['precision']}{', compiled' if where['compiled'] else ''}"
    ]
    for name, stage in result["stages"].items():
        lines.append(
            f"  {name:<12} {stage['rate']:10.1f} {stage['unit']}/s, batches of {stage['batch']}: {stage['share']:.1%} "
            f"of {stage['limit']:.1f} from one batch on the device; {stage['operations'] / 1e9:.2f} GFLOP per step, "
            f"{stage['of_product']:.1%} of a large product's rate; utilisation {stage['utilisation']:.0%}"
        )
    memory = "unknown" if result["peak_memory"] is None else f"{result['peak_memory'] / 2**20:.0f} MiB"
    lines.append(f"  inference    {result['inference']:10.1f} images/s in float32; peak memory of training {memory}")
    rate = product["operations_per_second"] / 1e9
    lines.append(f"  a product of two matrices of {product['size']} x {product['size']}: {rate:.0f} GFLOP/s")
    return "\n".join(lines)
