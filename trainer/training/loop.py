"""The one training loop: epochs, seeds, learning rates, checkpoints, the best epoch; a stage owns its step."""

import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainer.errors import TrainerError
from trainer.methods.base import Method, Stage
from trainer.runs.run import Run
from trainer.training.precision import AUTO, StepRunner

Batches = Callable[[Stage, int, int, int], Iterable[Any]]  # stage, epoch, seed of the epoch, batches to leave out
Report = Callable[[str, int, int, dict[str, float]], None]  # stage, epoch from 1, epochs, what was logged
SAVE_SECONDS = 300.0  # an epoch that lasts longer is saved in between
MAX_SAVING = 0.05  # share of the time that saving may take: where saving is slow, not every epoch is saved


class TrainingError(TrainerError):
    """A training that cannot go on; the message names the stage, the epoch and the cause."""


@dataclass
class Progress:
    """How far a training is: epochs of the stage at hand that are done, and the best of them; steps of the next.

    Attributes:
        sums: what the steps of an unfinished epoch have logged, summed.
        seconds: that these steps took.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    best: float = -1.0  # accuracy
    best_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Keeper:
    """Writes checkpoints, and knows when the next is due."""

    def __init__(self, run: Run, method: Method, progress: Progress) -> None:
        self.run, self.method, self.progress = run, method, progress
        self._saved, self._cost = time.perf_counter(), 0.0

    def save(self, stage: Stage) -> None:
        """Write a checkpoint.

        Raises:
            TrainerError: what an unfinished epoch has logged, or a weight, is not finite; the disk is full.
        """
        _means(stage, self.progress)
        started = time.perf_counter()
        device = next(self.method.parameters()).device
        self.run.save(self.method, stage.optimizers, asdict(self.progress), random_states(device))
        self._saved = time.perf_counter()
        self._cost = self._saved - started

    def is_due(self, least_seconds: float = 0.0) -> bool:
        """Whether enough time has passed since the last checkpoint."""
        return time.perf_counter() - self._saved >= max(least_seconds, self._cost / MAX_SAVING)


def train(
    method: Method, batches: Batches, validate: Callable[[], float], run: Run, *, seed: int,
    first_stage: int = 0, report: Report = lambda *_: None, interrupted: Callable[[], bool] = lambda: False,
    share: Callable[[Stage, Method], Stage] = lambda stage, _: stage, any_rank: Callable[[bool], bool] = bool,
    step_runner: StepRunner = AUTO,
) -> bool:  # fmt: skip
    """Run every stage, from the run's checkpoint where there is one.

    Every epoch draws from a stream of its own (seed, stage, epoch), and a checkpoint within an epoch holds how far
    that stream is, so that a resumed training is the training it would have been, to the bit.

    Args:
        validate: accuracy on the validation fold, for stages that select their best epoch.
        first_stage: how many stages are done already, elsewhere.
        interrupted: asked after each step whether to write a checkpoint and stop.
        share: makes a stage one that several processes step through together.
        any_rank: whether a flag, to stop or to save, is set on any rank.
        step_runner: the precision of steps, and whether they are compiled.

    Returns:
        Whether the training is done.

    Raises:
        TrainingError: what a stage logs is not finite, the stage complains (of a collapse, say), or memory is short.
        TrainerError: a checkpoint cannot be written, or no longer be read.
    """
    saved = run.checkpoint()
    progress = Progress(**saved.progress) if saved else Progress(stage=first_stage)
    keeper = Keeper(run, method, progress)

    def wanted(also: bool = False) -> bool:
        return any_rank(interrupted() or also)

    device = next(method.parameters()).device
    stages = (share(step_runner.wrap_stage(stage, device), method) for stage in method.stages())
    for index, stage in enumerate(stages):
        if index < progress.stage:
            continue
        rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in stage.optimizers]
        random = None
        if index > progress.stage:
            progress = keeper.progress = Progress(stage=index)
        elif saved:
            saved.restore(method, stage.optimizers)
            random, saved = saved.random, None
        for epoch in range(progress.epoch, stage.epochs):
            _set_rates(stage, rates, epoch)
            stage.begin(epoch)
            if not _epoch(keeper, stage, batches, seed, random, wanted):
                return False
            random = None
            logged = _close(stage, progress)
            if stage.selects:
                logged["validation_accuracy"] = validate()
                if logged["validation_accuracy"] > progress.best:
                    progress.best, progress.best_epoch = logged["validation_accuracy"], epoch
                    run.save_best(method)
                if epoch + 1 == stage.epochs:
                    run.load_best(method)
            run.log(stage.name, epoch, logged, stage.warning(logged))
            report(stage.name, epoch + 1, stage.epochs, logged)
            stop = wanted()
            if wanted(keeper.is_due()) or stop or epoch + 1 == stage.epochs:
                keeper.save(stage)
            if stop:
                return False
    return True


def _epoch(
    keeper: Keeper, stage: Stage, batches: Batches, seed: int, random: dict[str, Tensor] | None,
    wanted: Callable[[bool], bool],
) -> bool:  # fmt: skip
    """Train what is left of an epoch, and add up what its steps log; return whether it is done."""
    method, progress, started = keeper.method, keeper.progress, time.perf_counter()
    stream = int.from_bytes(hashlib.sha256(f"{seed} {stage.name} {progress.epoch}".encode()).digest()[:8]) >> 1
    torch.manual_seed(stream)
    method.train()
    device = next(method.parameters()).device
    if random and progress.step:
        restore_random_states(random, device)
    sums = {name: torch.tensor(value, device=device) for name, value in progress.sums.items()}
    before, first = progress.seconds, progress.step

    def note() -> None:
        progress.sums = {name: float(value) for name, value in sums.items()}
        progress.seconds = before + time.perf_counter() - started

    try:
        for number, batch in enumerate(batches(stage, progress.epoch, stream, first), start=first + 1):
            if progress.step > first and wanted(keeper.is_due(SAVE_SECONDS)):
                note()
                keeper.save(stage)
                if wanted(False):
                    return False
            logged = stage.step(batch)
            sums = {name: value.detach().float() + sums.get(name, 0) for name, value in logged.items()}
            progress.step = number
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"stage {stage.name}, epoch {progress.epoch + 1}: {device} is short of memory; a smaller batch_size (it is "
            f"{stage.batch_size}), or fewer runs at once (--side-by-side), need less. The same command goes on from "
            "the last checkpoint"
        ) from error
    note()
    return True


def _means(stage: Stage, progress: Progress) -> dict[str, float]:
    """Return the means of what the steps of an epoch have logged.

    Raises:
        TrainingError: one is not finite.
    """
    means = {name: value / progress.step for name, value in progress.sums.items()}
    for name, value in means.items():
        if not math.isfinite(value):
            raise TrainingError(
                f"stage {stage.name}, epoch {progress.epoch + 1}: {name} is {value}; a smaller learning_rate or "
                "another estimator may help"
            )
    return means


def _close(stage: Stage, progress: Progress) -> dict[str, float]:
    """Return the means of what the steps of an epoch have logged, and go on to the next epoch."""
    means = _means(stage, progress)
    if stop_reason := stage.stop_reason(means, progress.epoch, stage.epochs):
        raise TrainingError(f"stage {stage.name}, epoch {progress.epoch + 1}: {stop_reason}")
    means["seconds"] = progress.seconds
    progress.epoch, progress.step, progress.sums, progress.seconds = progress.epoch + 1, 0, {}, 0.0
    return means


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return how far the streams of chance are that a step may draw from."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Put the streams of chance back to where they were."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _set_rates(stage: Stage, rates: list[list[float]], epoch: int) -> None:
    factor = stage.schedule(epoch / stage.epochs)
    for optimizer, initial in zip(stage.optimizers, rates, strict=True):
        for group, rate in zip(optimizer.param_groups, initial, strict=True):
            group["lr"] = rate * factor
