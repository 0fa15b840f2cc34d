"""The page of several runs: a dot a run, what differs, what each was given, and links to the runs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from trainer.evaluation.reporting import comparison, tables
from trainer.evaluation.reporting.budgets import COLUMNS, Budget, budget_of, cells, mark, notes
from trainer.evaluation.reporting.columns import FEWEST_RUNS
from trainer.evaluation.reporting.comparison_figures import dots, forest
from trainer.evaluation.reporting.drawing import svg
from trainer.evaluation.reporting.pages import data_uri, render
from trainer.runs.atomic import write_whole
from trainer.runs.made_by import made_by
from trainer.runs.run import Run

# --- budgets


def budget_marks(groups: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """Return the mark of each group whose budget is not that of the first group of its dataset; else nothing."""
    references: dict[str, Budget] = {}
    found = {}
    for name, runs in groups.items():
        budget = budget_of(runs)
        found[name] = mark(budget, references.setdefault(name.split()[0], budget))
    return found


def budget_table(groups: Mapping[str, Sequence[Run]]) -> tables.Table:
    """Return what each group was given in training: a row a group, marked where it is not that of the first."""
    budgets, marks = {name: budget_of(runs) for name, runs in groups.items()}, budget_marks(groups)
    rows = tuple(tables.Row(name + marks[name], tuple(cells(runs))) for name, runs in groups.items())
    below = tuple(notes(budgets, any(marks.values()), "the first row of its dataset"))
    return tables.Table("budgets", "What each was given in training", "runs", COLUMNS, rows, below)


# --- the page


def write(runs: Sequence[Run], path: Path) -> str:
    """Write a page with the table of several runs and what differs; return both as text."""
    groups, members = comparison.table(runs), comparison.groups_of(runs)
    compared = comparison.comparisons(runs)
    marks = budget_marks(members)
    for group in groups:
        group["runs"] += marks[group["runs"]]
    texts = [*map(comparison.comparison_text, compared), *comparison.by_group_texts(runs)]
    texts += [*comparison.cautions(runs), *budget_table(members).notes]
    keys = list(dict.fromkeys(key for group in groups for key in group["mean"]))
    fragment = render(Path(__file__).with_name("group_table.html"), groups=groups, keys=keys, cell=comparison.cell_text)
    write_whole(path, page("Runs compared", members, compared, fragment, path.parent))
    return "\n\n".join([comparison.markdown(groups), *texts])


def page(
    title: str, groups: Mapping[str, Sequence[Run]], compared: Sequence[dict[str, Any]], table_html: str, folder: Path
) -> str:
    """Return a page: a dot a run, what differs with its interval, a table, budgets, and links to the runs.

    Args:
        title: of the page.
        groups: runs that differ in fold and seed only, by name.
        compared: as `comparisons` returns them.
        table_html: a fragment.
        folder: that the page is written to, for its links.
    """
    every_run = [run for runs in groups.values() for run in runs]
    provenances = [run.read_json("provenance.json") for run in every_run]
    drawn = any(provenance.get("data", {}).get("drawn") for provenance in provenances)
    links = {
        name: [(run.folder.name, os.path.relpath(run.folder / "report.html", folder)) for run in runs]
        for name, runs in groups.items()
    }
    return render(
        Path(__file__).with_name("comparison.html"), title=title, drawn=drawn, dots=_dots(groups),
        forest=_forest(compared), table=table_html, budgets=tables.to_html(budget_table(groups)),
        by_group=comparison.by_group_texts(every_run),
        comparisons=[*map(comparison.comparison_text, compared), *comparison.cautions(every_run)],
        links=links, made=tables.made_text(made_by({}, provenances)), fewest=FEWEST_RUNS,
    )  # fmt: skip


def _dots(groups: Mapping[str, Sequence[Run]]) -> list[tuple[str, str]]:
    """Return a name and a picture of each score that all runs have."""
    found = []
    for what, path in comparison.COMPARED.items():
        values = {name: _by_key(runs, path) for name, runs in groups.items()}
        if values and all(np.isfinite(value) for runs in values.values() for value in runs.values()):
            chance = 0.5 if path[-1] == "matched_auc" else None
            found.append((what, _picture(dots(what, values, chance))))
    return found


def _by_key(runs: Sequence[Run], path: Sequence[str]) -> dict[tuple[int, int], float]:
    """Return a score of each run, by fold and seed."""
    return {comparison.fold_and_seed(run): run.value("scores.json", *path) for run in runs}


def _forest(compared: Sequence[dict[str, Any]]) -> str:
    """Return a picture of all differences that are defined, by score; nothing where there are none."""
    rows = [
        (f"{what}:\n{' less '.join(_without_common_words(one['first'], one['second']))}", one["differences"][what])
        for what in comparison.COMPARED for one in compared if np.isfinite(one["differences"][what]["mean"])
    ]  # fmt: skip
    return _picture(forest(rows)) if rows else ""


def _without_common_words(first: str, second: str) -> tuple[str, str]:
    """Return two names of runs without the words that both have."""
    common = set(first.split()) & set(second.split())
    kept = [" ".join(word for word in name.split() if word not in common) for name in (first, second)]
    return kept[0] or first, kept[1] or second


def _picture(figure: Figure) -> str:
    return data_uri(svg(figure).encode(), "image/svg+xml")
