import dataclasses

import numpy as np
import pytest
from html_pages import check_page
from manifest_files import copy_manifest
from small_runs import CPU, silent

from fertools.datasets.protocols import CROSS_DATASET, PROTOCOLS
from manifests import files
from trainer.errors import TrainerError
from trainer.evaluation.reporting import tables
from trainer.evaluation.reporting.columns import MEASURES, measured
from trainer.experiments import estimate, paper_tables, reproduce
from trainer.experiments.figures import FIGURES, row_percentages
from trainer.experiments.papers import ITEMS
from trainer.experiments.papers.item import Item, Variant
from trainer.experiments.papers.printed import Printed
from trainer.experiments.starts import Start
from trainer.methods import find_presets
from trainer.runs.run import Run

SMALL = {
    "dicefer": {"width": 4, "code_size": 8, "batch_size": 12, "critic_width": 8,
                "epochs_expression": 1, "epochs_identity": 1, "epochs_classifier": 1},
    "resnet": {"width": 4, "code_size": 8, "batch_size": 12, "epochs": 1},
    "ifgan": {"size": 32, "width": 4, "discriminator_width": 4, "classifier_width": 4, "batch_size": 12, "epochs": 1},
    "resnet_island": {"width": 4, "batch_size": 12, "epochs": 1},
}  # fmt: skip


@pytest.fixture
def grid(patterns, tmp_path, monkeypatch):
    """Bright squares under CK+'s and London's names, and a preset that takes a second."""
    for name in ("ckplus", "folder"):
        copy_manifest(patterns, tmp_path / f"{name}.parquet")
    for name, settings in SMALL.items():
        tiny = dataclasses.replace(find_presets(name)["demo"], **settings)
        monkeypatch.setitem(find_presets(name), "tiny", tiny)
    return reproduce.Grid(
        manifests=tmp_path, runs=tmp_path / "runs", preset="tiny", folds=(1, 2), seeds=(0,), device=CPU
    )


def run_all(item, grid):
    for job in reproduce.jobs(item, grid):
        if not job.done:
            job.work(silent)


def printed(method, dataset, value, test=None):
    return Printed(
        paper="dice-fer", table="table", method=method, citation="4", year="2019", setting="", classes=7, train=dataset,
        test=test or dataset, metric="accuracy", printed=f"{value:.2f}", unit="percent", value=value, proposed=False,
        note="",
    )  # fmt: skip


PLAIN, BRANCH = (
    Variant(title="plain", printed_as="Plain"),
    Variant(title="weighed", settings=("adversarial_weight=1",), branch="identity"),
)
ITEM = Item(
    title="A table", variants=(PLAIN, BRANCH), datasets=("ckplus", "rafdb"), measures=("accuracy", "identity from E"),
    printed=(printed("Plain", "ckplus", 99.5), printed("Plain", "rafdb", 90.3), printed("Another", "ckplus", 98.0)),
)  # fmt: skip


def test_a_table_runs_what_is_missing_once_and_sets_printed_beside_measured(grid, tmp_path):
    jobs = reproduce.jobs(ITEM, grid)
    assert len(jobs) == 4 and not any(job.done for job in jobs)  # the plain runs are the branches' bases
    run_all(ITEM, grid)
    assert all(job.done for job in reproduce.jobs(ITEM, grid))
    branch = Run(grid.runs / "ckplus-dicefer-tiny-adversarial_weight=1-fold01-seed0")
    assert {row["stage"] for row in branch.metrics()} == {"identity", "classifier"}
    table = paper_tables.write("dice-fer/table1", ITEM, grid, tmp_path / "out")
    rows = {row.name: row.cells for row in table.rows}
    another = "ckplus: Another [4], 2019, 7 classes"
    assert set(rows) == {"ckplus: plain", "ckplus: weighed", "rafdb: plain", "rafdb: weighed", another}
    found = rows["ckplus: plain"][0]
    accuracies = [Run(grid.runs / f"ckplus-dicefer-tiny-fold0{fold}-seed0").read_json("scores.json")
                  ["classification"]["accuracy"] for fold in (1, 2)]  # fmt: skip
    assert found.mean == pytest.approx(np.mean(accuracies)) and found.runs == 2
    assert (found.printed, found.drawn, found.verdict) == (0.995, True, "not comparable: drawn faces")
    assert found.interval_over == "people" and 0 <= found.interval[0] <= found.mean <= found.interval[1] <= 1
    assert rows["ckplus: plain"][1].mean is not None and rows["ckplus: plain"][1].interval is None  # of two runs
    absent = rows["rafdb: plain"][0]
    assert absent.mean is None and "a licensed copy of rafdb" in absent.needs
    assert rows[another][0].printed == 0.98 and rows[another][0].quoted
    written = {path.suffix for path in (tmp_path / "out" / "dice-fer").iterdir()}
    assert written == {".json", ".md", ".tex"}
    assert tables.from_json((tmp_path / "out" / "dice-fer" / "table1.json").read_text()) == table
    page = (tmp_path / "out" / "dice-fer.html").read_text()
    check_page(page)
    assert "<title>DICE-FER" in page and "Not run here: 2 rows" in page
    assert page.index("ckplus: plain") < page.index("<summary>Not run here") < page.index("rafdb: plain")
    assert "printed 99.50" in page and "dice-fer/table1: 2 of 4 rows run, on drawn faces" in page
    assert table.made["runs"]["number"] == 4 and table.made["code"] and table.made["options"]["folds"] == "1,2"
    assert all(table.made[name] for name in ("date", "processor", "threads"))
    assert "Encoders start at random: no pre-trained weights." in table.notes[0]


def test_nothing_run_is_a_table_that_says_what_is_needed(grid):
    text = tables.to_markdown(paper_tables.tabulate("paper/table", ITEM, grid))
    assert "to be run: trainer reproduce" in text and "a licensed copy of rafdb" in text


def test_across_datasets_both_are_cut_to_what_they_share(grid):
    item = dataclasses.replace(
        ITEM, variants=(PLAIN,), datasets=("ckplus",), measures=("accuracy", "macro recall"), printed=(),
        targets={"ckplus": {"folder": ("anger", "fear")}},
    )  # fmt: skip
    run_all(item, grid)
    (row,) = paper_tables.tabulate("paper/across", item, grid).rows
    assert row.name == "ckplus on folder: plain" and row.cells[0].runs == 2
    run = Run(grid.runs / "ckplus-dicefer-tiny-anger+fear-fold01-seed0")
    assert run.read_json("scores-on-folder.json")["faces"] == 32  # of 48, a third of which is happiness
    with pytest.raises(TrainerError, match="was trained on ckplus; its own test fold judges it"):
        reproduce.judge_elsewhere(run, *reproduce.load(run, grid.manifests, CPU), grid.manifests / "ckplus.parquet")


def test_a_dataset_that_is_left_out_is_not_run(grid):
    left_out = dataclasses.replace(grid, datasets=("rafdb",))
    assert reproduce.jobs(ITEM, left_out) == []
    text = tables.to_markdown(paper_tables.tabulate("paper/table", ITEM, left_out))
    assert "to be run: trainer reproduce" in text and "copy of ckplus" not in text


def test_an_outline_counts_what_is_left_and_what_is_absent(grid):
    before = estimate.outline("paper/table", ITEM, grid)
    assert (before["jobs"], before["missing"], before["seconds"], before["absent"]) == (4, 4, None, ["rafdb"])
    reproduce.jobs(ITEM, grid)[0].work(silent)
    after = estimate.outline("paper/table", ITEM, grid)
    assert after["missing"] == 3 and after["seconds"] > 0


def test_an_unknown_item_is_refused_with_all_that_are_known():
    with pytest.raises(TrainerError, match="no table or figure 'dice-fer/table9'; known: dice-fer/table1, .*fig6"):
        reproduce.find(["dice-fer/table9"])
    assert list(reproduce.find(["dice-fer", "if-gan"])) == list(ITEMS)
    assert list(reproduce.find(["if-gan"])) == [f"if-gan/{name}" for name in ("table1", "table2", "fig5", "fig6")]


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_measures_what_is_known_of_faces_that_its_protocols_give(name):
    item = ITEMS[name]
    assert set(item.measures) <= set(MEASURES) and item.figure in (None, *FIGURES)
    for dataset in (*item.datasets, *(target for targets in item.targets.values() for target in targets)):
        assert {PROTOCOLS[name].dataset for name in item.protocols[dataset]} == {dataset}


@pytest.mark.parametrize("name", ["dice-fer/fig3", "dice-fer/fig4", "dice-fer/fig5", "dice-fer/tsne", "if-gan/fig5"])
def test_a_figure_is_drawn_from_its_runs(name, grid, tmp_path):
    item = ITEMS[name]
    item = dataclasses.replace(item, variants=item.variants[:1] + item.variants[-1:], protocols={})
    one = dataclasses.replace(grid, folds=(1,))
    run_all(item, one)
    paper_tables.write(name, item, one, tmp_path / "out")
    picture = (tmp_path / "out" / f"{name}.svg").read_text()
    assert picture.startswith("<svg") and len(picture) > 5000 and "Written on" in picture
    page = check_page((tmp_path / "out" / f"{name.partition('/')[0]}.html").read_text())
    assert page.tags.count("svg") == 1 and page.alternatives[0].startswith(item.title)


def test_the_first_protocol_of_a_table_is_its_papers_own():
    for name, item in ITEMS.items():
        paper = {"dice-fer": "dice_", "if-gan": "ifgan_"}[name.split("/")[0]]
        assert all(protocols[0].startswith(paper) for protocols in item.protocols.values())


def test_faces_of_another_protocol_are_not_run_and_the_command_for_the_right_ones_is_told(grid):
    item = dataclasses.replace(ITEM, protocols={"ckplus": ("ifgan_ckplus",), "rafdb": ("ifgan_rafdb", "dice_rafdb")})
    assert reproduce.jobs(item, grid) == []
    text = tables.to_markdown(paper_tables.tabulate("paper/table", item, grid)).replace("\\", "")
    assert "not run" in text and "ckplus.parquet, which was prepared with protocol all" in text
    assert "fertools prepare ckplus --protocol ifgan_ckplus" in text
    assert "fertools prepare rafdb --protocol ifgan_rafdb" in text
    told = estimate.outline_text(estimate.outline("paper/table", item, grid))
    assert "absent: ckplus (prepared with all, not ifgan_ckplus), rafdb" in told
    any_of_two = dataclasses.replace(item, protocols={"ckplus": ("ifgan_ckplus", "all")})
    assert len(reproduce.jobs(any_of_two, grid)) == 4


def test_a_target_of_another_protocol_is_not_judged_on(grid):
    item = dataclasses.replace(
        ITEM, datasets=("ckplus",), targets={"ckplus": {"folder": ("anger", "fear")}},
        protocols={"folder": ("another",)}, measures=("accuracy",), printed=(),
    )  # fmt: skip
    assert reproduce.jobs(item, grid) == []


def test_a_run_of_another_manifest_is_not_taken_for_this_ones(grid):
    other = Run(grid.runs / "ckplus-dicefer-tiny-fold02-seed0")
    other.folder.mkdir(parents=True)
    other.write_json("scores.json", {})
    other.write_json("provenance.json", {"data": {"read": {"faces": "0" * 64}}})
    for look in (reproduce.jobs, lambda *args: paper_tables.tabulate("paper/table", *args)):
        with pytest.raises(TrainerError, match=r"was trained on another ckplus.parquet: faces, .* differ; delete it"):
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


def test_table_7_and_the_protocols_say_the_same_of_what_two_datasets_share():
    item, known = ITEMS["dice-fer/table7"], {}
    for pair in CROSS_DATASET:
        train, test = PROTOCOLS[pair.train], PROTOCOLS[pair.test]
        assert item.protocols[train.dataset][0] == pair.train and item.protocols[test.dataset] == (pair.test,)
        known.setdefault(train.dataset, {})[test.dataset] = pair.expressions
    assert item.targets == known
    assert {train: len(shared["ckplus"]) for train, shared in known.items() if "ckplus" in shared} == {
        "oulucasia": 6, "rafdb": 7, "affectnet": 7,
    }  # fmt: skip


def test_what_encoders_start_from_is_in_every_run_and_in_the_table(grid):
    started = dataclasses.replace(grid, start=Start(encoder_weights="resnet18"))
    assert {job.spec.encoder_weights for job in reproduce.jobs(ITEM, started)} == {"resnet18"}
    table = paper_tables.tabulate("dice-fer/table1", ITEM, started)
    assert "Encoders start from resnet18." in table.notes[0] and table.made["options"]["encoder-weights"] == "resnet18"
    scratch = paper_tables.tabulate("dice-fer/table1", ITEM, dataclasses.replace(grid, start=Start(from_scratch=True)))
    assert "Encoders start at random (--from-scratch)" in scratch.notes[0]


def test_percentages_of_a_confusion_matrix_are_of_the_true_class():
    counts = np.array([[3, 1], [0, 0]])
    assert np.array_equal(row_percentages(counts), [[75, 25], [np.nan, np.nan]], equal_nan=True)
