"""Catches a comparison of trainings that were not given as much, without a word."""

from trainer.evaluation.reporting.budgets import COLUMNS, Budget, budget_of, cells, differs, mark, notes
from trainer.evaluation.reporting.tables import OTHER_BUDGET, Cell
from trainer.runs.run import Run

EQUAL = {"steps": 4650, "faces": 144_600, "updates": 9300, "processor_seconds": 300.0, "settings_tried": 8}


class Scored(Run):
    """A run of two stages, of which the first trains the code; only its budget is read."""

    def __init__(self, budget):
        stages = {"expression": 1, "classifier": 0}
        seconds = {} if budget is None else {"processor_seconds": budget.pop("processor_seconds")}
        self.files = {
            "scores.json": {"budget": budget},
            "provenance.json": {"budget": {stage: seconds | {"trains_code": code} for stage, code in stages.items()}},
        }

    def read_json(self, name):
        return self.files[name]


def budget(**changed):
    return budget_of([Scored(EQUAL | changed)])


def test_five_percent_are_alike_more_are_not():
    assert not differs(budget(steps=4650 * 1.05), budget()) and differs(budget(steps=4650 * 1.051), budget())
    assert differs(budget(faces=72_300), budget()) and differs(budget(updates=2400), budget())
    assert differs(budget(settings_tried=33), budget(settings_tried=3))
    assert differs(budget(settings_tried=33), budget(settings_tried=0))  # none tried is not the same as not recorded


def test_processor_seconds_are_the_machines_and_mark_nothing():
    assert mark(budget(processor_seconds=900.0), budget()) == ""
    assert mark(budget(steps=2400), budget()) == f" {OTHER_BUDGET}"


def test_a_budget_is_the_mean_over_runs_and_empty_where_one_has_not_recorded_it():
    both = [Scored(EQUAL | {}), Scored(EQUAL | {"steps": 4652})]
    assert budget_of(both).processor_seconds == 300
    assert budget_of(both).steps == 4651 and len(cells(both)) == len(COLUMNS)
    assert cells([*both, Scored(None)]) == [Cell()] * len(COLUMNS) and budget_of([]) == Budget()


def test_notes_name_what_differs_and_what_is_not_recorded():
    told = notes({"a": budget(), "b": budget(steps=1), "c": Budget()}, True, "a")
    assert "another budget than a" in told[0] and "not recorded of c:" in told[1]
    assert notes({"a": Budget()}, False, "a") == [
        "Budgets are not recorded of these runs: trained before they were counted. They may differ."
    ]
    assert notes({"a": budget()}, False, "a") == []
