"""No number of a table has an interval that it cannot have."""

import math

import pyarrow as pa
import pytest

from manifests.parquet import atomic_parquet
from trainer.evaluation.reporting.columns import MEASURES, difference, measured
from trainer.runs.run import Run

SHARES = [name for name, measure in MEASURES.items() if measure.bounds == (0.0, 1.0) and not measure.examined]


def run_of(folder, value, area=None):
    """A run of which every share is the same."""
    probe = {"accuracy": value, "maximum": value, "chance_maximum": value}
    found = {"precision@5": value, "chance": value}
    code = {
        "identity_verification": {"matched_auc": value if area is None else area},
        "identity_within_expression": {"maximum": value, "null": value, "times_null": value},
        "person_information": {"nats": value, "null": value},
        "identity_probe": probe, "expression_probe": probe, "identity_retrieval": found, "expression_retrieval": found,
    }  # fmt: skip
    classification = dict.fromkeys(("accuracy", "macro_f1", "macro_precision", "macro_recall"), value)
    run = Run(folder)
    folder.mkdir()
    codes = dict.fromkeys(("expression", "identity", "generated"), code)
    run.write_json("scores.json", {"classification": classification, "codes": codes, "faces": {"train": 9, "test": 1}})
    run.write_json(
        "provenance.json", {"device": "cpu: x", "data": {"drawn": False, "read": {}}, "test_opened": []}
    )  # fmt: skip
    predicted = ["joy" if face < 10 * value else "fear" for face in range(10)]
    table = pa.table({"subject": ["a", "b"] * 5, "expression": ["joy"] * 10, "predicted": predicted})
    with atomic_parquet(folder / "predictions.parquet", table.schema, {}) as writer:
        writer.write_table(table)
    return run


@pytest.mark.parametrize("num", [1, 2, 3, 4])
def test_intervals_are_over_three_runs_or_over_people_and_hold_only_what_can_be(num, tmp_path):
    values = [0.0, 1.0, 0.9, 0.1][:num]  # Student's interval of these reaches far beyond shares
    runs = [run_of(tmp_path / f"run{place}", value) for place, value in enumerate(values)]
    others = [run_of(tmp_path / f"other{place}", 1 - value) for place, value in enumerate(values)]
    for name in SHARES:
        cell = measured(name, runs)
        assert (cell.interval is not None) == (num >= 3 or name == "accuracy"), name
        assert cell.interval_over == ("people" if name == "accuracy" else "runs")
        if cell.interval:
            assert 0 <= cell.interval[0] <= cell.mean <= cell.interval[1] <= 1
        less = difference(name, list(zip(runs, others, strict=True)))
        assert (less.interval is not None) == (num >= 3)
        if less.interval:
            assert -1 <= less.interval[0] <= less.mean <= less.interval[1] <= 1


def test_what_is_not_defined_of_one_run_is_an_empty_cell(tmp_path):
    runs = [run_of(tmp_path / "one", 0.5), run_of(tmp_path / "other", 0.5, math.nan)]
    assert measured("identity AUC by E", runs).mean is None
