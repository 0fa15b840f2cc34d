"""The remaining jobs of papers' tables, and their run time: from finished runs, or from steps measured here."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from manifests import files, schema
from trainer.evaluation.evaluate import examine, load
from trainer.experiments.papers.item import Item
from trainer.experiments.reproduce import Grid, jobs, lacking
from trainer.experiments.throughput import device_slug, measure_in_subprocess
from trainer.experiments.workers import Job, in_subprocess
from trainer.methods import build, find_method
from trainer.methods.base import Pairs, Stage
from trainer.runs.atomic import write_whole
from trainer.runs.device import environment
from trainer.runs.run import Run
from trainer.training.fit import RunSpec, fit

CPU = torch.device("cpu")


def outline(name: str, item: Item, grid: Grid) -> dict[str, Any]:
    """Return an item's title, remaining jobs, training time of these and missing datasets.

    The time is in seconds, by finished runs of the same stages; None where a stage has none.
    """
    all_jobs = jobs(item, grid)
    missing = [job for job in all_jobs if not job.done]
    seconds = _seconds_of_stages(grid)
    stages = [(_spec(job).method, stage) for job in missing for stage in job.stages]
    return {
        "name": name, "title": item.title, "jobs": len(all_jobs), "missing": len(missing),
        "seconds": sum(seconds[stage] for stage in stages) if set(stages) <= set(seconds) else None,
        "absent": lacking(item, grid),
    }  # fmt: skip


def _seconds_of_stages(grid: Grid) -> dict[tuple[str, str], float]:
    """Return the seconds of each method's stages, as means over the finished runs of the preset."""
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for scores in grid.runs.glob("*/scores.json"):
        run = Run(scores.parent)
        config = run.read_json("config.json")
        rows = run.metrics() if config["preset"] in (grid.preset, "default") else []
        for stage in {row["stage"] for row in rows}:
            seconds[config["method"], stage].append(sum(row["seconds"] for row in rows if row["stage"] == stage))
    return {stage: float(np.mean(times)) for stage, times in seconds.items()}


def outline_text(outlined: dict[str, Any]) -> str:
    """Return an outline as a line of text."""
    cost = "" if outlined["seconds"] is None else f", about {outlined['seconds'] / 60:.0f} min"
    left = f"{outlined['missing']} of {outlined['jobs']} jobs to run{cost}"
    absent = f"; absent: {', '.join(outlined['absent'])}" if outlined["absent"] else ""
    return f"{outlined['name']:<18} {outlined['title']}: {left}{absent}"


# --- measurements: one for all runs that take the same time


def measurements(items: Mapping[str, Item], grid: Grid) -> list[Job]:
    """Return the measurements that an estimate of the remaining jobs of items needs, done or not."""
    needed: dict[Path, Job] = {}
    for job in _missing(items.values(), grid):
        for measurement in (_steps(job, grid), *([_judging(job, grid)] if _is_judged(job) else [])):
            needed.setdefault(measurement.path, measurement)
    return list(needed.values())


def _missing(items: Iterable[Item], grid: Grid) -> list[Job]:
    """Return the remaining jobs of items, each once."""
    return list({job.path: job for item in items for job in jobs(item, grid) if not job.done}.values())


def _is_judged(job: Job) -> bool:
    """Whether it does more than run a trained method on faces."""
    return bool(job.stages) or _is_examination(job)


def _is_examination(job: Job) -> bool:
    return job.path.name == "examination.json"


def _steps(job: Job, grid: Grid) -> Job:
    """Return the measurement of a run's steps. A weight or a rate changes their time only by being zero or not."""
    spec = _spec(job)
    settings = {
        name: value != 0 if isinstance(value, float) else value
        for name, value in asdict(spec.config()).items() if not name.startswith("epochs")
    }  # fmt: skip
    metadata = files.read_metadata(spec.manifest, ["whitening.kind"])
    inputs = [asdict(files.read_crop(spec.manifest)), metadata["whitening"]["kind"]]
    digest = sha256(json.dumps([settings, inputs]).encode()).hexdigest()[:12]
    path = _path(f"steps-{spec.method}-{digest}", grid)
    title = " ".join(["steps of", spec.method, *spec.settings])
    return Job(title, path, partial(_measure_steps, spec, path, grid.device), alone=True)


def _judging(job: Job, grid: Grid) -> Job:
    """Return the measurement of a run's time besides training."""
    spec, examined = _spec(job), _is_examination(job)
    others = "".join(f"-{path.stem}" for path in (*spec.extra, *spec.averages))
    title = f"{'examination' if examined else 'judging'}-{spec.manifest.stem}-{spec.method}-{spec.preset}{others}"
    path = _path(title, grid)
    work = partial(_measure_judging, replace(spec, start=None, stage=None), path, grid.device, examined)
    return Job(title, path, work, alone=True)


def _spec(job: Job) -> RunSpec:
    assert isinstance(job.spec, RunSpec), f"{job.title} is of no run"
    return job.spec


def _path(title: str, grid: Grid) -> Path:
    return grid.runs / "costs" / f"{title}-{device_slug(grid.device)}.json"


def _measure_steps(spec: RunSpec, path: Path, device: torch.device, *_: object) -> None:
    _write(path, measure_in_subprocess(spec, device))


def _measure_judging(spec: RunSpec, path: Path, device: torch.device, examined: bool, *_: object) -> None:
    timing = partial(time_judging, spec, str(device), torch.get_num_threads(), examined)
    _write(path, in_subprocess(spec.method, timing))


def _write(path: Path, measured: dict[str, Any]) -> None:
    write_whole(path, json.dumps(measured, indent=1) + "\n")


def time_judging(spec: RunSpec, device_name: str, num_threads: int, examined: bool) -> dict[str, Any]:
    """Return the seconds of a run besides training, or those of its examination, with untrained weights.

    The test part is opened only to measure this time; the scores are discarded unread.
    """
    torch.set_num_threads(num_threads)
    device = torch.device(device_name)
    with TemporaryDirectory() as folder:
        run = Run(Path(folder) / spec.name())
        run.folder.mkdir()
        expressions = list(spec.expressions) or _expressions(spec.manifest)
        for stage in find_method(spec.method).STAGE_MODULES:
            run.log(stage, 0, {"loss": 0.0})  # the report draws curves of every stage
        method = build(spec.method, asdict(spec.config()), expressions, spec.seed, CPU)
        for buffer in method.buffers():
            buffer.nan_to_num_()  # average faces are not computed yet
        run.finish_training(method)
        started = time.perf_counter()
        fit(spec, run.folder.parent, device, lambda *_: None)
        if examined:
            started = time.perf_counter()
            examine(run, *load(run, spec.manifest.parent, device))
        return {"where": environment(device), "seconds": time.perf_counter() - started}


# --- the estimate


def estimate(items: Mapping[str, Item], grid: Grid) -> dict[str, Any]:
    """Return the minutes of the remaining jobs of items on this device, one at a time; None where not measured.

    A job that two items share counts for both, and once in `all`.
    """
    where = environment(grid.device)
    estimates = [
        {"name": name} | _minutes([item], grid) | {"absent": lacking(item, grid)} for name, item in items.items()
    ]
    return {"device": where["device"], "threads": where["threads"], "items": estimates,
            "all": _minutes(items.values(), grid)}  # fmt: skip


def _minutes(items: Iterable[Item], grid: Grid) -> dict[str, Any]:
    missing = _missing(items, grid)
    seconds = [_seconds(job, grid) for job in missing]
    measured = [times for times in seconds if times is not None]
    complete = len(measured) == len(seconds)
    training, judging = (sum(times) / 60 for times in zip(*measured, strict=True)) if measured else (0.0, 0.0)
    return {"jobs": len(missing), "training_minutes": training if complete else None,
            "judging_minutes": judging if complete else None}  # fmt: skip


def _seconds(job: Job, grid: Grid) -> tuple[float, float] | None:
    """Return the seconds of a job: of training with validation, and of the rest; None where not measured."""
    spec, steps, judging = _spec(job), _read(_steps(job, grid)), _read(_judging(job, grid))
    if steps is None or (judging is None and _is_judged(job)):
        return None
    inference = float(np.mean(steps["inference"]))
    if not job.stages:
        target = job.path.stem.removeprefix("scores-on-")
        num_faces = 0 if _is_examination(job) else _usable(grid.manifests / f"{target}.parquet", spec.expressions)
        return 0.0, num_faces / inference + (judging["seconds"] if judging and _is_examination(job) else 0.0)
    counted, training = _counts(spec.manifest, spec.expressions, spec.fold), 0.0
    extra = sum(_usable(path, spec.expressions) for path in spec.extra)
    for stage in _stages(spec):
        if stage.name in job.stages:
            images = 2 * counted["pairs"] if stage.reads is Pairs else counted["train"] + extra
            validated = counted["validation"] if stage.selects else 0
            rate = float(np.mean(steps["stages"][stage.name]))
            training += stage.epochs * (images / rate + validated / inference)
    assert judging is not None
    return training, judging["seconds"]


def _read(measurement: Job) -> dict[str, Any] | None:
    return json.loads(measurement.path.read_text()) if measurement.done else None


def _stages(spec: RunSpec) -> list[Stage]:
    expressions = list(spec.expressions) or _expressions(spec.manifest)
    return list(build(spec.method, asdict(spec.config()), expressions, spec.seed, CPU).stages())


@cache
def _table(manifest: Path) -> pa.Table:
    return files.read(manifest)


def _expressions(manifest: Path) -> list[str]:
    return sorted(set(_table(manifest)["expression"].to_pylist()) - {None})


def _shown(manifest: Path, expressions: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which rows show one of some expressions, or of all."""
    return np.isin(_table(manifest)["expression"].to_pylist(), expressions or _expressions(manifest))


def _usable(manifest: Path, expressions: tuple[str, ...]) -> int:
    return int((_shown(manifest, expressions) & np.array(_table(manifest)["usable"])).sum())


@cache
def _counts(manifest: Path, expressions: tuple[str, ...], fold: int) -> dict[str, int]:
    """Count the faces of a fold's parts, and the pairs of its first epoch."""
    shown, rows = _shown(manifest, expressions), schema.parts(_table(manifest), fold)
    pairs = files.read_pairs(manifest, fold, _table(manifest))
    counted = {part: int(shown[rows[part]].sum()) for part in ("train", "validation")}
    return counted | {"pairs": int((shown[pairs["anchor"]] & (pairs["epoch"] == 0)).sum())}


def estimate_text(estimated: dict[str, Any]) -> str:
    """Return an estimate as text."""
    head = f"{estimated['device']}, threads: {estimated['threads']}; minutes of this device, one run at a time"
    lines = [_line(item["name"], item, item["absent"]) for item in estimated["items"]]
    return "\n".join([head, *lines, _line("all, shared runs once", estimated["all"], [])])


def _line(name: str, minutes: dict[str, Any], absent: Sequence[str]) -> str:
    training, judging = minutes["training_minutes"], minutes["judging_minutes"]
    cost = "unknown" if training is None else f"{training + judging:.1f} min, {judging:.1f} of them judging"
    left = f"; absent: {', '.join(absent)}" if absent else ""
    return f"{name:<22} {minutes['jobs']:>5} jobs: {cost}{left}"
