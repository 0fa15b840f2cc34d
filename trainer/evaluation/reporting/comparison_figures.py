"""Runs side by side as pictures: a dot a run, and by how much groups of runs differ."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

matplotlib.use("svg")  # no display
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

Key = tuple[int, int]  # fold, seed
LINE = 34  # letters of a label
COLOURS = matplotlib.colormaps["tab10"]


def dots(title: str, groups: Mapping[str, Mapping[Key, float]], chance: float | None = None) -> Figure:
    """Return a dot a run, groups side by side; a line joins runs of one fold and seed, a bar is the mean.

    Args:
        title: what the numbers are.
        groups: name -> (fold, seed) -> number.
        chance: to be drawn as a dotted line.
    """
    figure, axis = plt.subplots(figsize=(max(3.4, 1.1 + 1.15 * len(groups)), 3.4), layout="constrained")
    names = list(groups)
    seeds = sorted({seed for runs in groups.values() for _, seed in runs})
    for left, (first, second) in enumerate(zip(names, names[1:], strict=False)):
        for key in groups[first].keys() & groups[second].keys():
            values = [groups[first][key], groups[second][key]]
            axis.plot([left, left + 1], values, color="0.75", linewidth=0.8, zorder=1)
    for position, name in enumerate(names):
        for seed in seeds:
            values = [value for (_, own), value in groups[name].items() if own == seed]
            label = f"seed {seed}" if position == 0 else None
            axis.scatter(
                [position] * len(values), values, s=22, color=COLOURS(seeds.index(seed) % 10), label=label, zorder=2
            )
        mean = float(np.mean(list(groups[name].values())))
        axis.hlines(mean, position - 0.22, position + 0.22, color="black", linewidth=1.8, zorder=3)
    if chance is not None:
        axis.axhline(chance, color="grey", linestyle=":", label="chance")
    axis.set(title=title, xlim=(-0.5, len(names) - 0.5))
    axis.set_xticks(range(len(names)), ["\n".join(textwrap.wrap(name, 16)) for name in names], fontsize=8)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=7)
    return figure


def forest(rows: Sequence[tuple[str, dict[str, Any]]]) -> Figure:
    """Return differences with their 95 % intervals, a row each; a row without an interval is a bare dot.

    Args:
        rows: name and {mean, interval (two numbers, or None)}, top to bottom.
    """
    names = [_wrapped(name) for name, _ in rows]
    lines = sum(1 + name.count("\n") for name in names)
    figure, axis = plt.subplots(figsize=(5.4, 0.9 + 0.18 * lines), layout="constrained")
    for position, (_, found) in enumerate(rows):
        interval = found.get("interval")
        excludes = interval is not None and not interval[0] <= 0 <= interval[1]
        colour = "tab:blue" if excludes else "0.35"
        if interval is not None:
            axis.hlines(position, *interval, color=colour, linewidth=2)
        axis.plot(found["mean"], position, "o", color=colour, markersize=5, fillstyle="full" if interval else "none")
    axis.axvline(0, color="black", linewidth=0.8)
    _label_rows(axis, names, np.array([found["mean"] for _, found in rows]))
    return figure


def _wrapped(name: str) -> str:
    """Return a name in lines that leave room for what it names."""
    return "\n".join(part for line in name.split("\n") for part in textwrap.wrap(line, LINE))


def _label_rows(axis: Axes, names: Sequence[str], means: NDArray[np.float64]) -> None:
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.margins(x=0.08)
    low, high = axis.get_xlim()
    reach = max(abs(low), abs(high), 0.01, float(np.abs(means).max(initial=0)))
    axis.set_xlim(-reach, reach)
    axis.set_xlabel("difference: left of 0, the first has less; right, more")
    axis.grid(axis="x", alpha=0.3)
