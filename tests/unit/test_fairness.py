"""Catches a gap between groups of people that is not found, one that is claimed of chance, and groups that are lost."""

import numpy as np
import pytest

from trainer.evaluation.metrics import statistics
from trainer.evaluation.metrics.fairness import CLAIMED, age_groups, fairness, gaps
from trainer.evaluation.reporting.fairness_rows import fairness_rows, over_runs, over_runs_text

EXPRESSIONS = np.array(["anger", "fear", "happiness"])


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS", 100)


def predictions(seed, gap=0.0, num_people=60, faces=10):
    """Faces of people of two groups, right for 0.85 of one and less by a gap of the other; some people are easier."""
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(num_people), faces)
    groups = np.where(people % 2, "female", "male")
    truth = rng.choice(EXPRESSIONS, len(people))
    easier = rng.normal(0, 0.05, num_people)[people]
    right = rng.random(len(people)) < 0.85 - gap * (groups == "female") + easier
    wrong = EXPRESSIONS[(np.searchsorted(EXPRESSIONS, truth) + 1) % 3]
    return truth, np.where(right, truth, wrong), people, groups


def test_the_gaps_are_fairlearns_by_hand():
    """40 and 40 faces: accuracy 36/40 and 26/40; anger is read for 18/20 and 10/20, fear for 18/20 and 16/20."""
    truth = np.tile(np.repeat(["anger", "fear"], 20), 2)
    right = np.concatenate([np.arange(20) < num for num in (18, 18, 10, 16)])
    predicted = np.where(right, truth, "happiness")
    groups = np.repeat(["a", "b"], 40)
    found = fairness(truth, predicted, np.arange(80), groups)
    assert found["groups"]["a"]["accuracy"] == found["groups"]["a"]["macro_recall"] == pytest.approx(0.9)
    assert found["groups"]["b"]["accuracy"] == pytest.approx(26 / 40)
    told = found["gaps"]
    assert told["accuracy"]["gap"] == told["macro_recall"]["gap"] == pytest.approx(0.25)
    assert told["equal_opportunity"]["gap"] == pytest.approx(0.4)
    assert told["equal_opportunity"]["expression"] == "anger"
    assert {(one["highest"], one["lowest"]) for one in told.values()} == {("a", "b")}


def test_a_planted_gap_of_a_fifth_is_found():
    for seed in range(5):
        told = gaps(*predictions(seed, gap=0.2))
        assert {one["p"] < CLAIMED for one in told.values()} == {True}
        assert told["accuracy"]["gap"] == pytest.approx(0.2, abs=0.08) and told["accuracy"]["lowest"] == "female"


def test_no_gap_is_claimed_where_there_is_none():
    told = [gaps(*predictions(seed, num_people=40)) for seed in range(100)]
    for what in ("accuracy", "macro_recall", "equal_opportunity"):
        assert sum(one[what]["p"] < CLAIMED for one in told) <= 5
        assert 0.4 < np.mean([one[what]["p"] for one in told]) < 0.7  # about uniform; ties make it larger


def test_people_keep_their_faces_so_that_one_person_makes_no_group_worse():
    """The trap: faces of one person are no independent evidence."""
    people = np.repeat(np.arange(8), 40)
    groups = np.where(people < 4, "a", "b")
    truth = np.tile(EXPRESSIONS[:2], 160)
    predicted = np.where(people == 7, "surprise", truth)
    told = gaps(truth, predicted, people, groups)
    assert told["accuracy"]["gap"] == 0.25 and told["accuracy"]["p"] == 1


def test_small_groups_are_shown_and_no_gap_is_told_of_them():
    truth, predicted, people, groups = predictions(0, num_people=12)
    groups = np.where(people == 0, "unsure", groups).astype(object)
    groups[people == 1] = None
    found = fairness(truth, predicted, people, groups)
    assert {name: one["faces"] for name, one in found["groups"].items()} == {"female": 50, "male": 50, "unsure": 10}
    assert found["unknown"] == 10 and found["groups"]["unsure"]["accuracy_interval"] is None
    assert found["gaps"]["accuracy"]["lowest"] != "unsure" != found["gaps"]["accuracy"]["highest"]
    assert fairness(truth, predicted, people, np.full(len(truth), "all"))["gaps"] is None


def test_other_shares_of_expressions_are_no_gap_of_recall():
    """Every anger is right and every fear wrong, in both groups; one shows more anger."""
    truth = np.array(["anger"] * 80 + ["fear"] * 20 + ["anger"] * 20 + ["fear"] * 80)
    told = gaps(truth, np.full(200, "anger"), np.arange(200), np.repeat(["a", "b"], 100))
    assert told["accuracy"]["gap"] == pytest.approx(0.6)
    assert told["macro_recall"]["gap"] == told["equal_opportunity"]["gap"] == 0


def test_years_are_grouped_and_ranges_stay():
    ages = np.array(["3", "4", "39", "70", "101", "20-39", None], object)
    assert age_groups(ages).tolist() == ["0-3", "4-19", "20-39", "70+", "70+", "20-39", None]


# --- what is shown of them


def test_a_report_names_the_gap_whose_it_is_and_whether_it_is_more_than_chance():
    shown = {
        name: against for name, _, against in fairness_rows({"gender": fairness(*predictions(0, gap=0.3))}, "people")
    }
    assert "male less female; people permuted: p 0.001, more than chance" in shown["largest gap of accuracy, gender"]
    assert " for " in shown["equal opportunity difference, gender"]
    none = {
        name: against
        for name, _, against in fairness_rows({"gender": fairness(*predictions(0, num_people=8))}, "people")
    }
    assert "no more than chance" in none["largest gap of macro recall, gender"]
    assert "300 faces; 95 % over people 0." in shown["accuracy, gender female"]


def test_means_over_runs_are_of_the_runs_that_know_the_group():
    known = [{"gender": fairness(*predictions(seed, gap=0.3))} for seed in range(2)]
    means = over_runs([*known, {}])
    male = means["gender"]["groups"]["male"]
    assert male["runs"] == 2 and male["accuracy"] == pytest.approx(
        np.mean([one["gender"]["groups"]["male"]["accuracy"] for one in known])
    )
    assert means["gender"]["gaps"]["accuracy"]["claimed"] == 2 and over_runs([{}]) == {}
    text = over_runs_text("set resnet", means)
    assert "more than chance (p < 0.01) in 2 of 2 runs" in text and "2 runs of 300 faces" in text
