"""What is left of papers' tables, and what it takes: by finished runs, or by a few steps measured on this device."""

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
from trainer.experiments.cost import apart, measure_apart, slug
from trainer.experiments.papers.item import Item
from trainer.experiments.reproduce import Grid, jobs, lacking
from trainer.experiments.workers import Job
from trainer.methods import build, find_method
from trainer.methods.base import Pairs, Stage
from trainer.runs.atomic import write_whole
from trainer.runs.run import Run, environment
from trainer.training.fit import RunSpec, fit

CPU = torch.device("cpu")


def outline(name: str, item: Item, grid: Grid) -> dict[str, Any]:
    """Return what an item shows, what it lacks, and what training that takes: seconds, None where nothing tells."""
    all_jobs = jobs(item, grid)
    missing = [job for job in all_jobs if not job.done]
    costs = _costs(grid)
    stages = [(_asked(job).method, stage) for job in missing for stage in job.stages]
    return {
        "name": name, "title": item.title, "jobs": len(all_jobs), "missing": len(missing),
        "seconds": sum(costs[stage] for stage in stages) if set(stages) <= set(costs) else None,
        "absent": lacking(item, grid),
    }  # fmt: skip


def _costs(grid: Grid) -> dict[tuple[str, str], float]:
    """Return what each stage of each method took, in the mean over the finished runs of the preset."""
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for scores in grid.runs.glob("*/scores.json"):
        run = Run(scores.parent)
        config = run.read_json("config.json")
        rows = run.metrics() if config["preset"] in (grid.preset, "default") else []
        for stage in {row["stage"] for row in rows}:
            seconds[config["method"], stage].append(sum(row["seconds"] for row in rows if row["stage"] == stage))
    return {stage: float(np.mean(times)) for stage, times in seconds.items()}


def outline_text(outlined: dict[str, Any]) -> str:
    """Return an outline as a line to read."""
    cost = "" if outlined["seconds"] is None else f", about {outlined['seconds'] / 60:.0f} min"
    left = f"{outlined['missing']} of {outlined['jobs']} jobs to run{cost}"
    absent = f"; absent: {', '.join(outlined['absent'])}" if outlined["absent"] else ""
    return f"{outlined['name']:<18} {outlined['title']}: {left}{absent}"


# --- what is measured: once for runs that are alike


def measurements(items: Mapping[str, Item], grid: Grid) -> list[Job]:
    """Return what is to be measured before what is left of items can be priced, done or not."""
    found: dict[Path, Job] = {}
    for job in _missing(items.values(), grid):
        about = [_steps(job, grid), *([_judging(job, grid)] if _is_judged(job) else [])]
        found |= {one.path: one for one in about if one.path not in found}
    return list(found.values())


def _missing(items: Iterable[Item], grid: Grid) -> list[Job]:
    """Return what is left to be done of items, each once."""
    return list({job.path: job for item in items for job in jobs(item, grid) if not job.done}.values())


def _is_judged(job: Job) -> bool:
    """Whether it takes more than the answers of a trained method to faces."""
    return bool(job.stages) or _is_examination(job)


def _is_examination(job: Job) -> bool:
    return job.path.name == "examination.json"


def _steps(job: Job, grid: Grid) -> Job:
    """Return the measurement of a run's steps; a weight or a rate changes their time only where it is zero."""
    spec = _asked(job)
    settings = {
        name: value != 0 if isinstance(value, float) else value
        for name, value in asdict(spec.config()).items() if not name.startswith("epochs")
    }  # fmt: skip
    metadata = files.read_metadata(spec.manifest)
    sees = [asdict(files.read_crop(spec.manifest)), metadata["whitening"]["kind"]]
    alike = sha256(json.dumps([settings, sees]).encode()).hexdigest()[:12]
    path = _path(f"steps-{spec.method}-{alike}", grid)
    title = " ".join(["steps of", spec.method, *spec.settings])
    return Job(title, path, partial(_measure_steps, spec, path, grid.device), alone=True)


def _judging(job: Job, grid: Grid) -> Job:
    """Return the measurement of what a run takes besides training."""
    spec, examined = _asked(job), _is_examination(job)
    beside = "".join(f"-{path.stem}" for path in (*spec.extra, *spec.averages))
    about = f"{'examination' if examined else 'judging'}-{spec.manifest.stem}-{spec.method}-{spec.preset}{beside}"
    path = _path(about, grid)
    work = partial(_measure_judging, replace(spec, start=None, stage=None), path, grid.device, examined)
    return Job(about, path, work, alone=True)


def _asked(job: Job) -> RunSpec:
    assert isinstance(job.spec, RunSpec), f"{job.title} is of no run"
    return job.spec


def _path(about: str, grid: Grid) -> Path:
    return grid.runs / "costs" / f"{about}-{slug(grid.device)}.json"


def _measure_steps(spec: RunSpec, path: Path, device: torch.device, *_: object) -> None:
    _write(path, measure_apart(spec, device))


def _measure_judging(spec: RunSpec, path: Path, device: torch.device, examined: bool, *_: object) -> None:
    _write(path, apart(time_judging, spec, str(device), torch.get_num_threads(), examined))


def _write(path: Path, measured: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(measured, indent=1) + "\n")


def time_judging(spec: RunSpec, device_name: str, num_threads: int, examined: bool) -> dict[str, Any]:
    """Return the seconds that a run takes besides training, or those of its examination, with untrained weights.

    The test part is opened for the time it takes; what is measured on it is thrown away unread.
    """
    torch.set_num_threads(num_threads)
    device = torch.device(device_name)
    with TemporaryDirectory() as folder:
        run = Run(Path(folder) / spec.name())
        run.folder.mkdir()
        expressions = list(spec.expressions) or _expressions(spec.manifest)
        for stage in find_method(spec.method).STAGE_MODULES:
            run.log(stage, 0, {"loss": 0.0})  # a curve is drawn
        method = build(spec.method, asdict(spec.config()), expressions, spec.seed, CPU)
        for buffer in method.buffers():
            buffer.nan_to_num_()  # average faces that are not known yet
        run.finish_training(method)
        started = time.perf_counter()
        fit(spec, run.folder.parent, device, lambda *_: None)
        if examined:
            started = time.perf_counter()
            examine(run, *load(run, spec.manifest.parent, device))
        return {"where": environment(device), "seconds": time.perf_counter() - started}


# --- the price


def price(items: Mapping[str, Item], grid: Grid) -> dict[str, Any]:
    """Return the minutes that what is left of items takes on this device, one run at a time; None where untold.

    What two items share is in the minutes of both, and once in those of all.
    """
    where = environment(grid.device)
    priced = [{"name": name} | _minutes([item], grid) | {"absent": lacking(item, grid)} for name, item in items.items()]
    return {"device": where["device"], "threads": where["threads"], "items": priced,
            "all": _minutes(items.values(), grid)}  # fmt: skip


def _minutes(items: Iterable[Item], grid: Grid) -> dict[str, Any]:
    missing = _missing(items, grid)
    seconds = [_seconds(job, grid) for job in missing]
    known = [one for one in seconds if one is not None]
    told = len(known) == len(seconds)
    training, judging = (sum(each) / 60 for each in zip(*known, strict=True)) if known else (0.0, 0.0)
    return {"jobs": len(missing), "training_minutes": training if told else None,
            "judging_minutes": judging if told else None}  # fmt: skip


def _seconds(job: Job, grid: Grid) -> tuple[float, float] | None:
    """Return what a job takes in training and validation, and in all else."""
    spec, steps, judging = _asked(job), _read(_steps(job, grid)), _read(_judging(job, grid))
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


def price_text(priced: dict[str, Any]) -> str:
    """Return a price as lines to read."""
    head = f"{priced['device']}, threads: {priced['threads']}; minutes of this device, one run at a time"
    lines = [_line(one["name"], one, one["absent"]) for one in priced["items"]]
    return "\n".join([head, *lines, _line("all, shared runs once", priced["all"], [])])


def _line(name: str, minutes: dict[str, Any], absent: Sequence[str]) -> str:
    training, judging = minutes["training_minutes"], minutes["judging_minutes"]
    cost = "unknown" if training is None else f"{training + judging:.1f} min, {judging:.1f} of them judging"
    left = f"; absent: {', '.join(absent)}" if absent else ""
    return f"{name:<22} {minutes['jobs']:>5} jobs: {cost}{left}"
