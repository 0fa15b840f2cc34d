"""Methods side by side, on the same folds and seeds of one manifest: what they read, what they leak, what they cost."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from manifests import files
from trainer.errors import TrainerError
from trainer.evaluation.reporting.columns import column, difference, measured
from trainer.evaluation.reporting.tables import Cell, Column, Row, Table
from trainer.experiments.cost import BATCH, REPEATS, measure_apart, slug
from trainer.experiments.jobs import finished, folds_of, training
from trainer.experiments.workers import Job
from trainer.runs.atomic import write_whole
from trainer.runs.run import Run
from trainer.training.fit import RunSpec

SCORES = ("accuracy", "macro F1", "identity from E", "chance of identity", "identity AUC by E")
DIFFERENCES = ("accuracy", "macro F1", "identity from E", "identity AUC by E")
COSTS = (
    Column("parameters in training (M)", percent=False, decimals=3),
    Column("parameters in inference (M)", percent=False, decimals=3),
    Column("training, images/s", percent=False, decimals=1),
    Column("inference, images/s", percent=False, decimals=1),
    Column("peak memory in training (MiB)", percent=False, decimals=0),
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, and on what."""

    manifest: Path
    methods: tuple[str, ...]
    preset: str
    folds: tuple[int, ...]  # none: all that the manifest has
    seeds: tuple[int, ...]
    runs: Path
    device: torch.device

    def specs(self) -> dict[str, list[RunSpec]]:
        """Return the runs of each method: the same folds and seeds, in the same order.

        Raises:
            ConfigError: a method that does not exist, or has no such preset.
            TrainerError: fewer than two methods, or no seed.
        """
        if len(set(self.methods)) < 2 or not self.seeds:
            raise TrainerError(
                f"methods {', '.join(self.methods) or 'none'}, {len(self.seeds)} seeds: a comparison is of two methods "
                "or more, with a seed or more"
            )
        found = {}
        for method in self.methods:
            found[method] = [
                RunSpec(
                    manifest=self.manifest, method=method, preset=self.preset, settings=(), epochs=None, fold=fold,
                    seed=seed,
                )
                for fold in folds_of(self.manifest, self.folds) for seed in self.seeds
            ]  # fmt: skip
            found[method][0].config()
        return found

    def cost_path(self, method: str) -> Path:
        """Return where the cost of a method on this device is kept."""
        return self.runs / "costs" / f"{self.manifest.stem}-{method}-{self.preset}-{slug(self.device)}.json"


def jobs(comparison: Comparison) -> list[Job]:
    """Return all that a comparison takes, in order, done or not."""
    specs = comparison.specs()
    runs = [training(one, comparison.runs, comparison.device) for each in specs.values() for one in each]
    return [*(_cost(comparison, method, each[0]) for method, each in specs.items()), *runs]


def _cost(comparison: Comparison, method: str, spec: RunSpec) -> Job:
    path = comparison.cost_path(method)
    return Job(f"cost of {method}", path, partial(_measure, spec, path, comparison.device), alone=True)


def _measure(spec: RunSpec, path: Path, device: torch.device, *_: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(measure_apart(spec, device), indent=1) + "\n")


# --- the table


def tabulate(comparison: Comparison) -> Table:
    """Return the comparison as a table: a row a method, then a row a difference to the first method."""
    runs = {
        method: [run for run in (finished(one, comparison.runs) for one in each) if run]
        for method, each in comparison.specs().items()
    }
    costs = {method: _read(comparison.cost_path(method)) for method in runs}
    rows = [Row(method, (*_scores(mine), *_costs(costs[method]))) for method, mine in runs.items()]
    (first, reference), *others = runs.items()
    for method, mine in others:
        pairs = _paired(mine, reference)
        if len(pairs) > 1:
            cells = (difference(name, pairs) if name in DIFFERENCES else Cell() for name in SCORES)
            rows.append(Row(f"{method} less {first}", (*cells, *(Cell() for _ in COSTS))))
    columns = (*(column(name) for name in SCORES), *COSTS)
    notes = [_about(comparison), _kept(runs), _of_differences(rows, len(runs), first), *_of_costs(costs)]
    title = f"{', '.join(runs)} on {comparison.manifest.stem}"
    return Table("compare", title, "method", columns, tuple(rows), tuple(filter(None, notes)))


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _scores(runs: Sequence[Run]) -> list[Cell]:
    if not runs:
        return [Cell(needs="to be run: trainer compare"), *(Cell() for _ in SCORES[1:])]
    return [measured(name, runs) for name in SCORES]


def _costs(cost: dict[str, Any] | None) -> list[Cell]:
    """Return what a method costs, in the order of COSTS."""
    if cost is None:
        return [Cell(needs="to be measured: trainer compare"), *(Cell() for _ in COSTS[1:])]
    parameters = [Cell(mean=cost["parameters"][when] / 1e6, runs=1) for when in ("training", "inference")]
    peak = cost["peak_memory"]
    memory = Cell() if peak is None else Cell(mean=peak / 2**20, runs=1)
    return [*parameters, _repeated(cost["training"]), _repeated(cost["inference"]), memory]


def _repeated(values: Sequence[float]) -> Cell:
    """Return repeated measurements of one thing; the interval is Student's."""
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * spread / len(values) ** 0.5
    return Cell(mean=mean, spread=spread, runs=len(values), interval=(mean - half, mean + half))


def _paired(runs: Sequence[Run], others: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Return the runs of both that have fold and seed in common."""
    places = [{_place(run): run for run in each} for each in (runs, others)]
    return [(places[0][place], places[1][place]) for place in sorted(places[0].keys() & places[1].keys())]


def _place(run: Run) -> tuple[int, int]:
    config = run.read_json("config.json")
    return config["fold"], config["seed"]


# --- what a reader must know


def _about(comparison: Comparison) -> str:
    folds, seeds = folds_of(comparison.manifest, comparison.folds), comparison.seeds
    protocol = files.read_metadata(comparison.manifest)["summary"]["protocol"]
    return (
        f"Protocol {protocol}, preset {comparison.preset}, folds {', '.join(map(str, folds))}, seeds "
        f"{', '.join(map(str, seeds))}: all methods have the same faces in the same parts. E is the code that a method "
        "classifies by; identity is read from it, by the best of three probes, of people that no weight was trained on."
    )


def _kept(runs: dict[str, list[Run]]) -> str:
    """Say which weights each method was judged with; as the runs have it."""
    found = []
    for method, mine in runs.items():
        rows = [row for run in mine for row in run.metrics()]
        best = " and ".join(sorted({row["stage"] for row in rows if "validation_accuracy" in row}))
        if rows:
            found.append(f"{method}, the {f'best epoch of stage {best}' if best else 'last epoch'}")
    if not found:
        return ""
    return f"Weights that are judged: {'; '.join(found)}. The best is so by accuracy on the validation part."


def _of_differences(rows: Sequence[Row], num_methods: int, first: str) -> str:
    if len(rows) == num_methods:
        return f"Differences to {first} need two pairs of runs of one fold and seed, or more."
    return (
        "Differences are over runs of one fold and seed; their interval is that of the corrected resampled t-test, as "
        "runs share training faces."
    )


def _of_costs(costs: dict[str, dict[str, Any] | None]) -> list[str]:
    known = [cost for cost in costs.values() if cost]
    if not known:
        return []
    where = sorted({f"{cost['where']['device']}, threads: {cost['where']['threads']}" for cost in known})
    return [
        f"Costs belong to the device and its threads, here {' and '.join(where)}. Each method was measured in a "
        f"process of its own. Of images a second, runs are {REPEATS} repeats in it, the interval is Student's: it "
        "covers neither another machine nor what else this one did. Parameters are counted, memory was measured once.",
        "Training, images/s: as many images through every stage, over the time of all stages; drawing and turning "
        "batches and the steps of all optimizers, without validation and checkpoints; a pair is two images. Inference, "
        f"images/s: batches of {BATCH} to probabilities, in float32. Parameters in inference: those that probabilities "
        "depend on. Memory: the most that training takes beyond what was in use before the method was built; on the "
        "CPU, of the whole process.",
    ]
