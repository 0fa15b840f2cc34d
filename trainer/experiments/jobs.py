"""What is to be done for a table: runs to be trained and judged, each once."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import torch

from trainer.data.provenance import changed, pairs_read
from trainer.errors import TrainerError
from trainer.experiments.workers import Job, Listener, run
from trainer.methods import find_method
from trainer.runs.device import free_memory
from trainer.runs.distributed import rank, world_size
from trainer.runs.run import Run, RunError
from trainer.training.fit import RunSpec, fit, num_folds

MEMORY = {"cpu": 2 * 2**30, "cuda": 6 * 2**30}  # bytes that are to be free for each job
MOST_ON_A_GPU = 4


def folds_of(manifest: Path, chosen: Sequence[int]) -> Sequence[int]:
    """Return the folds that are chosen, or all; an official split has one, whichever are chosen of others."""
    known = range(1, num_folds(manifest) + 1)
    return known if len(known) == 1 else chosen or known


def training(spec: RunSpec, runs: Path, device: torch.device) -> Job:
    """Return the training, and judging, of a run.

    Raises:
        RunError: it is finished, and was trained on another manifest.
    """
    finished(spec, runs)
    return Job(
        spec.name(), scores_path(spec, runs), partial(fit, spec, runs, device), spec, stages(spec),
        needs=spec.start and spec.start / "weights.safetensors",
    )  # fmt: skip


def scores_path(spec: RunSpec, runs: Path) -> Path:
    """Return the file that stands where a run is trained and judged."""
    return runs / spec.name() / "scores.json"


def stages(spec: RunSpec) -> tuple[str, ...]:
    """Return the stages that a run trains."""
    known = list(find_method(spec.method).STAGE_MODULES)
    return tuple(known[known.index(spec.stage) if spec.stage in known else 0 :])


def finished(spec: RunSpec, runs: Path) -> Run | None:
    """Return the run that is asked for, where it is finished.

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


# --- doing them


Listeners = Callable[[int], AbstractContextManager[Listener]]  # number of jobs -> what is told of them


def do_all(
    jobs: Sequence[Job], device: torch.device, listeners: Listeners, at_once: int | None = None
) -> dict[str, str]:
    """Do what is not done of jobs, as many at once as pay or as asked: see `workers.run`."""
    missing = [job for job in jobs if not job.done]
    if torch.distributed.is_torchelastic_launched() and not torch.distributed.is_initialized():
        raise TrainerError("torchrun is for trainer fit and trainer pretrain: start this command without it")
    with listeners(len(missing)) as listener:
        if world_size() > 1:
            return _together(missing, listener)
        return run(missing, at_once or pays(device, len(missing)), torch.get_num_threads(), listener)


def _together(jobs: Sequence[Job], listener: Listener) -> dict[str, str]:
    """Do jobs, each by all processes that torchrun has started; what ends one ends all, and rank 0 tells of them."""
    for job in jobs:
        if rank() == 0:
            listener.begun(job.title, job.stages)
        job.work(partial(listener.epoch, job.title) if rank() == 0 else lambda *_: None, lambda: False)
        if rank() == 0:
            listener.ended(job.title, None)
    return {}


def pays(device: torch.device, num_jobs: int) -> int:
    """Return how many jobs to do at once: on the CPU one a thread, where there is memory; of torchrun's, one."""
    if torch.distributed.is_torchelastic_launched():
        return 1
    most = MOST_ON_A_GPU if device.type == "cuda" else torch.get_num_threads()
    return max(1, min(num_jobs, most, free_memory(device) // MEMORY[device.type]))
