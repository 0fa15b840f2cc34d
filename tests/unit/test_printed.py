"""Catches a printed number that was mistyped, moved to another row or unit, or lost."""

from collections import Counter
from itertools import groupby

import pytest

from trainer.evaluation.metrics.statistics import is_attainable
from trainer.experiments.papers import ITEMS
from trainer.experiments.papers.printed import Printed, every_cell, numbers

CELLS = every_cell()
DICE_FER = {  # dataset -> what the abstract and section 5 say
    "ckplus": 99.50, "oulucasia": 91.10, "rafdb": 90.30, "affectnet": 64.36,
}  # fmt: skip
SUMS = {  # of the list that was checked twice against both papers' texts
    ("dice-fer", "table1", "MIG"): 10.523,
    ("dice-fer", "table2", "accuracy"): 2039.24,
    ("dice-fer", "table3", "accuracy"): 1566.83,
    ("dice-fer", "table3", "precision"): 15.64,
    ("dice-fer", "table3", "recall"): 15.55,
    ("dice-fer", "table3", "F1"): 15.59,
    ("dice-fer", "table4", "accuracy"): 1144.91,
    ("dice-fer", "table4", "precision"): 11.45,
    ("dice-fer", "table4", "recall"): 11.42,
    ("dice-fer", "table4", "F1"): 11.431,
    ("dice-fer", "table5", "accuracy"): 783.52,
    ("dice-fer", "table5", "precision"): 7.83,
    ("dice-fer", "table5", "recall"): 7.77,
    ("dice-fer", "table5", "F1"): 7.796,
    ("dice-fer", "table6", "accuracy"): 668.87,
    ("dice-fer", "table6", "precision"): 6.74,
    ("dice-fer", "table6", "recall"): 6.6,
    ("dice-fer", "table6", "F1"): 6.668,
    ("dice-fer", "table7", "accuracy"): 909.57,
    ("if-gan", "table1", "accuracy"): 2379.72,
    ("if-gan", "table2", "accuracy"): 1117.99,
}


def sums():
    found = Counter()
    for cell in CELLS:
        found[cell.paper, cell.table, cell.metric] += cell.value or 0
    return found


def rows(paper):
    """The cells of one row: one method on one dataset."""
    key = lambda cell: (cell.table, cell.method, cell.citation, cell.train, cell.test)  # noqa: E731
    return [list(group) for _, group in groupby((cell for cell in CELLS if cell.paper == paper), key)]


def find(table, method, metric="accuracy", train=None, paper="dice-fer"):
    (cell,) = [cell for cell in numbers(paper, table) if (cell.method, cell.metric) == (method, metric)
               and train in (None, cell.train)]  # fmt: skip
    return cell


def test_every_table_has_as_many_cells_as_the_paper():
    counts = Counter((cell.paper, cell.table) for cell in CELLS)
    assert [counts["dice-fer", f"table{number}"] for number in range(1, 8)] == [24, 24, 64, 52, 36, 44, 13]
    assert (counts["if-gan", "table1"], counts["if-gan", "table2"]) == (45, 13) and len(counts) == 9
    dashes = [cell for cell in CELLS if cell.value is None]
    assert len(CELLS) - len(dashes) == 298 and len(dashes) == 17
    assert {(cell.paper, cell.table, cell.printed) for cell in dashes} == {("if-gan", "table1", "-")}


def test_a_value_is_what_its_letters_say_and_the_one_misprint_is_noted():
    unlike = [cell for cell in CELLS if cell.value is not None and float(cell.printed) != cell.value]
    assert [(cell.method, cell.metric, cell.printed, cell.value) for cell in unlike] == [
        ("DR-ALNet", "F1", "0889", 0.889)
    ]
    assert "decimal point" in unlike[0].note


def test_percent_and_shares_are_not_mixed_up():
    for cell in CELLS:
        assert cell.unit == {"accuracy": "percent", "MIG": "none"}.get(cell.metric, "share")
        if cell.value is not None:
            low, high = {"percent": (40, 100), "share": (0.5, 1), "none": (0.3, 0.6)}[cell.unit]
            assert low <= cell.value <= high, cell
            assert 0 < cell.share <= 1


def test_the_printed_f1_is_the_harmonic_mean_of_precision_and_recall_rounded_or_cut_off():
    rounded, cut = 0, 0
    for cells in rows("dice-fer"):
        found = {cell.metric: cell.value for cell in cells}
        if "F1" not in found:
            continue
        precision, recall = found["precision"], found["recall"]
        exact = 2000 * precision * recall / (precision + recall)  # in thousandths
        printed = round(1000 * found["F1"])
        assert printed in (int(exact + 0.5), int(exact + 1e-9)), cells[0]
        rounded += printed == int(exact + 0.5)
        cut += printed != int(exact + 0.5)
    assert (rounded, cut) == (34, 15)


def test_known_sums_and_single_numbers():
    assert {key: round(total, 3) for key, total in sums().items()} == SUMS
    assert find("table5", "IPD-FER").value == 88.89 and find("table5", "DR-ALNet").value == 89.34
    assert find("table3", "ADFL").value == 98.17 and find("table3", "IA-gen").value == 96.57
    assert find("table4", "DR-ALNet").value == 90.00 and find("table6", "THIN").value == 63.97
    assert find("table7", "AGILE", train="ckplus").value == 48.12
    assert find("table1", "IF-GAN", paper="if-gan", train="mmi").value == 75.48


def test_the_proposed_methods_rows_agree_between_tables():
    for number, (dataset, value) in enumerate(DICE_FER.items(), start=3):
        assert find(f"table{number}", "DICE-FER (ours)").value == value
        assert find("table2", "DICE-FER: Baseline", train=dataset).value == value
    for dataset, table in (("ckplus", "table3"), ("rafdb", "table5")):
        own = find("table1" if dataset == "ckplus" else "table2", "IF-GAN", paper="if-gan", train=dataset)
        assert find(table, "IF-GAN").value == own.value  # as DICE-FER quotes it


def test_which_accuracies_a_whole_number_of_faces_can_give():
    faces = {"ckplus": 927, "bu3dfe": 1200, "mmi": 624, "rafdb": 3068}
    own = [cell for cell in CELLS if cell.paper == "if-gan" and (cell.proposed or cell.method == "ResNet-101")]
    assert len(own) == 12
    for cell in own:
        decimals = len(cell.printed.partition(".")[2])
        assert is_attainable(cell.value, faces[cell.test], decimals), cell
    tested = {"rafdb": 3068, "affectnet": 3500}
    own = [cell for table in ("table2", "table5", "table6") for cell in numbers("dice-fer", table)
           if cell.proposed or cell.method == "ResNet-18"]  # fmt: skip
    judged = [cell for cell in own if cell.metric == "accuracy" and cell.test in tested]
    found = {(cell.test, cell.value): is_attainable(cell.value, tested[cell.test]) for cell in judged}
    assert {value for (_, value), attainable in found.items() if not attainable} == {
        90.30, 87.40, 84.89, 83.20, 64.36, 60.41, 52.95
    }  # fmt: skip
    assert found["rafdb", 87.48] and found["affectnet", 59.06]


def test_within_one_dataset_train_is_test_and_across_datasets_it_is_not():
    for cell in CELLS:
        assert (cell.train != cell.test) == (cell.paper == "dice-fer" and cell.table == "table7"), cell


def test_a_row_names_what_the_paper_says_of_it():
    assert find("table3", "DeRL").row == "ckplus: DeRL [41], 2018, image-based, 7 classes"
    assert find("table3", "IF-GAN").row.endswith("6 classes")
    assert find("table7", "gACNN").row == "rafdb on ckplus: gACNN [24]"


@pytest.mark.parametrize(
    "name", [f"dice-fer/table{number}" for number in range(1, 8)] + ["if-gan/table1", "if-gan/table2"]
)
def test_every_printed_number_stands_in_its_table(name):
    item = ITEMS[name]
    assert item.printed == numbers(*name.split("/"))
    assert {cell.measure for cell in item.printed} <= set(item.measures)
    pairs = {(cell.train, cell.test) for cell in item.printed}
    assert pairs <= {(train, test) for train in item.datasets for test in item.targets.get(train, {train: ()})}
    own = {cell.method for cell in item.printed if cell.proposed and cell.method != "DICE-FER: Ideal E_M"}
    assert own <= {variant.printed_as for variant in item.variants}


def test_a_cell_without_a_number_has_no_share():
    dash = next(cell for cell in CELLS if cell.value is None)
    assert isinstance(dash, Printed)
    with pytest.raises(AssertionError, match="Center Loss has no accuracy"):
        _ = dash.share
