"""Runs as jobs: which are finished, which are to be trained and evaluated, and running them all."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from trainer.data.provenance import changed, pairs_read
from trainer.errors import TrainerError
from trainer.experiments import workers
from trainer.experiments.workers import Job, Listener
from trainer.methods import find_method
from trainer.runs.device import free_memory, pick_device
from trainer.runs.distributed import rank, world_size
from trainer.runs.run import Run, RunError
from trainer.training.data_parallel import init_process_group
from trainer.training.fit import RunSpec, fit, num_folds

MEMORY = {"cpu": 2 * 2**30, "cuda": 6 * 2**30}  # free bytes that a job needs
MAX_PER_GPU = 4  # jobs


def folds_of(manifest: Path, chosen: Sequence[int]) -> Sequence[int]:
    """Return the chosen folds, or all if none is; an official split has one fold, whichever are chosen."""
    known = range(1, num_folds(manifest) + 1)
    return known if len(known) == 1 else chosen or known


def training(spec: RunSpec, runs: Path, device: torch.device) -> Job:
    """Return the training and evaluation of a run as a job.

    Raises:
        RunError: it is finished, and was trained on another manifest.
    """
    finished(spec, runs)
    return Job(
        spec.name(), scores_path(spec, runs), partial(fit, spec, runs, device), spec, stages(spec),
        needs=spec.start and spec.start / "weights.safetensors",
    )  # fmt: skip


def scores_path(spec: RunSpec, runs: Path) -> Path:
    """Return the file that exists once a run is trained and evaluated."""
    return runs / spec.name() / "scores.json"


def stages(spec: RunSpec) -> tuple[str, ...]:
    """Return the stages that a run trains."""
    known = list(find_method(spec.method).STAGE_MODULES)
    return tuple(known[known.index(spec.stage) if spec.stage in known else 0 :])


def finished(spec: RunSpec, runs: Path) -> Run | None:
    """Return the run of a specification if it is finished, else None.

    Raises:
        RunError: it was trained on another manifest.
    """
    run, manifest = Run(runs / spec.name()), spec.manifest
    if not run.finished:
        return None
    if names := changed(run.read_json("provenance.json"), pairs_read(manifest)):
        raise RunError(
            f"{run.folder} was trained on another {manifest.name}: {', '.join(names)} differ; delete it, or choose "
            "other --runs"
        )
    return run


# --- running them


Listeners = Callable[[int], AbstractContextManager[Listener]]  # number of jobs -> a listener


def run_jobs(
    jobs: Sequence[Job], device: torch.device, listeners: Listeners, num_workers: int | None = None
) -> dict[str, str]:
    """Run the jobs that are not done, in as many worker processes as `num_workers` says, or `default_num_workers`.

    Of several ranks, all run each job together, and rank 0 reports progress; an error ends all of them.

    Returns:
        The errors of failed jobs, by title.
    """
    missing = [job for job in jobs if not job.done]
    if torch.distributed.is_torchelastic_launched() and not torch.distributed.is_initialized():
        raise TrainerError("torchrun is for trainer fit and trainer pretrain: start this command without it")
    if rank() > 0:
        for job in missing:
            job.work(lambda *_: None, lambda: False)
        return {}
    with listeners(len(missing)) as listener:
        if world_size() == 1:
            num_workers = num_workers or default_num_workers(device, len(missing))
            return workers.run(missing, num_workers, torch.get_num_threads(), listener)
        for job in missing:
            listener.started(job.title, job.stages)
            job.work(partial(listener.epoch, job.title), lambda: False)
            listener.ended(job.title, None)
        return {}


def default_num_workers(device: torch.device, num_jobs: int) -> int:
    """Return the number of worker processes: on the CPU one per thread, if memory is free; under torchrun one."""
    if torch.distributed.is_torchelastic_launched():
        return 1
    most = MAX_PER_GPU if device.type == "cuda" else torch.get_num_threads()
    return max(1, min(num_jobs, most, free_memory(device) // MEMORY[device.type]))


@dataclass(frozen=True)
class FitResult:
    """The runs of `fit_all`."""

    folders: list[Path]
    finished: set[str]  # names of runs that were finished before
    failed: dict[str, str]  # name -> error


def fit_all(
    specs: Sequence[RunSpec], runs: Path, device_name: str, listeners: Listeners, num_workers: int | None = None
) -> FitResult | None:
    """Train and evaluate runs: in worker processes, or each with all processes that torchrun has started.

    Returns:
        The runs; None on ranks other than 0.

    Raises:
        TrainerError: the settings cannot be used, a finished run has other data, or of several ranks one has failed.
    """
    specs[0].config()
    with init_process_group(pick_device(device_name)) as device:
        jobs = [training(spec, runs, device) for spec in specs]
        finished = [spec for spec, job in zip(specs, jobs, strict=True) if job.done]
        for spec in finished:
            fit(spec, runs, device, lambda *_: None)  # which refuses a run of other settings or data
        failed = run_jobs(jobs, device, listeners, num_workers)
        is_first = rank() == 0
    folders = [runs / spec.name() for spec in specs]
    return FitResult(folders, {spec.name() for spec in finished}, failed) if is_first else None
