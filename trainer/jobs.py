"""What is to be done for a table: runs to be trained and judged, each once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from manifests import files
from trainer.fit import Asked, fit, num_folds
from trainer.loop import Report
from trainer.methods import find_method
from trainer.run import Run, RunError


@dataclass(frozen=True)
class Job:
    """Something to be done for a table, which is done where a file stands."""

    title: str
    path: Path
    work: Callable[[Report], object]
    trains: tuple[str, ...] = ()  # method and stage, in words

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.path.exists()


def folds_of(manifest: Path, chosen: Sequence[int]) -> Sequence[int]:
    """Return the folds that are chosen, or all; an official split has one, whichever are chosen of others."""
    known = range(1, num_folds(manifest) + 1)
    return known if len(known) == 1 else chosen or known


def training(asked: Asked, runs: Path, device: torch.device) -> Job:
    """Return the training, and judging, of a run.

    Raises:
        RunError: it is finished, and was trained on another manifest.
    """
    finished(asked, runs)
    return Job(
        asked.name(), runs / asked.name() / "scores.json",
        lambda report: fit(asked, runs, device, report), _stages(asked),
    )  # fmt: skip


def _stages(asked: Asked) -> tuple[str, ...]:
    stages = list(find_method(asked.method).TRAINED)
    return tuple(f"{asked.method} {stage}" for stage in stages[stages.index(asked.stage) if asked.stage else 0 :])


def finished(asked: Asked, runs: Path) -> Run | None:
    """Return the run that is asked for, where it is finished.

    Raises:
        RunError: it was trained on another manifest.
    """
    run, manifest = Run(runs / asked.name()), asked.manifest
    if not run.finished:
        return None
    if run.read_json("provenance.json")["data"]["manifest_sha256"] != _sha256(manifest, manifest.stat().st_mtime_ns):
        raise RunError(f"{run.folder} was trained on another {manifest.name}; delete it, or choose other --runs")
    return run


@cache
def _sha256(path: Path, _: int) -> str:
    return files.file_sha256(path)
