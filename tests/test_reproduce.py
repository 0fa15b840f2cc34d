import dataclasses
import shutil

import numpy as np
import pytest
from small_runs import CPU, silent

from fertools.datasets.protocols import PROTOCOLS
from manifests import files
from trainer.errors import TrainerError
from trainer.evaluation.reporting import tables
from trainer.evaluation.reporting.columns import MEASURES, measured
from trainer.experiments import price, reproduce
from trainer.experiments.figures import FIGURES
from trainer.experiments.papers import ITEMS
from trainer.experiments.papers.item import Item, Variant
from trainer.methods import METHODS
from trainer.runs.run import Run

SMALL = {
    "dicefer": {"width": 4, "code_size": 8, "batch_size": 12, "critic_width": 8,
                "epochs_expression": 1, "epochs_identity": 1, "epochs_classifier": 1},
    "resnet": {"width": 4, "code_size": 8, "batch_size": 12, "epochs": 1},
    "ifgan": {"size": 32, "width": 4, "discriminator_width": 4, "classifier_width": 4, "batch_size": 12, "epochs": 1},
    "resnet_island": {"width": 4, "batch_size": 12, "epochs": 1},
}  # fmt: skip


def copy(manifest, to):
    """A manifest and its pairs under another name."""
    to.parent.mkdir(exist_ok=True)
    for place in (lambda path: path, files.pairs_path):
        shutil.copy(place(manifest), place(to))


@pytest.fixture
def grid(patterns, tmp_path, monkeypatch):
    """Bright squares under CK+'s and London's names, and a preset that takes a second."""
    for name in ("ckplus", "folder"):
        copy(patterns, tmp_path / f"{name}.parquet")
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
    before = price.outline("paper/table", ITEM, grid)
    assert (before["jobs"], before["missing"], before["seconds"], before["absent"]) == (4, 4, None, ["rafdb"])
    reproduce.jobs(ITEM, grid)[0].work(silent)
    after = price.outline("paper/table", ITEM, grid)
    assert after["missing"] == 3 and after["seconds"] > 0


def test_an_unknown_item_is_refused_with_all_that_are_known():
    with pytest.raises(TrainerError, match="no table or figure 'dice-fer/table9'; known: dice-fer/table1, .*fig6"):
        reproduce.find(["dice-fer/table9"])
    assert list(reproduce.find(["dice-fer", "if-gan"])) == list(ITEMS)
    assert list(reproduce.find(["if-gan"])) == [f"if-gan/{name}" for name in ("table1", "table2", "fig5", "fig6")]


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_measures_what_is_known_and_prints_rows_and_shares(name):
    item = ITEMS[name]
    assert set(item.measures) <= set(MEASURES) and item.figure in (None, *FIGURES)
    for dataset in (*item.datasets, *(target for targets in item.targets.values() for target in targets)):
        assert {PROTOCOLS[name].dataset for name in item.protocols[dataset]} == {dataset}
    for (row, dataset, measure), value in item.printed.items():
        assert dataset in item.datasets and measure in item.measures and 0 < value < 1 and row


@pytest.mark.parametrize("name", ["dice-fer/fig3", "dice-fer/fig4", "dice-fer/fig5", "if-gan/fig5"])
def test_a_figure_is_drawn_from_its_runs(name, grid, tmp_path):
    item = ITEMS[name]
    item = dataclasses.replace(item, variants=item.variants[:1] + item.variants[-1:], protocols={})
    one = dataclasses.replace(grid, folds=(1,))
    run_all(item, one)
    reproduce.write(name, item, one, tmp_path / "out")
    picture = (tmp_path / "out" / f"{name}.svg").read_text()
    assert picture.startswith("<svg") and len(picture) > 5000


def test_the_first_protocol_of_a_table_is_its_papers_own():
    for name, item in ITEMS.items():
        paper = {"dice-fer": "dice_", "if-gan": "ifgan_"}[name.split("/")[0]]
        assert all(protocols[0].startswith(paper) for protocols in item.protocols.values())


def test_faces_of_another_protocol_are_not_run_and_the_command_for_the_right_ones_is_told(grid):
    item = dataclasses.replace(ITEM, protocols={"ckplus": ("ifgan_ckplus",), "rafdb": ("ifgan_rafdb", "dice_rafdb")})
    assert reproduce.jobs(item, grid) == []
    text = tables.to_markdown(reproduce.tabulate("paper/table", item, grid)).replace("\\", "")
    assert "not run" in text and "ckplus.parquet, which was prepared with protocol all" in text
    assert "fertools prepare ckplus --protocol ifgan_ckplus" in text
    assert "fertools prepare rafdb --protocol ifgan_rafdb" in text
    told = price.outline_text(price.outline("paper/table", item, grid))
    assert "absent: ckplus (prepared with all, not ifgan_ckplus), rafdb" in told
    any_of_two = dataclasses.replace(item, protocols={"ckplus": ("ifgan_ckplus", "all")})
    assert len(reproduce.jobs(any_of_two, grid)) == 4


def test_a_target_of_another_protocol_is_not_judged_on(grid):
    item = dataclasses.replace(
        ITEM, datasets=("ckplus",), targets={"ckplus": {"folder": ("anger", "fear")}},
        protocols={"folder": ("another",)}, measures=("accuracy",), printed={},
    )  # fmt: skip
    assert reproduce.jobs(item, grid) == []


def test_a_run_of_another_manifest_is_not_taken_for_this_ones(grid):
    other = Run(grid.runs / "ckplus-dicefer-tiny-fold02-seed0")
    other.folder.mkdir(parents=True)
    other.write_json("scores.json", {})
    other.write_json("provenance.json", {"data": {"manifest_sha256": "0" * 64}})
    for look in (reproduce.jobs, lambda *args: reproduce.tabulate("paper/table", *args)):
        with pytest.raises(TrainerError, match=r"was trained on another ckplus.parquet; delete it, or choose other"):
            look(ITEM, grid)


def test_an_official_split_has_one_fold_whatever_folds_are_asked_of_others(grid, patterns):
    metadata = files.read_metadata(patterns)
    metadata["folds"] |= {"num_folds": 1, "by": "official"}
    files.write([files.read(patterns, images=True)], grid.manifests / "rafdb.parquet", metadata)
    folds = {cast.dataset: [spec.fold for spec in cast.specs] for cast in reproduce.casts(ITEM, grid)}
    assert folds == {"ckplus": [1, 2], "rafdb": [1]}


def test_what_a_method_has_not_or_faces_do_not_define_is_an_empty_cell(tmp_path):
    """A ResNet makes no picture; where nobody is named, nobody can be recognised."""
    run = Run(tmp_path)
    run.write_json("scores.json", {"codes": {"expression": {"identity_probe": {"maximum": float("nan")}}}})
    assert measured("identity from G(I)", [run]) == measured("identity from E", [run]) == tables.Cell()
