"""A dot a run, lines between runs of one fold and seed, differences with the intervals they have."""

import numpy as np

from trainer.evaluation.reporting import comparison_figures, drawing


def test_every_run_is_a_dot_and_runs_of_one_fold_and_seed_are_joined():
    groups = {
        "first": {(1, 0): 0.5, (2, 0): 0.7, (1, 1): 0.6},
        "second": {(1, 0): 0.8, (2, 0): 0.4},
        "third": {(3, 0): 0.9},
    }
    axis = comparison_figures.dots("accuracy", groups, chance=0.5).axes[0]
    dots = [tuple(point) for shown in axis.collections for point in getattr(shown, "get_offsets", list)()]
    expected = [(value, row) for row, runs in enumerate(groups.values()) for value in runs.values()]
    assert sorted(dot for dot in dots if dot != (0, 0)) == sorted(expected)
    joined = {tuple(line.get_xdata()) for line in axis.lines if len(set(line.get_ydata()) & {0, 1, 2}) == 2}
    assert joined == {(0.5, 0.8), (0.7, 0.4), (0.5, 0.5)}  # the last is chance


def test_a_difference_without_an_interval_is_a_ring_and_one_that_leaves_out_zero_is_coloured():
    rows = [
        ("sure", {"mean": 0.3, "interval": [0.1, 0.5]}),
        ("unsure", {"mean": 0.1, "interval": [-0.2, 0.4]}),
        ("few", {"mean": -0.1}),
    ]
    axis = comparison_figures.forest("accuracy", "baseline", rows).axes[0]
    marks = {line.get_ydata()[0]: line for line in axis.lines if line.get_marker() == "o"}
    assert [marks[row].get_color() for row in range(3)] == [drawing.ACCENT, drawing.QUIET, drawing.QUIET]
    assert [marks[row].get_fillstyle() for row in range(3)] == ["full", "full", "none"]
    spans = [np.array(shown.get_segments())[0, :, 0].tolist() for shown in axis.collections]
    assert spans == [[0.1, 0.5], [-0.2, 0.4]] and axis.get_xlabel() == "less baseline"
