"""The one training loop: epochs, seeds, learning rates, checkpoints, the best epoch; a stage owns its step."""

import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.errors import TrainerError
from trainer.method import Method, Stage
from trainer.run import Run

Batches = Callable[[Stage, int, int], Iterable[Any]]  # stage, epoch, seed of the epoch
Report = Callable[[str, int, int, dict[str, float]], None]  # stage, epoch from 1, epochs, what was logged


class TrainingError(TrainerError):
    """A training that cannot go on; the message names the stage, the epoch and the cause."""


@dataclass
class Place:
    """How far a training is: epochs of the stage at hand that are done, and the best of them."""

    stage: int = 0
    epoch: int = 0
    best: float = -1.0  # accuracy
    best_epoch: int = 0


def train(
    method: Method, batches: Batches, validate: Callable[[], float], run: Run, *, seed: int,
    first_stage: int = 0, report: Report = lambda *_: None, stop_after: int | None = None,
) -> bool:  # fmt: skip
    """Run every stage, from the run's checkpoint where there is one; after each epoch write a checkpoint.

    Every epoch draws from a stream of its own (seed, stage, epoch), so that a resumed training is the training it
    would have been, to the bit.

    Args:
        validate: accuracy on the validation fold, for stages that select their best epoch.
        first_stage: how many stages are done already, elsewhere.
        stop_after: stop after so many epochs of this call, as an interruption would.

    Returns:
        Whether the training is done.

    Raises:
        TrainingError: what a stage logs is not finite, or the stage complains (of a collapse, say).
    """
    saved = run.checkpoint()
    place = Place(**saved.place) if saved else Place(stage=first_stage)
    epochs_run = 0
    for index, stage in enumerate(method.stages()):
        if index < place.stage:
            continue
        rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in stage.optimizers]
        if index > place.stage:
            place = Place(stage=index)
        elif saved:
            saved.restore(method, stage.optimizers)
        for epoch in range(place.epoch, stage.epochs):
            _set_rates(stage, rates, epoch)
            stage.begin(epoch)
            logged = _epoch(method, stage, batches, epoch, seed)
            if stage.selects:
                logged["validation_accuracy"] = validate()
                if logged["validation_accuracy"] > place.best:
                    place.best, place.best_epoch = logged["validation_accuracy"], epoch
                    run.save_best(method)
                if epoch + 1 == stage.epochs:
                    run.load_best(method)
            place.epoch = epoch + 1
            run.log(stage.name, epoch, logged, stage.concern(logged))
            run.save(method, stage.optimizers, asdict(place))
            report(stage.name, epoch + 1, stage.epochs, logged)
            epochs_run += 1
            if epochs_run == stop_after:
                return False
    return True


def _epoch(method: Method, stage: Stage, batches: Batches, epoch: int, seed: int) -> dict[str, float]:
    """Train one epoch and return the means of what its steps logged; one synchronisation with the device."""
    started = time.perf_counter()
    stream = int.from_bytes(hashlib.sha256(f"{seed} {stage.name} {epoch}".encode()).digest()[:8]) >> 1
    torch.manual_seed(stream)
    method.train()
    device = next(method.parameters()).device
    sums: dict[str, Tensor] = {}
    count = 0
    for batch in batches(stage, epoch, stream):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logged = stage.step(batch)
        count += 1
        sums = {name: value.detach().float() + sums.get(name, 0) for name, value in logged.items()}
    means = {name: float(value) / count for name, value in sums.items()}
    where = f"stage {stage.name}, epoch {epoch + 1}"
    for name, value in means.items():
        if not math.isfinite(value):
            raise TrainingError(f"{where}: {name} is {value}; a smaller learning_rate or another estimator may help")
    if complaint := stage.complaint(means, epoch, stage.epochs):
        raise TrainingError(f"{where}: {complaint}")
    return means | {"seconds": time.perf_counter() - started}


def _set_rates(stage: Stage, rates: list[list[float]], epoch: int) -> None:
    factor = stage.schedule(epoch / stage.epochs)
    for optimizer, initial in zip(stage.optimizers, rates, strict=True):
        for group, rate in zip(optimizer.param_groups, initial, strict=True):
            group["lr"] = rate * factor
