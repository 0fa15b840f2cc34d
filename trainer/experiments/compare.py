"""Comparison of methods on the same folds and seeds of one manifest: accuracy, identity leakage, throughput."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manifests import files
from trainer.errors import TrainerError
from trainer.evaluation.reporting.columns import column, difference, measured
from trainer.evaluation.reporting.tables import Cell, Column, Row, Table
from trainer.experiments.jobs import finished, folds_of, training
from trainer.experiments.throughput import BATCH, REPEATS, device_slug, measure_in_subprocess
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
    """The specification of a comparison."""

    manifest: Path
    methods: tuple[str, ...]
    preset: str
    folds: tuple[int, ...]  # empty: all
    seeds: tuple[int, ...]
    runs: Path
    device: torch.device

    def specs(self) -> dict[str, list[RunSpec]]:
        """Return the runs of each method: the same folds and seeds, in the same order.

        Raises:
            ConfigError: unknown method or preset.
            TrainerError: fewer than two methods, or no seed.
        """
        if len(set(self.methods)) < 2 or not self.seeds:
            raise TrainerError(
                f"methods {', '.join(self.methods) or 'none'}, {len(self.seeds)} seeds: a comparison is of two methods "
                "or more, with a seed or more"
            )
        specs = {}
        for method in self.methods:
            specs[method] = [
                RunSpec(
                    manifest=self.manifest, method=method, preset=self.preset, settings=(), epochs=None, fold=fold,
                    seed=seed,
                )
                for fold in folds_of(self.manifest, self.folds) for seed in self.seeds
            ]  # fmt: skip
            specs[method][0].config()
        return specs

    def cost_path(self, method: str) -> Path:
        """Return the file of a method's throughput on this device."""
        return self.runs / "costs" / f"{self.manifest.stem}-{method}-{self.preset}-{device_slug(self.device)}.json"


def jobs(comparison: Comparison) -> list[Job]:
    """Return the jobs of a comparison, in order, done or not."""
    specs = comparison.specs()
    runs = [training(spec, comparison.runs, comparison.device) for each in specs.values() for spec in each]
    return [*(_cost(comparison, method, each[0]) for method, each in specs.items()), *runs]


def _cost(comparison: Comparison, method: str, spec: RunSpec) -> Job:
    path = comparison.cost_path(method)
    return Job(f"cost of {method}", path, partial(_measure, spec, path, comparison.device), alone=True)


def _measure(spec: RunSpec, path: Path, device: torch.device, *_: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(measure_in_subprocess(spec, device), indent=1) + "\n")


# --- the table


def tabulate(comparison: Comparison) -> Table:
    """Return the comparison as a table: one row per method, then one per difference to the first method."""
    runs = {
        method: [run for run in (finished(spec, comparison.runs) for spec in specs) if run]
        for method, specs in comparison.specs().items()
    }
    costs = {method: _read(comparison.cost_path(method)) for method in runs}
    rows = [Row(method, (*_scores(own), *_costs(costs[method]))) for method, own in runs.items()]
    (first, reference), *others = runs.items()
    for method, own in others:
        pairs = _paired(own, reference)
        if len(pairs) > 1:
            cells = (difference(name, pairs) if name in DIFFERENCES else Cell() for name in SCORES)
            rows.append(Row(f"{method} less {first}", (*cells, *(Cell() for _ in COSTS))))
    columns = (*(column(name) for name in SCORES), *COSTS)
    notes = [_protocol(comparison), _selection(runs), _differences(rows, len(runs), first), *_notes_on_costs(costs)]
    title = f"{', '.join(runs)} on {comparison.manifest.stem}"
    return Table("compare", title, "method", columns, tuple(rows), tuple(filter(None, notes)))


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _scores(runs: Sequence[Run]) -> list[Cell]:
    if not runs:
        return [Cell(needs="to be run: trainer compare"), *(Cell() for _ in SCORES[1:])]
    return [measured(name, runs) for name in SCORES]


def _costs(cost: dict[str, Any] | None) -> list[Cell]:
    """Return a method's cells, in the order of COSTS."""
    if cost is None:
        return [Cell(needs="to be measured: trainer compare"), *(Cell() for _ in COSTS[1:])]
    parameters = [Cell(mean=cost["parameters"][when] / 1e6, runs=1) for when in ("training", "inference")]
    peak = cost["peak_memory"]
    memory = Cell() if peak is None else Cell(mean=peak / 2**20, runs=1)
    return [*parameters, _repeated(cost["training"]), _repeated(cost["inference"]), memory]


def _repeated(values: Sequence[float]) -> Cell:
    """Return the mean of repeated measurements; the interval is Student's."""
    from scipy import stats

    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * spread / len(values) ** 0.5
    return Cell(mean=mean, spread=spread, runs=len(values), interval=(mean - half, mean + half))


def _paired(runs: Sequence[Run], others: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Return the pairs of runs that have fold and seed in common."""
    first, second = ({_fold_and_seed(run): run for run in each} for each in (runs, others))
    return [(first[key], second[key]) for key in sorted(first.keys() & second.keys())]


def _fold_and_seed(run: Run) -> tuple[int, int]:
    config = run.read_json("config.json")
    return config["fold"], config["seed"]


# --- notes


def _protocol(comparison: Comparison) -> str:
    folds, seeds = folds_of(comparison.manifest, comparison.folds), comparison.seeds
    protocol = files.read_metadata(comparison.manifest)["summary"]["protocol"]
    return (
        f"Protocol {protocol}, preset {comparison.preset}, folds {', '.join(map(str, folds))}, seeds "
        f"{', '.join(map(str, seeds))}: all methods have the same faces in the same parts. E is the code that a method "
        "classifies by; identity is read from it by the best of three probes, on people that no weight was trained on."
    )


def _selection(runs: dict[str, list[Run]]) -> str:
    """Say of which epoch each method's evaluated weights are, as its runs have logged it."""
    epochs = []
    for method, own in runs.items():
        rows = [row for run in own for row in run.metrics()]
        best = " and ".join(sorted({row["stage"] for row in rows if "validation_accuracy" in row}))
        if rows:
            epochs.append(f"{method}, the {f'best epoch of stage {best}' if best else 'last epoch'}")
    if not epochs:
        return ""
    return f"Weights that are evaluated: {'; '.join(epochs)}. The best is that of highest validation accuracy."


def _differences(rows: Sequence[Row], num_methods: int, first: str) -> str:
    if len(rows) == num_methods:
        return f"Differences to {first} need at least two pairs of runs with the same fold and seed."
    return (
        "Differences are between runs with the same fold and seed; their interval is that of the corrected resampled "
        "t-test, as runs share training faces."
    )


def _notes_on_costs(costs: dict[str, dict[str, Any] | None]) -> list[str]:
    known = [cost for cost in costs.values() if cost]
    if not known:
        return []
    where = sorted({f"{cost['where']['device']}, threads: {cost['where']['threads']}" for cost in known})
    return [
        f"Costs are those of one device with its threads, here {' and '.join(where)}. Each method was measured in a "
        f"process of its own. Of images/s, runs are {REPEATS} repeats in that process; the interval is Student's, and "
        "covers neither other machines nor other load on this one. Parameters are counted, memory was measured once.",
        "Training, images/s: as many images through every stage, over the time of all stages; loading and augmenting "
        "batches and the steps of all optimizers, without validation and checkpoints; a pair is two images. Inference, "
        f"images/s: batches of {BATCH} to probabilities, in float32. Parameters in inference: those that probabilities "
        "depend on. Memory: the peak of training beyond what was in use before the method was built; on the CPU, of "
        "the process.",
    ]
