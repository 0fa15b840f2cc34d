"""The training loop: epochs, seeds, learning rates, checkpoints, selection of the best epoch. A stage owns its step."""

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
from trainer.runs.distributed import any_rank, rank, world_size
from trainer.runs.run import Run
from trainer.runs.signals import deferred_signals
from trainer.training.budget import Budget, Meter
from trainer.training.data_parallel import data_parallel_stage
from trainer.training.precision import AUTO, StepRunner

Batches = Callable[[Stage, int, int, int], Iterable[Any]]  # stage, epoch, seed of the epoch, batches to skip
Report = Callable[[str, int, int, dict[str, float]], None]  # stage, epoch from 1, epochs, logged values
SAVE_SECONDS = 300.0  # longer epochs save a checkpoint in between
MAX_SAVING = 0.05  # share of the time that saving may take: where saving is slow, not every epoch is saved


class TrainingError(TrainerError):
    """A training that cannot continue; the message names the stage, the epoch and the cause."""


@dataclass
class Progress:
    """How far a training is: the stage, the epochs of it that are done and the best of them, the steps of the next.

    Attributes:
        sums: sums of the values that the steps of an unfinished epoch have logged.
        seconds: duration of these steps.
        budget: what the stages have taken so far, see `budget`.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    best: float = -1.0  # accuracy
    best_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    budget: Budget = field(default_factory=dict)


class Keeper:
    """Writes checkpoints, and decides when the next is due."""

    def __init__(self, run: Run, method: Method, progress: Progress) -> None:
        self.run, self.method, self.progress = run, method, progress
        self._saved, self._cost = time.perf_counter(), 0.0

    def save(self, stage: Stage) -> None:
        """Write a checkpoint.

        Raises:
            TrainerError: a logged value or a weight is not finite, or the disk is full.
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
    first_stage: int = 0, taken: Budget | None = None, report: Report = lambda *_: None,
    interrupted: Callable[[], bool] = lambda: False,
    step_runner: StepRunner = AUTO,
) -> bool:  # fmt: skip
    """Run every stage, from the run's checkpoint if there is one.

    Every epoch has its own random stream, seeded by seed, stage and epoch, and a checkpoint within an epoch holds the
    generator's state: a resumed training ends with the same bits as an uninterrupted one.

    Args:
        batches: the batches of an epoch; of several ranks, this rank's share of each.
        validate: accuracy on the validation fold, for stages that select their best epoch.
        first_stage: index of the first stage to train.
        taken: what the stages before it took, in another run.
        report: called after each epoch, on rank 0.
        interrupted: called after each step: whether to write a checkpoint and stop. Ctrl-C and SIGTERM do the same, and
            then end the process.

    Returns:
        Whether the training is done.

    Raises:
        TrainingError: a logged value is not finite, the stage gives a reason to stop (a collapse), or memory is short.
        TrainerError: a checkpoint cannot be written or read.
    """
    start = Progress(stage=first_stage, budget=taken or {})
    with deferred_signals() as signalled:
        done = _train(
            method, batches, validate, run, seed, start, report, lambda: interrupted() or signalled(), step_runner
        )
    if not done and world_size() > 1 and not interrupted():
        raise KeyboardInterrupt  # the signal was another rank's: one to this rank has been raised by now
    return done


def _train(
    method: Method, batches: Batches, validate: Callable[[], float], run: Run, seed: int, start: Progress,
    report: Report, interrupted: Callable[[], bool], step_runner: StepRunner,
) -> bool:  # fmt: skip
    saved = run.checkpoint()
    progress = Progress(**saved.progress) if saved else start
    keeper = Keeper(run, method, progress)

    def wanted(also: bool = False) -> bool:
        return any_rank(interrupted() or also)

    device = next(method.parameters()).device
    stages = (data_parallel_stage(step_runner.wrap_stage(stage, device), method) for stage in method.stages())
    for index, stage in enumerate(stages):
        if index < progress.stage:
            continue
        meter = Meter(stage)
        rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in stage.optimizers]
        random = None
        if index > progress.stage:
            progress = keeper.progress = Progress(stage=index, budget=progress.budget)
        elif saved:
            saved.restore(method, stage.optimizers)
            random, saved = saved.random, None
        for epoch in range(progress.epoch, stage.epochs):
            _set_rates(stage, rates, epoch)
            stage.begin(epoch)
            if not _epoch(keeper, meter, stage, batches, seed, random, wanted):
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
            if rank() == 0:
                report(stage.name, epoch + 1, stage.epochs, logged)
            stop = wanted()
            if wanted(keeper.is_due()) or stop or epoch + 1 == stage.epochs:
                keeper.save(stage)
            if stop:
                return False
    run.write_json("provenance.json", run.read_json("provenance.json") | {"budget": progress.budget})
    return True


def _epoch(
    keeper: Keeper, meter: Meter, stage: Stage, batches: Batches, seed: int, random: dict[str, Tensor] | None,
    wanted: Callable[[bool], bool],
) -> bool:  # fmt: skip
    """Train the rest of an epoch, and sum the logged values of its steps; return whether it is done."""
    method, progress, started = keeper.method, keeper.progress, time.perf_counter()
    stream = int.from_bytes(hashlib.sha256(f"{seed} {stage.name} {progress.epoch}".encode()).digest()[:8]) >> 1
    torch.manual_seed(stream + rank())  # ranks have the same samples, and other noise
    method.train()
    device = next(method.parameters()).device
    if random and progress.step:
        restore_random_states(random, device)
    names, sums = tuple(progress.sums), torch.tensor(list(progress.sums.values()), device=device)
    before, first = progress.seconds, progress.step

    def note() -> None:
        progress.sums = dict(zip(names, sums.tolist(), strict=True))
        progress.seconds = before + time.perf_counter() - started
        progress.budget = meter.add_to(progress.budget)

    try:
        for step, batch in enumerate(batches(stage, progress.epoch, stream, first), start=first + 1):
            if progress.step > first and wanted(keeper.is_due(SAVE_SECONDS)):
                note()
                keeper.save(stage)
                if wanted(False):
                    return False
            logged = stage.step(batch)
            meter.count(batch)
            values = torch.stack([value.detach().float() for value in logged.values()])  # one addition for all of them
            names, sums = tuple(logged), sums + values if names else values
            progress.step = step
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"stage {stage.name}, epoch {progress.epoch + 1}: {device} is out of memory; use a smaller batch_size (it "
            f"is {stage.batch_size}) or fewer runs at once (--side-by-side). The same command resumes from the last "
            "checkpoint"
        ) from error
    note()
    return True


def _means(stage: Stage, progress: Progress) -> dict[str, float]:
    """Return the means over steps of an epoch's logged values.

    Raises:
        TrainingError: a mean is not finite.
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
    """Return the means of an epoch's logged values, and move progress to the next epoch."""
    means = _means(stage, progress)
    if stop_reason := stage.stop_reason(means, progress.epoch, stage.epochs):
        raise TrainingError(f"stage {stage.name}, epoch {progress.epoch + 1}: {stop_reason}")
    means["seconds"] = progress.seconds
    progress.epoch, progress.step, progress.sums, progress.seconds = progress.epoch + 1, 0, {}, 0.0
    return means


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the random generators that a step may draw from, by kind of device."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    """Set the states of the random generators."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _set_rates(stage: Stage, rates: list[list[float]], epoch: int) -> None:
    factor = stage.schedule(epoch / stage.epochs)
    for optimizer, initial in zip(stage.optimizers, rates, strict=True):
        for group, rate in zip(optimizer.param_groups, initial, strict=True):
            group["lr"] = rate * factor
