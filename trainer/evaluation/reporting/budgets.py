"""What a training was given, and whether rows of a table were given as much: steps, faces, updates, settings tried."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from trainer.evaluation.reporting.tables import OTHER_BUDGET, Cell, Column
from trainer.runs.run import Run

TOLERANCE = 0.05
COLUMNS = tuple(
    Column(name, percent=False, decimals=0, counted=True)
    for name in ("steps", "faces seen", "optimizer updates", "settings tried", "processor seconds")
)


class Budget(NamedTuple):
    """Means over runs, in the order of COLUMNS; None: not recorded."""

    steps: float | None = None
    faces: float | None = None
    updates: float | None = None
    settings_tried: float | None = None
    processor_seconds: float | None = None


def budget_of(runs: Sequence[Run]) -> Budget:
    """Return the mean budget of runs; a number that one of them has not recorded is None."""
    return Budget(*(cell.mean for cell in cells(runs)))


def cells(runs: Sequence[Run]) -> list[Cell]:
    """Return what runs were given, in the order of COLUMNS; an empty cell where one of them has not recorded it."""
    found = [_recorded(run) for run in runs]
    return [_cell([budget.get(name) for budget in found]) for name in Budget._fields]


def _recorded(run: Run) -> dict[str, float | int]:
    """Return what a run records; processor seconds stand in its provenance, as they are not the same each time."""
    budget: dict[str, float | int] = run.read_json("scores.json").get("budget") or {}
    if not budget:
        return {}
    stages = run.read_json("provenance.json").get("budget", {}).values()
    return budget | {"processor_seconds": sum(stage["processor_seconds"] for stage in stages if stage["trains_code"])}


def _cell(values: Sequence[float | int | None]) -> Cell:
    known = [float(value) for value in values if value is not None]
    if not known or len(known) < len(values):
        return Cell()
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return Cell(mean=float(np.mean(known)), spread=spread, runs=len(known))


def differs(budget: Budget, reference: Budget) -> bool:
    """Whether a budget differs from another by more than 5 % in anything that both record; none tried is a number, too.

    Processor seconds do not count: they are the machine's, and its load's.
    """
    pairs = list(zip(budget, reference, strict=True))[:-1]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    return any(abs(one - other) > TOLERANCE * other for one, other in known)


def mark(budget: Budget, reference: Budget) -> str:
    """Return what marks a row whose budget is not that of the row it is held against; nothing where it is."""
    return f" {OTHER_BUDGET}" if differs(budget, reference) else ""


def notes(budgets: Mapping[str, Budget], differing: bool, reference: str) -> list[str]:
    """Return what a reader must know of the budgets of rows.

    Args:
        budgets: of the rows that were run, by name.
        differing: whether one of them is marked.
        reference: the row that they are held against, in words.
    """
    found = []
    if differing:
        found.append(
            f"{OTHER_BUDGET} another budget than {reference}: steps, faces seen, optimizer updates or settings tried "
            "differ by more than 5 %. What such rows differ in may be the budget's doing."
        )
    without = [name for name, budget in budgets.items() if not recorded(budget)]
    if without:
        which = "these runs" if len(without) == len(budgets) else ", ".join(without)
        found.append(f"Budgets are not recorded of {which}: trained before they were counted. They may differ.")
    return found


def recorded(budget: Budget) -> bool:
    """Whether anything of a budget is known."""
    return any(value is not None for value in budget)
