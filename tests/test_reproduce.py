import dataclasses
import shutil

import numpy as np
import pytest
from small_runs import CPU, silent

from trainer import reproduce, tables
from trainer.errors import TrainerError
from trainer.methods import METHODS
from trainer.papers import ITEMS
from trainer.papers.item import Item, Variant
from trainer.run import Run

SMALL = {
    "dicefer": {"width": 4, "code_size": 8, "batch_size": 12, "critic_width": 8,
                "epochs_expression": 1, "epochs_identity": 1, "epochs_classifier": 1},
    "resnet": {"width": 4, "code_size": 8, "batch_size": 12, "epochs": 1},
}  # fmt: skip


@pytest.fixture
def grid(patterns, tmp_path, monkeypatch):
    """Bright squares under CK+'s and London's names, and a preset that takes a second."""
    for name in ("ckplus", "folder"):
        shutil.copy(patterns, tmp_path / f"{name}.parquet")
        shutil.copy(patterns.with_name("set.pairs.parquet"), tmp_path / f"{name}.pairs.parquet")
    for name, settings in SMALL.items():
        tiny = dataclasses.replace(METHODS[name].PRESETS["demo"], **settings)
        monkeypatch.setitem(METHODS[name].PRESETS, "tiny", tiny)
    return reproduce.Grid(
        manifests=tmp_path, runs=tmp_path / "runs", preset="tiny", folds=(1, 2), seeds=(0,), device=CPU
    )


def run_all(item, grid):
    for job in reproduce.jobs(item, grid):
        if not job.done:
            job.work(silent)


PLAIN, BRANCH = Variant(title="plain"), Variant(title="weighed", settings=("adversarial_weight=1",), branch="identity")
ITEM = Item(
    title="A table", variants=(PLAIN, BRANCH), datasets=("ckplus", "rafdb"), measures=("accuracy", "identity from E"),
    printed={("plain", "ckplus", "accuracy"): 0.995, ("plain", "rafdb", "accuracy"): 0.903,
             ("Another", "ckplus", "accuracy"): 0.98},
)  # fmt: skip


def test_a_table_runs_what_is_missing_once_and_sets_printed_beside_measured(grid, tmp_path):
    jobs = reproduce.jobs(ITEM, grid)
    assert len(jobs) == 4 and not any(job.done for job in jobs)  # the plain runs are the branches' bases
    run_all(ITEM, grid)
    assert all(job.done for job in reproduce.jobs(ITEM, grid))
    branch = Run(grid.runs / "ckplus-dicefer-tiny-adversarial_weight=1-fold01-seed0")
    assert {row["stage"] for row in branch.metrics()} == {"identity", "classifier"}
    table = reproduce.write("paper/table", ITEM, grid, tmp_path / "out")
    rows = {row.name: row.cells for row in table.rows}
    assert set(rows) == {"ckplus: plain", "ckplus: weighed", "rafdb: plain", "rafdb: weighed", "ckplus: Another"}
    found = rows["ckplus: plain"][0]
    accuracies = [Run(grid.runs / f"ckplus-dicefer-tiny-fold0{fold}-seed0").read_json("scores.json")
                  ["classification"]["accuracy"] for fold in (1, 2)]  # fmt: skip
    assert found.mean == pytest.approx(np.mean(accuracies)) and found.runs == 2
    assert (found.printed, found.drawn, found.verdict) == (0.995, True, "not comparable: drawn faces")
    assert found.interval[0] <= found.mean <= found.interval[1]
    absent = rows["rafdb: plain"][0]
    assert absent.mean is None and "a licensed copy of rafdb" in absent.needs
    assert rows["ckplus: Another"][0].printed == 0.98
    written = {path.suffix for path in (tmp_path / "out" / "paper").iterdir()}
    assert written == {".json", ".md", ".html", ".tex"}
    assert tables.from_json((tmp_path / "out" / "paper" / "table.json").read_text()) == table


def test_nothing_run_is_a_table_that_says_what_is_needed(grid):
    text = tables.to_markdown(reproduce.tabulate("paper/table", ITEM, grid))
    assert "to be run: trainer reproduce" in text and "a licensed copy of rafdb" in text


def test_across_datasets_both_are_cut_to_what_they_share(grid):
    item = dataclasses.replace(
        ITEM, variants=(PLAIN,), datasets=("ckplus",), measures=("accuracy", "macro recall"), printed={},
        targets={"ckplus": {"folder": ("anger", "fear")}},
    )  # fmt: skip
    run_all(item, grid)
    (row,) = reproduce.tabulate("paper/across", item, grid).rows
    assert row.name == "ckplus on folder: plain" and row.cells[0].runs == 2
    run = Run(grid.runs / "ckplus-dicefer-tiny-anger+fear-fold01-seed0")
    assert run.read_json("scores-on-folder.json")["faces"] == 32  # of 48, a third of which is happiness
    with pytest.raises(TrainerError, match="was trained on ckplus; its own test fold judges it"):
        reproduce.judge_elsewhere(run, *reproduce.load(run, grid.manifests, CPU), grid.manifests / "ckplus.parquet")


def test_a_dataset_that_is_left_out_is_not_run(grid):
    left_out = dataclasses.replace(grid, datasets=("rafdb",))
    assert reproduce.jobs(ITEM, left_out) == []
    text = tables.to_markdown(reproduce.tabulate("paper/table", ITEM, left_out))
    assert "to be run: trainer reproduce" in text and "copy of ckplus" not in text


def test_an_outline_counts_what_is_left_and_what_is_absent(grid):
    before = reproduce.outline("paper/table", ITEM, grid)
    assert (before["jobs"], before["missing"], before["seconds"], before["absent"]) == (4, 4, None, ["rafdb"])
    reproduce.jobs(ITEM, grid)[0].work(silent)
    after = reproduce.outline("paper/table", ITEM, grid)
    assert after["missing"] == 3 and after["seconds"] > 0


def test_an_unknown_item_is_refused_with_all_that_are_known():
    with pytest.raises(TrainerError, match="no table or figure 'dice-fer/table9'; known: dice-fer/table1, .*fig5"):
        reproduce.find(["dice-fer/table9"])
    assert list(reproduce.find(["dice-fer"])) == list(ITEMS)


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_measures_what_is_known_and_prints_rows_and_shares(name):
    item = ITEMS[name]
    assert set(item.measures) <= set(reproduce.MEASURES)
    for (row, dataset, measure), value in item.printed.items():
        assert dataset in item.datasets and measure in item.measures and 0 < value < 1 and row


@pytest.mark.parametrize("name", ["fig3", "fig4", "fig5"])
def test_a_figure_is_drawn_from_its_runs(name, grid, tmp_path):
    item = ITEMS[f"dice-fer/{name}"]
    item = dataclasses.replace(item, variants=item.variants[:1] + item.variants[-1:])
    one = dataclasses.replace(grid, folds=(1,))
    run_all(item, one)
    reproduce.write(name, item, one, tmp_path / "out")
    picture = (tmp_path / "out" / f"{name}.svg").read_text()
    assert picture.startswith("<svg") and len(picture) > 5000
