"""A paper's table or figure: run what is missing, then set what is printed beside what was measured."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from manifests import files
from trainer import figures, tables
from trainer.errors import TrainerError
from trainer.evaluate import examine, judge_elsewhere, load
from trainer.fit import Asked, fit, num_folds
from trainer.loop import Report
from trainer.methods import find_method
from trainer.metrics.statistics import corrected_resampled_t, subject_bootstrap, verdict
from trainer.papers import ITEMS
from trainer.papers.item import Item, Variant
from trainer.run import Run, write_whole

PRINTED_FACES = {"ckplus": 327, "oulucasia": 480, "rafdb": 3068, "affectnet": 3500}  # that a printed accuracy is of


@dataclass(frozen=True)
class Measure:
    """A number of a run: where it stands, and how it is shown."""

    read: Callable[[Run], float]
    percent: bool = False
    examined: bool = False  # it needs what `evaluate.examine` writes


def _of(file: str, *path: str) -> Callable[[Run], float]:
    return lambda run: run.value(file, *path)


def _score(*path: str, percent: bool = False) -> Measure:
    return Measure(_of("scores.json", *path), percent)


def _of_information(estimator: str, term: str, value: str) -> Measure:
    return Measure(_of("examination.json", "information", "estimators", estimator, term, value), examined=True)


def _harmonic(run: Run) -> float:
    scores = run.read_json("scores.json")["classification"]
    precision, recall = scores["macro_precision"], scores["macro_recall"]
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _probe(code: str, what: str) -> Measure:
    return _score("codes", code, f"{what}_probe", "maximum")


def _found(code: str, what: str, score: str) -> Measure:
    return _score("codes", code, f"{what}_retrieval", score)


E, I = "expression", "identity"  # noqa: E741 - the paper's letters
MEASURES = {
    "accuracy": _score("classification", "accuracy", percent=True),
    "macro precision": _score("classification", "macro_precision", percent=True),
    "macro recall": _score("classification", "macro_recall", percent=True),
    "macro F1": _score("classification", "macro_f1", percent=True),
    "H(P, R)": Measure(_harmonic),
    "identity from E": _probe(E, "identity"),
    "chance of identity": _score("codes", E, "identity_probe", "chance_maximum"),
    "identity AUC by E": _score("codes", E, "identity_verification", "matched_auc"),
    "expression from I": _probe(I, "expression"),
    "identity from I": _probe(I, "identity"),
    "expression by E, precision@5": _found(E, "expression", "precision@5"),
    "chance of expression by E": _found(E, "expression", "chance"),
    "identity by E, precision@5": _found(E, "identity", "precision@5"),
    "identity by I, precision@5": _found(I, "identity", "precision@5"),
    "chance of identity by I": _found(I, "identity", "chance"),
    "expression by I, precision@5": _found(I, "expression", "precision@5"),
    "MIG (InfoNCE)": _of_information("nce", "gap", "nats"),
    "MIG (InfoNCE) / H(Y)": _of_information("nce", "gap", "normalised"),
    "MIG (DV)": _of_information("dv", "gap", "nats"),
    "MIG (SMILE)": _of_information("smile", "gap", "nats"),
    "MIG (KSG)": _of_information("ksg3", "gap", "nats"),
    "I(E_M; E_N)": _of_information("nce", "shared", "nats"),
    "I(E_M; E_N), posterior": _of_information("posterior", "shared", "nats"),
    "I(E_M; E_N), permuted": _of_information("nce", "shared", "null"),
    "I(E_M; I_M)": _of_information("nce", "entangled", "nats"),
    "I(E_M; I_M), permuted": _of_information("nce", "entangled", "null"),
}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where an item is run, and how often."""

    manifests: Path
    runs: Path
    preset: str
    folds: tuple[int, ...]  # none: all that a manifest has
    seeds: tuple[int, ...]
    device: torch.device
    datasets: tuple[str, ...] = ()  # none: all that are at hand

    def manifest(self, dataset: str) -> Path | None:
        """Return a dataset's manifest, where it is at hand and not left out."""
        path = files.manifest_path(self.manifests, dataset)
        return path if path.exists() and (not self.datasets or dataset in self.datasets) else None


@dataclass(frozen=True)
class Cast:
    """One row's runs on one dataset: asked for, and where they are judged."""

    variant: Variant
    dataset: str
    target: str | None
    asked: tuple[Asked, ...]
    bases: tuple[Asked, ...]


def find(names: Sequence[str]) -> dict[str, Item]:
    """Return items by name; the name of a paper stands for all of its items.

    Raises:
        TrainerError: there is none.
    """
    found: dict[str, Item] = {}
    for name in names:
        chosen = {key: item for key, item in ITEMS.items() if key == name or key.startswith(f"{name}/")}
        if not chosen:
            raise TrainerError(f"no table or figure {name!r}; known: {', '.join(ITEMS)}")
        found |= chosen
    return found


def casts(item: Item, grid: Grid) -> Iterator[Cast]:
    """Yield what an item's rows are made of; where a dataset is not at hand, nothing is asked."""
    for dataset in item.datasets:
        targets = item.targets.get(dataset, {None: ()} if not item.targets else {})
        for target, expressions in targets.items():
            for variant in item.variants:
                yield Cast(variant, dataset, target, *_asked(variant, dataset, target, expressions, grid))


def _asked(
    variant: Variant, dataset: str, target: str | None, expressions: tuple[str, ...], grid: Grid
) -> tuple[tuple[Asked, ...], tuple[Asked, ...]]:
    """Return the runs of a row, and the runs whose stages they take over."""
    manifest = grid.manifest(dataset)
    if manifest is None or (target is not None and grid.manifest(target) is None):
        return (), ()
    preset = grid.preset if grid.preset in find_method(variant.method).PRESETS else "default"
    asked, bases = [], []
    for seed in grid.seeds:
        for fold in grid.folds or range(1, num_folds(manifest) + 1):
            base = Asked(
                manifest=manifest, method=variant.method, preset=preset, settings=(), epochs=None, fold=fold, seed=seed,
                expressions=expressions,
            )  # fmt: skip
            asked.append(replace(base, settings=variant.settings))
            if variant.branch:
                bases.append(base)
                asked[-1] = replace(asked[-1], start=grid.runs / base.name(), stage=variant.branch)
    return tuple(asked), tuple(bases)


# --- what is missing


@dataclass(frozen=True)
class Job:
    """Something to be done for an item, which is done where a file stands."""

    title: str
    path: Path
    work: Callable[[Report], object]
    trains: tuple[str, ...] = ()  # method and stage, in words

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.path.exists()


def jobs(item: Item, grid: Grid) -> list[Job]:
    """Return all that an item takes, in order, done or not."""
    found: dict[Path, Job] = {}
    for cast in casts(item, grid):
        for asked in (*cast.bases, *cast.asked):
            job = _training(asked, grid)
            found.setdefault(job.path, job)
        for asked in cast.asked:
            if cast.target:
                job = _elsewhere(asked, cast.target, grid)
                found.setdefault(job.path, job)
            if any(MEASURES[measure].examined for measure in item.measures):
                job = _examination(asked, grid)
                found.setdefault(job.path, job)
    return list(found.values())


def _training(asked: Asked, grid: Grid) -> Job:
    return Job(
        asked.name(), grid.runs / asked.name() / "scores.json",
        lambda report: fit(asked, grid.runs, grid.device, report), _stages(asked),
    )  # fmt: skip


def _stages(asked: Asked) -> tuple[str, ...]:
    stages = list(find_method(asked.method).TRAINED)
    return tuple(f"{asked.method} {stage}" for stage in stages[stages.index(asked.stage) if asked.stage else 0 :])


def _elsewhere(asked: Asked, target: str, grid: Grid) -> Job:
    run = Run(grid.runs / asked.name())
    manifest = grid.manifest(target)
    assert manifest is not None
    return Job(
        f"{asked.name()} on {target}", run.folder / f"scores-on-{target}.json",
        lambda _: judge_elsewhere(run, *load(run, grid.manifests, grid.device), manifest),
    )  # fmt: skip


def _examination(asked: Asked, grid: Grid) -> Job:
    run = Run(grid.runs / asked.name())
    return Job(
        f"{asked.name()}, examined", run.folder / "examination.json",
        lambda _: examine(run, *load(run, grid.manifests, grid.device)),
    )  # fmt: skip


# --- what there is


def outline(name: str, item: Item, grid: Grid) -> dict[str, Any]:
    """Return what an item shows, what it lacks, and what training that takes: seconds, None where nothing tells."""
    all_jobs = jobs(item, grid)
    wanted = {*item.datasets, *(target for targets in item.targets.values() for target in targets)}
    missing = [job for job in all_jobs if not job.done]
    costs, stages = _costs(grid), [stage for job in missing for stage in job.trains]
    return {
        "name": name, "title": item.title, "jobs": len(all_jobs), "missing": len(missing),
        "seconds": sum(costs[stage] for stage in stages) if set(stages) <= set(costs) else None,
        "absent": sorted(dataset for dataset in wanted if grid.manifest(dataset) is None),
    }  # fmt: skip


def _costs(grid: Grid) -> dict[str, float]:
    """Return what each stage of each method took, in the mean over the finished runs of the preset."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for scores in grid.runs.glob("*/scores.json"):
        run = Run(scores.parent)
        config = run.read_json("config.json")
        rows = run.metrics() if config["preset"] in (grid.preset, "default") else []
        for stage in {row["stage"] for row in rows}:
            seconds[f"{config['method']} {stage}"].append(sum(row["seconds"] for row in rows if row["stage"] == stage))
    return {stage: float(np.mean(times)) for stage, times in seconds.items()}


def outline_text(outlined: dict[str, Any]) -> str:
    """Return an outline as a line to read."""
    cost = "" if outlined["seconds"] is None else f", about {outlined['seconds'] / 60:.0f} min"
    left = f"{outlined['missing']} of {outlined['jobs']} jobs to run{cost}"
    absent = f"; absent: {', '.join(outlined['absent'])}" if outlined["absent"] else ""
    return f"{outlined['name']:<18} {outlined['title']}: {left}{absent}"


# --- printed and measured


def tabulate(name: str, item: Item, grid: Grid) -> tables.Table:
    """Return an item as a table: a row a dataset and variant, then what is printed of other methods."""
    rows = [_row(item, cast, grid) for cast in casts(item, grid)]
    ours = {variant.title for variant in item.variants}
    rows += [
        tables.Row(
            f"{dataset}: {title}",
            tuple(tables.Cell(printed=value, needs="another implementation") if measure == shown else tables.Cell()
                  for shown in item.measures),
        )
        for (title, dataset, measure), value in item.printed.items() if title not in ours
    ]  # fmt: skip
    columns = tuple(tables.Column(measure, MEASURES[measure].percent, _decimals(measure)) for measure in item.measures)
    about = f"Preset {grid.preset}; a run is one fold and one seed."
    return tables.Table(name, item.title, "dataset: trained", columns, tuple(rows), (about, *item.notes))


def _decimals(measure: str) -> int:
    return 2 if MEASURES[measure].percent else 3


def _row(item: Item, cast: Cast, grid: Grid) -> tables.Row:
    runs = [run for run in (Run(grid.runs / asked.name()) for asked in cast.asked) if run.finished]
    if cast.target:
        runs = [run for run in runs if (run.folder / f"scores-on-{cast.target}.json").exists()]
    where = cast.dataset + (f" on {cast.target}" if cast.target else "")
    cells = tuple(_cell(item, cast, measure, runs, grid) for measure in item.measures)
    return tables.Row(f"{where}: {cast.variant.title}", cells)


def _cell(item: Item, cast: Cast, measure: str, runs: list[Run], grid: Grid) -> tables.Cell:
    printed = item.printed.get((cast.variant.title, cast.dataset, measure))
    chosen = MEASURES[measure]
    runs = [run for run in runs if not chosen.examined or (run.folder / "examination.json").exists()]
    if not runs:
        first = measure == item.measures[0] or printed is not None
        return tables.Cell(printed=printed, needs=_needs(cast, grid) if first else "")
    values = [_value(run, measure, cast.target) for run in runs]
    mean = float(np.mean(values))
    drawn = any(_drawn(run, cast.target) for run in runs)
    interval = _interval(measure, runs, values, cast.target)
    told = verdict(printed, mean, interval, printed_faces=PRINTED_FACES[cast.dataset] if chosen.percent else None,
                   drawn=drawn) if printed is not None else ""  # fmt: skip
    return tables.Cell(
        printed, mean, float(np.std(values, ddof=1)) if len(values) > 1 else None, len(values), interval, told, drawn
    )


def _needs(cast: Cast, grid: Grid) -> str:
    wanted = [name for name in (cast.dataset, cast.target) if name]
    absent = [name for name in wanted if not files.manifest_path(grid.manifests, name).exists()]
    if absent:
        return " and ".join(f"a licensed copy of {name}, prepared by fertools as {name}.parquet" for name in absent)
    return "to be run: trainer reproduce"


def _value(run: Run, measure: str, target: str | None) -> float:
    if target is None:
        return MEASURES[measure].read(run)
    return float(run.read_json(f"scores-on-{target}.json")[measure.replace(" ", "_")])


def _drawn(run: Run, target: str | None) -> bool:
    drawn = run.read_json("provenance.json")["data"]["drawn"]
    return bool(drawn or (target and run.read_json(f"scores-on-{target}.json")["drawn"]))


def _interval(measure: str, runs: list[Run], values: list[float], target: str | None) -> tuple[float, float] | None:
    """Return the 95 % interval: of an accuracy over people, of anything else over runs, which share training faces."""
    if measure == "accuracy":
        file = f"predictions-on-{target}.parquet" if target else "predictions.parquet"
        seen = [pq.read_table(run.folder / file).select(["subject", "expression", "predicted"]) for run in runs]
        correct = np.concatenate([np.array(table["expression"]) == np.array(table["predicted"]) for table in seen])
        low, high = subject_bootstrap(correct, np.concatenate([np.array(table["subject"]) for table in seen]))
        return low, high
    if len(values) < 2:
        return None
    found = corrected_resampled_t(np.array(values), *_sizes(runs[0]))["interval"]
    if found is None:
        return None
    return (max(0.0, found[0]), min(1.0, found[1])) if MEASURES[measure].percent else (found[0], found[1])


def _sizes(run: Run) -> tuple[int, int]:
    """Return how many faces trained a run and how many tested it."""
    train, test = (int(run.value("scores.json", "faces", part)) for part in ("train", "test"))
    return train, test


def write(name: str, item: Item, grid: Grid, out: Path) -> tables.Table:
    """Write an item as JSON, Markdown, HTML and LaTeX, and as a picture where it is a figure."""
    table = tabulate(name, item, grid)
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    forms = {
        ".json": tables.to_json(table), ".md": tables.to_markdown(table), ".html": tables.to_html(table),
        ".tex": tables.to_latex(table),
    }  # fmt: skip
    if item.figure and any(cell.mean is not None for row in table.rows for cell in row.cells):
        done = [
            figures.Drawn(cast.variant, cast.dataset, tuple(
                Run(grid.runs / asked.name()) for asked in cast.asked if Run(grid.runs / asked.name()).finished))
            for cast in casts(item, grid)
        ]  # fmt: skip
        forms[".svg"] = figures.FIGURES[item.figure]([row for row in done if row.runs], grid.manifests, grid.device)
    for suffix, text in forms.items():
        write_whole(path.with_name(path.name + suffix), text)
    return table
