"""Runs side by side as pictures: a dot a run, and by how much groups of runs differ."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.evaluation.reporting.drawing import ACCENT, COLOURS, LINE, MARKERS, QUIET, TEXT, WIDTH, pyplot

Key = tuple[int, int]  # fold, seed
LETTERS = 17  # of a line of a label


def dots(title: str, groups: Mapping[str, Mapping[Key, float]], chance: float | None = None) -> Any:
    """Return a dot a run, a row a group; a line joins runs of one fold and seed, a bar is the mean.

    Args:
        title: what the numbers are.
        groups: name -> (fold, seed) -> number.
        chance: to be drawn as a dotted line.
    """
    names = list(groups)
    figure, axis = pyplot().subplots(figsize=(WIDTH, 1.1 + 0.5 * len(names)), layout="constrained")
    seeds = sorted({seed for runs in groups.values() for _, seed in runs})
    for above, (first, second) in enumerate(zip(names, names[1:], strict=False)):
        for key in groups[first].keys() & groups[second].keys():
            axis.plot([groups[first][key], groups[second][key]], [above, above + 1], color=LINE, linewidth=1, zorder=1)
    for position, name in enumerate(names):
        for number, seed in enumerate(seeds):
            values = [value for (_, own), value in groups[name].items() if own == seed]
            label = f"seed {seed}" if position == 0 else None
            style = {"color": COLOURS[number % 8], "marker": MARKERS[number % 8], "label": label}
            axis.scatter(values, [position] * len(values), s=22, alpha=0.9, linewidths=0, zorder=2, **style)
        mean = float(np.mean(list(groups[name].values())))
        axis.vlines(mean, position - 0.25, position + 0.25, color=TEXT, linewidth=1.8, zorder=3)
    if chance is not None:
        axis.axvline(chance, color=QUIET, linestyle=":", label="chance")
    _rows(axis, title, names)
    if chance is not None or len(seeds) > 1:
        figure.legend(loc="outside lower center", ncols=4, handletextpad=0.2, columnspacing=1)
    return figure


def forest(title: str, reference: str, rows: Sequence[tuple[str, dict[str, Any]]]) -> Any:
    """Return differences to a reference with their 95 % intervals, a row each; one without is a bare ring.

    Args:
        title: what differs.
        reference: what it differs from.
        rows: name and {mean, interval (two numbers, or None)}, top to bottom.
    """
    figure, axis = pyplot().subplots(figsize=(WIDTH, 1.0 + 0.42 * len(rows)), layout="constrained")
    reach = 0.01
    for position, (_, found) in enumerate(rows):
        interval = found.get("interval")
        excludes = interval is not None and not interval[0] <= 0 <= interval[1]
        colour = ACCENT if excludes else QUIET
        if interval is not None:
            axis.hlines(position, *interval, color=colour, linewidth=2)
        axis.plot(found["mean"], position, "o", color=colour, markersize=6, fillstyle="full" if interval else "none")
        reach = max(reach, *map(abs, (found["mean"], *(interval or ()))))
    axis.axvline(0, color=TEXT, linewidth=0.8)
    _rows(axis, title, [name for name, _ in rows])
    axis.set(xlim=(-1.08 * reach, 1.08 * reach), xlabel="\n".join(textwrap.wrap(f"less {reference}", 44)))
    return figure


def _rows(axis: Any, title: str, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), ["\n".join(textwrap.wrap(name, LETTERS)) for name in names], fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_title(title, loc="left")
    axis.locator_params(axis="x", nbins=5)
    axis.grid(axis="x", alpha=0.6)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
