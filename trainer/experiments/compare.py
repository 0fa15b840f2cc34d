"""Comparison of methods on the same folds and seeds of one manifest: accuracy, identity leakage, throughput."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manifests import files, schema
from trainer.errors import TrainerError
from trainer.evaluation.reporting import budgets
from trainer.evaluation.reporting.columns import column, difference, measured
from trainer.evaluation.reporting.comparison import comparisons, paired
from trainer.evaluation.reporting.comparison_page import page
from trainer.evaluation.reporting.tables import FEWEST_RUNS, Cell, Column, Row, Table, to_html, write_forms
from trainer.experiments.jobs import finished, folds_of, training
from trainer.experiments.starts import RANDOM_START, Start
from trainer.experiments.throughput import BATCH, REPEATS, device_slug, measure_in_subprocess
from trainer.experiments.workers import Job
from trainer.runs.atomic import write_whole
from trainer.runs.made_by import made_by
from trainer.runs.run import Run
from trainer.training.fit import RunSpec

SCORES = (
    "accuracy", "identity AUC by E", "identity from E, within an expression", "null of identity, within an expression",
    "I(E; person | expression)", "macro F1",
)  # fmt: skip
DIFFERENCES = tuple(name for name in SCORES if not name.startswith("null"))
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
    start: Start = RANDOM_START

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
                self.start.of(RunSpec(
                    manifest=self.manifest, method=method, preset=self.preset, settings=(), epochs=None, fold=fold,
                    seed=seed,
                ))
                for fold in folds_of(self.manifest, self.folds) for seed in self.seeds
            ]  # fmt: skip
            specs[method][0].config()
        return specs

    def options(self) -> dict[str, object]:
        """Return what was asked for, by the names of the command's options."""
        return {
            "methods": self.methods, "dataset": self.manifest.stem, "preset": self.preset, "folds": self.folds,
            "seeds": self.seeds, "encoder-weights": self.start.encoder_weights, "from-scratch": self.start.from_scratch,
        }  # fmt: skip

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
    write_whole(path, json.dumps(measure_in_subprocess(spec, device), indent=1) + "\n")


# --- the table


def finished_runs(comparison: Comparison) -> dict[str, list[Run]]:
    """Return the runs of each method that are trained and judged."""
    return {
        method: [run for run in (finished(spec, comparison.runs) for spec in specs) if run]
        for method, specs in comparison.specs().items()
    }


def tabulate(comparison: Comparison) -> Table:
    """Return the comparison as a table: a row a method, then a row a difference to the first method."""
    runs = finished_runs(comparison)
    costs = {method: _read(comparison.cost_path(method)) for method in runs}
    budgeted = {method: budgets.budget_of(own) for method, own in runs.items()}
    (first, reference), *others = runs.items()
    marks = {method: budgets.mark(budget, budgeted[first]) for method, budget in budgeted.items()}
    rows = [
        Row(method + marks[method], (*_scores(own), *budgets.cells(own), *_costs(costs[method])))
        for method, own in runs.items()
    ]
    empty = (Cell(),) * (len(budgets.COLUMNS) + len(COSTS))
    for method, own in others:
        pairs = paired(own, reference)
        if len(pairs) > 1:
            cells = (difference(name, pairs) if name in DIFFERENCES else Cell() for name in SCORES)
            rows.append(Row(f"{method} less {first}{marks[method]}", (*cells, *empty)))
    columns = (*(column(name) for name in SCORES), *budgets.COLUMNS, *COSTS)
    notes = (
        _protocol(comparison), comparison.start.sentence(), _selection(runs), _differences(rows, len(runs), first),
        *budgets.notes({name: budgeted[name] for name, own in runs.items() if own}, any(marks.values()), first),
        *_notes_on_costs(costs),
    )  # fmt: skip
    made = made_by(comparison.options(), [run.read_json("provenance.json") for own in runs.values() for run in own])
    title = f"{', '.join(runs)} on {comparison.manifest.stem}"
    return Table("compare", title, "method", columns, tuple(rows), tuple(filter(None, notes)), made)


def write(comparison: Comparison, out: Path) -> Table:
    """Write a comparison as JSON, Markdown, LaTeX and a page with pictures and links to the runs; return its table."""
    table, runs = tabulate(comparison), {method: each for method, each in finished_runs(comparison).items() if each}
    write_forms(table, out)
    compared = comparisons([run for each in runs.values() for run in each])
    write_whole(out / "compare.html", page(table.title, runs, compared, to_html(table), out))
    return table


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
    """Return the mean of repeated measurements; the interval is Student's, of three or more."""
    from scipy import stats

    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
    if spread is None or len(values) < FEWEST_RUNS:
        return Cell(mean=mean, spread=spread, runs=len(values))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * spread / len(values) ** 0.5
    return Cell(mean=mean, spread=spread, runs=len(values), interval=(mean - half, mean + half))


# --- notes


def _protocol(comparison: Comparison) -> str:
    folds, seeds = folds_of(comparison.manifest, comparison.folds), comparison.seeds
    protocol = files.read_metadata(comparison.manifest, schema.PREPARED)["summary"]["protocol"]
    return (
        f"Protocol {protocol}, preset {comparison.preset}, folds {', '.join(map(str, folds))}, seeds "
        f"{', '.join(map(str, seeds))}: all methods have the same faces in the same parts. E is the code that a method "
        "classifies by; identity is read from it by the best of three probes within an expression, on people that no "
        "weight was trained on; its null permutes people within an expression. I(E; person | expression) is a lower "
        "bound, in nats; AUC is that of pairs of one expression, chance 0.5."
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
        "t-test, as runs share training faces. Two pairs have none."
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
