"""How fast a method trains on this device, and what that is of what the device can do; measured.

Of each stage, steps on the fold's own batches take turns with the same steps on one batch that stays on the device:
what the second are faster is what drawing and making batches costs. Operations are those of products and convolutions,
as torch counts them; they are held against a large product in the same precision. The weights are thrown away.
"""

import time
from itertools import repeat
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.data.fold_data import FoldData
from trainer.experiments.cost import SHORTEST, Step, begun, endless, inference, interleaved, peak_memory, set_up, wait
from trainer.methods.base import Method, Pairs, Stage
from trainer.runs.run import environment
from trainer.training.fit import RunSpec
from trainer.training.precision import StepRunner

PRODUCT = {"cpu": 2048, "cuda": 8192}  # rows and columns of both factors
PROFILED = 20  # steps


def bench(spec: RunSpec, device: torch.device, shortest: float = SHORTEST) -> dict[str, Any]:
    """Measure a method in this process, in which nothing else should run.

    Args:
        spec: the run; batches are taken from its fold.
        shortest: seconds that a turn takes, at least; the value of a rate is the median of its turns.

    Returns:
        where: device, threads, versions, execution. product: operations a second of a large product. stages: see
        `_measure`. inference: images a second, in float32. peak_memory: bytes in use at most, beyond what was in use
        before the method was built; None where the system does not tell.
    """
    step_runner = spec.step_runner
    product = product_rate(device, step_runner.precision_on(device), shortest)
    method, data, before = set_up(spec, device)
    stages = {
        stage.name: _measure(method, step_runner.wrap_stage(stage, device), data, product, shortest, step_runner)
        for stage in method.stages()
    }
    peak = peak_memory(device, before)
    with step_runner.eager_float32():
        inferred = median(inference(method, next(data.upright("train")), shortest))
    return {
        "where": environment(device) | step_runner.about(device), "dataset": spec.manifest.stem,
        "method": spec.method, "preset": spec.preset, "settings": list(spec.settings),
        "product": {"size": PRODUCT[device.type], "operations_per_second": product},
        "stages": stages, "inference": inferred, "peak_memory": peak,
    }  # fmt: skip


def product_rate(device: torch.device, precision: str, shortest: float = SHORTEST) -> float:
    """Return how many operations a second a large product of matrices reaches."""
    size = PRODUCT[device.type]
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(2, size, size, device=device, dtype=kind)

    def step() -> int:
        torch.mm(left, right)
        return 1

    return 2 * size**3 * median(interleaved({"": step}, device, shortest)[""])


def _measure(
    method: Method, stage: Stage, data: FoldData, product: float, shortest: float, step_runner: StepRunner
) -> dict[str, Any]:
    """Measure a stage.

    Returns:
        unit: pairs or images. rate: of them a second, from the fold. limit: the same from one batch on the device.
        share: of the limit, in the same round, median. operations: of a step. of_product: its operations a second, as
        a share of the product's. utilisation: of the time, how much the device, or all threads, work.
    """
    device, per_unit = next(method.parameters()).device, 2 if stage.reads is Pairs else 1
    batches = endless(stage, data)
    fixed = next(batches)
    steps = {"rate": begun(method, stage, batches), "limit": begun(method, stage, repeat(fixed))}
    with step_runner.eager_float32(), FlopCounterMode(display=False) as counter:
        steps["limit"]()
    rates = interleaved(steps, device, shortest)
    a_step = counter.get_total_flops()
    units = len(fixed.expression)
    rate = median(rates["rate"]) / per_unit
    return {
        "unit": "pairs" if per_unit == 2 else "images", "batch": units, "rate": rate,
        "limit": median(rates["limit"]) / per_unit,
        "share": median(real / most for real, most in zip(rates["rate"], rates["limit"], strict=True)),
        "operations": a_step, "of_product": rate / units * a_step / product,
        "utilisation": utilisation(steps["rate"], device),
    }  # fmt: skip


def utilisation(step: Step, device: torch.device) -> float:
    """Return which share of some steps' time the kernels of a GPU run, or all threads of the CPU."""
    wait(device)
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
        wait(device)
        seconds = time.perf_counter() - started
    return float(sum(event.self_device_time_total for event in profile.key_averages())) / 1e6 / seconds


def text(found: dict[str, Any]) -> str:
    """Return what was measured as lines to read."""
    where, product = found["where"], found["product"]
    head = (
        f"{found['dataset']}, {found['method']}, {found['preset']}: {where['device']}, threads: {where['threads']}, "
        f"{where['precision']}{', compiled' if where['compiled'] else ''}"
    )
    lines = [head]
    for name, stage in found["stages"].items():
        lines.append(
            f"  {name:<12} {stage['rate']:10.1f} {stage['unit']}/s, batches of {stage['batch']}: {stage['share']:.1%} "
            f"of {stage['limit']:.1f} from one batch on the device; {stage['operations'] / 1e9:.2f} GFLOP a step, "
            f"{stage['of_product']:.1%} of a large product's rate; utilisation {stage['utilisation']:.0%}"
        )
    memory = "untold" if found["peak_memory"] is None else f"{found['peak_memory'] / 2**20:.0f} MiB"
    lines.append(f"  inference    {found['inference']:10.1f} images/s in float32; peak memory of training {memory}")
    rate = product["operations_per_second"] / 1e9
    lines.append(f"  a product of two matrices of {product['size']} x {product['size']}: {rate:.0f} GFLOP/s")
    return "\n".join(lines)
