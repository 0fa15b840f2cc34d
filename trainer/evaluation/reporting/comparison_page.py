"""The page of several runs: a dot a run, what differs, what each was given, and links to the runs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from trainer.evaluation.reporting import comparison, tables
from trainer.evaluation.reporting.budgets import COLUMNS, Budget, budget_of, cells, mark, notes
from trainer.evaluation.reporting.comparison import COMPARED
from trainer.evaluation.reporting.comparison_figures import dots, forest
from trainer.evaluation.reporting.drawing import inline, svg
from trainer.evaluation.reporting.pages import render
from trainer.runs.atomic import write_whole
from trainer.runs.made_by import made_by
from trainer.runs.run import Run

Groups = Mapping[str, Sequence[Run]]  # that differ in fold and seed only, by name
DOTTED = ("accuracy", "identity told apart by E, AUC")

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
    links = {name: [(run.folder.name, _address(run, folder)) for run in runs] for name, runs in groups.items()}
    of_datasets = _by_dataset(groups)
    undefined = [what for what in COMPARED if not all(_defined(own, what) for own in of_datasets.values())]
    return render(
        Path(__file__).with_name("comparison.html"), title=title, drawn=drawn, num_runs=len(every_run),
        dots=[figure for own in of_datasets.values() for figure in _dots(own)],
        forests=[figure for own in of_datasets.values() for figure in _forests(own)], undefined=undefined,
        table=table_html, budgets=tables.to_html(budget_table(groups)), by_group=comparison.by_group_texts(every_run),
        comparisons=[*map(comparison.comparison_text, compared), *comparison.cautions(every_run)],
        links=links, made=tables.made_text(made_by({}, provenances)), fewest=tables.FEWEST_RUNS,
    )  # fmt: skip


def _address(run: Run, folder: Path) -> str:
    """Return where a run's page is, as seen from a folder."""
    return quote(Path(os.path.relpath(run.folder / "report.html", folder)).as_posix(), safe="/=+,")


def _by_dataset(groups: Groups) -> dict[str, Groups]:
    """Return groups by the dataset that they were trained on."""
    found: dict[str, dict[str, Sequence[Run]]] = {}
    for name, runs in groups.items():
        if runs:
            found.setdefault(runs[0].read_json("config.json")["dataset"], {})[name] = runs
    return dict(found)


def _defined(groups: Groups, what: str) -> bool:
    return all(np.isfinite(value) for runs in groups.values() for value in _by_key(runs, COMPARED[what]).values())


def _dots(groups: Groups) -> list[tuple[str, str]]:
    """Return the dots of each score to be shown that all runs have, with words."""
    found = []
    for what in (what for what in DOTTED if _defined(groups, what)):
        values = {name: _by_key(runs, COMPARED[what]) for name, runs in _short(groups).items()}
        chance = 0.5 if "AUC" in what else None
        means = ", ".join(f"{name} {np.mean(list(own.values())):.3f}" for name, own in values.items())
        found.append((f"{what} of each run; means: {means}", svg(dots(what, values, chance))))
    return [(words, inline(picture, words)) for words, picture in found]


def _by_key(runs: Sequence[Run], path: Sequence[str]) -> dict[tuple[int, int], float]:
    """Return a score of each run, by fold and seed."""
    return {comparison.fold_and_seed(run): run.value("scores.json", *path) for run in runs}


def _forests(groups: Groups) -> list[tuple[str, str]]:
    """Return by how much groups differ from the first, a figure a score, with words; nothing of one group alone."""
    (first, reference), *others = _short(groups).items()
    pairs = {name: comparison.paired(runs, reference) for name, runs in others}
    differences = {name: comparison.differences(own) for name, own in pairs.items() if own}
    found = []
    for what in (what for what in COMPARED if differences and _defined(groups, what)):
        rows = [(name, own[what]) for name, own in differences.items()]
        words = f"{what}, less that of {first}: {'; '.join(f'{name} {_told(own)}' for name, own in rows)}"
        found.append((words, inline(svg(forest(what, first, rows)), words)))
    return found


def _told(difference: dict[str, Any]) -> str:
    interval = difference.get("interval")
    bounds = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ", no interval"
    return f"{difference['mean']:+.3f}{bounds}".replace("-", "\u2212")


def _short(groups: Groups) -> Groups:
    """Return groups by their names without the words that all have."""
    common = set[str].intersection(*(set(name.split()) for name in groups)) if len(groups) > 1 else set[str]()
    return {
        " ".join(word for word in name.split() if word not in common) or name: runs for name, runs in groups.items()
    }
