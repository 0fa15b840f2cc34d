import dataclasses
import json

import numpy as np
import pytest
from html_pages import check_page
from small_runs import CPU, silent

from trainer.errors import TrainerError
from trainer.evaluation.reporting import tables
from trainer.experiments import compare
from trainer.methods import find_presets
from trainer.runs.run import Run

COST = {
    "where": {"device": "cpu: slow", "threads": 2}, "parameters": {"training": 3_000_000, "inference": 1_000_000},
    "stages": {}, "training": [10.0, 12.0, 11.0, 10.0, 12.0], "inference": [100.0] * 5, "peak_memory": 3 * 2**20,
}  # fmt: skip


@pytest.fixture
def comparison(patterns, tmp_path, monkeypatch):
    """Two quick methods, and costs that are made up."""
    for name in ("resnet", "resnet_island"):
        tiny = dataclasses.replace(find_presets(name)["demo"], width=4, batch_size=12, epochs=1)
        monkeypatch.setitem(find_presets(name), "tiny", tiny)
    measured = []
    monkeypatch.setattr(compare, "measure_in_subprocess", lambda spec, _: measured.append(spec.method) or COST)
    return compare.Comparison(
        manifest=patterns, methods=("resnet", "resnet_island"), preset="tiny", folds=(1, 2), seeds=(0,),
        runs=tmp_path / "runs", device=CPU,
    )  # fmt: skip


def run_all(comparison):
    for job in compare.jobs(comparison):
        if not job.done:
            job.work(silent)


def cells(table, row):
    (found,) = [row_.cells for row_ in table.rows if row_.name == row]
    return dict(zip([column.name for column in table.columns], found, strict=True))


def test_methods_are_compared_on_the_same_faces_and_each_is_run_and_measured_once(comparison, tmp_path):
    first = compare.jobs(comparison)
    assert len(first) == 6 and not any(job.done for job in first)
    run_all(comparison)
    assert all(job.done for job in compare.jobs(comparison))
    names = [spec.name() for specs in comparison.specs().values() for spec in specs]
    parts = [Run(comparison.runs / name).read_json("provenance.json")["data"]["read"]["faces"] for name in names]
    assert len(set(parts)) == 1
    table = compare.tabulate(comparison)
    assert [row.name for row in table.rows] == ["resnet", "resnet_island", "resnet_island less resnet"]
    accuracies = {
        method: np.array([Run(comparison.runs / one.name()).value("scores.json", "classification", "accuracy")
                          for one in each]) for method, each in comparison.specs().items()
    }  # fmt: skip
    less = cells(table, "resnet_island less resnet")["accuracy"]
    gain = accuracies["resnet_island"] - accuracies["resnet"]
    assert less.mean == pytest.approx(gain.mean()) and less.runs == 2 and less.drawn
    empty = {
        column.name for row in table.rows[:2] for column, cell in zip(table.columns, row.cells, strict=True)
        if cell.mean is None
    }  # fmt: skip
    assert empty == {"settings tried"}  # of a made-up preset
    assert cells(table, "resnet")["accuracy"].mean == pytest.approx(accuracies["resnet"].mean())
    assert cells(table, "resnet_island less resnet")["null of identity, within an expression"] == tables.Cell()
    assert compare.write(comparison, tmp_path) == table
    assert {path.suffix for path in tmp_path.glob("compare.*")} == {".json", ".md", ".html", ".tex"}
    assert tables.from_json((tmp_path / "compare.json").read_text()) == table
    page = (tmp_path / "compare.html").read_text()
    shown = check_page(page).alternatives
    assert [words.partition(" of each run")[0] for words in shown[:2]] == ["accuracy", "identity told apart by E, AUC"]
    assert len(shown) == 6 and all("less that of resnet: resnet_island" in words for words in shown[2:])
    assert all("no interval" in words for words in shown[2:])  # of two pairs there is none
    assert all(f'href="runs/{name}/report.html"' in page for name in names)


def test_a_single_pair_is_not_compared(comparison):
    table = compare.tabulate(dataclasses.replace(comparison, folds=(1,)))
    assert [row.name for row in table.rows] == ["resnet", "resnet_island"]
    assert any("Differences to resnet need at least two pairs of runs" in note for note in table.notes)


def test_the_note_names_which_weights_each_method_was_judged_with(comparison):
    chosen = {"resnet": {"validation_accuracy": 0.5}, "resnet_island": {}}
    for method, (spec, _) in comparison.specs().items():
        run = Run(comparison.runs / spec.name())
        run.folder.mkdir(parents=True)
        run.write_text("metrics.jsonl", json.dumps({"stage": "classifier", "epoch": 0} | chosen[method]) + "\n")
    runs = {method: [Run(comparison.runs / specs[0].name())] for method, specs in comparison.specs().items()}
    assert "resnet, the best epoch of stage classifier; resnet_island, the last epoch." in compare._selection(runs)


def test_costs_show_repeats_spread_device_and_threads(comparison):
    for job in compare.jobs(comparison)[:2]:
        job.work(silent)
    table = compare.tabulate(comparison)
    found = cells(table, "resnet")
    assert found["accuracy"].needs == "to be run: trainer compare"
    rate = found["training, images/s"]
    assert (rate.mean, rate.spread, rate.runs) == (11.0, pytest.approx(1.0), 5)
    assert rate.interval == pytest.approx((11 - 2.776 / 5**0.5, 11 + 2.776 / 5**0.5), abs=1e-3)  # t, 4 degrees
    assert found["peak memory in training (MiB)"].mean == 3
    assert found["parameters in training (M)"].mean == 3 and found["parameters in inference (M)"].mean == 1
    assert any("cpu: slow, threads: 2" in note for note in table.notes)


def test_nothing_run_is_a_table_that_says_so(comparison):
    text = tables.to_markdown(compare.tabulate(comparison))
    assert text.count("to be run: trainer compare") == text.count("to be measured: trainer compare") == 2
    assert not comparison.runs.exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"preset": "joint"}, "no preset 'joint' of resnet; known: paper, default, demo"),
        ({"methods": ("resnet", "gan")}, "no method 'gan'"),
        ({"methods": ("resnet", "resnet")}, "a comparison is of two methods or more"),
        ({"methods": ()}, "methods none, 1 seeds"),
        ({"seeds": ()}, "0 seeds"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(changed, words, comparison):
    with pytest.raises(TrainerError, match=words) as refused:
        compare.jobs(dataclasses.replace(comparison, **changed))
    assert "\n" not in str(refused.value)


def test_a_cost_belongs_to_its_device(comparison):
    compare.jobs(comparison)[0].work(silent)
    (path,) = (comparison.runs / "costs").iterdir()
    assert json.loads(path.read_text()) == COST and "cpu" in path.name and path.name.endswith("threads.json")
