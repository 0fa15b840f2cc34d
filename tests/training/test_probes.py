import numpy as np
import pytest
from representations import PEOPLE, codes_of, expressions, sequences, subjects

from trainer.evaluation.metrics.probes import expression_probe, factor_probe, identity_probe, verification
from trainer.evaluation.metrics.retrieval import retrieval


@pytest.fixture(scope="module", autouse=True)
def quick_judging():
    """The probes themselves, as they are."""


def test_an_ideal_code_shows_its_factor_and_hides_the_other():
    expression, identity = codes_of(expressions, 0.1), codes_of(subjects, 0.1)
    assert expression_probe(expression[:48], expressions[:48], expression[48:], expressions[48:])["accuracy"] == 1
    assert identity_probe(identity, subjects, expressions, sequences)["accuracy"] == 1
    read = identity_probe(expression, subjects, expressions, sequences)
    assert read["chance"] == 1 / PEOPLE and read["accuracy"] < 3 / PEOPLE
    assert expression_probe(identity[:48], expressions[:48], identity[48:], expressions[48:])["accuracy"] < 0.7


def test_a_useless_code_shows_nothing():
    noise = codes_of(np.array(["same"] * len(subjects)), 1)
    assert identity_probe(noise, subjects, expressions, sequences)["accuracy"] < 3 / PEOPLE
    found = retrieval(noise, subjects, sequences)
    assert found["precision@5"] == pytest.approx(found["chance"], abs=0.06)


def test_the_trap_a_code_of_the_recording_is_not_taken_for_the_person():
    """Frames of one sequence look alike; a probe with a sequence on both sides would read the person from that."""
    recording = codes_of(sequences, 0.01)
    assert identity_probe(recording, subjects, expressions, sequences)["accuracy"] < 3 / PEOPLE
    found = retrieval(recording, subjects, sequences)
    assert found["precision@1"] < found["chance"] + 0.15


def test_people_of_one_sequence_are_not_judged():
    one = np.where(subjects == "p0", "p0/0", sequences)
    assert identity_probe(codes_of(subjects, 0.1), subjects, expressions, one)["people"] == PEOPLE - 1
    alone = identity_probe(codes_of(subjects, 0.1), subjects, expressions, subjects)
    assert alone["people"] == 0 and np.isnan(alone["accuracy"])


def test_the_best_of_three_probes_is_held_against_the_best_of_three_by_chance():
    ideal = identity_probe(codes_of(subjects, 0.1), subjects, expressions, sequences)
    assert ideal["maximum"] == ideal["normalised"] == 1
    useless = [
        identity_probe(codes_of(np.zeros(len(subjects)), 1, seed), subjects, expressions, sequences, seed)
        for seed in range(5)
    ]
    for read in useless:
        assert read["maximum"] == max(read[name] for name in ("accuracy", "mlp", "knn"))
    assert np.mean([read["chance_maximum"] for read in useless]) > useless[0]["chance"] + 0.01
    assert np.mean([read["normalised"] for read in useless]) == pytest.approx(0, abs=0.04)


def test_the_trap_what_no_straight_line_reads_is_a_leak_all_the_same():
    signs = np.random.default_rng(0).choice([-1, 1], (400, 2))
    codes = (1.5 * np.pad(signs, ((0, 0), (0, 14))) + np.random.default_rng(1).normal(0, 0.5, (400, 16))).astype("f4")
    truth = np.where(signs.prod(1) > 0, "anger", "fear")
    read = expression_probe(codes[:200], truth[:200], codes[200:], truth[200:])
    assert abs(read["accuracy"] - read["chance"]) < 0.1
    assert read["mlp"] == read["maximum"] > 0.9 and read["normalised"] > 0.8


def test_an_expression_that_the_test_part_lacks_is_no_obstacle():
    codes = codes_of(expressions, 0.1)
    read = expression_probe(codes, expressions, codes[::2], expressions[::2])
    assert (read["accuracy"], read["chance"]) == (1, 0.5)


def faces_of_one_expression_a_sequence():
    """Twelve people, four sequences of two frames each; a person's sequences show four expressions."""
    take = np.arange(96) // 2
    return np.array([f"e{number % 4}" for number in take]), np.array([f"s{number}" for number in take])


def test_verification_of_an_ideal_and_a_useless_code():
    shown, recorded = faces_of_one_expression_a_sequence()
    person, expression = codes_of(subjects, 0.1), codes_of(shown, 0.1)
    for ideal in (verification(person, subjects, shown, recorded), verification(expression, shown, subjects, recorded)):
        assert ideal["auc"] > 0.98 and ideal["matched_auc"] > 0.98
    useless = verification(codes_of(np.zeros(96), 1), subjects, shown, recorded)
    assert useless["auc"] == pytest.approx(0.5, abs=0.05) == useless["matched_auc"]
    # a pair of one person: 6 pairs of its sequences, of 4 pairs of frames each
    assert useless["same_pairs"] == useless["matched_pairs"] == 12 * 6 * 4
    assert useless["same_pairs"] + useless["other_pairs"] == 96 * 95 / 2 - 48  # but those within a sequence


def test_the_trap_an_expression_that_differs_between_pairs_of_one_person_hides_what_is_known_of_them():
    shown, recorded = faces_of_one_expression_a_sequence()
    expression = codes_of(shown, 0.1)
    only = verification(expression, subjects, shown, recorded)
    assert only["auc"] < 0.42 and only["matched_auc"] == pytest.approx(0.5, abs=0.06)
    leaking = verification(expression + 0.3 * codes_of(subjects, 0.1, seed=1), subjects, shown, recorded)
    assert leaking["auc"] < 0.5 and leaking["matched_auc"] > 0.65


def test_the_trap_a_code_of_the_recording_verifies_nobody():
    shown, recorded = faces_of_one_expression_a_sequence()
    assert verification(codes_of(recorded, 0.01), subjects, shown, recorded)["auc"] == pytest.approx(0.5, abs=0.1)


def test_verification_without_two_kinds_of_pairs_is_undefined():
    shown, recorded = faces_of_one_expression_a_sequence()
    alone = verification(codes_of(shown, 0.1), np.full(96, "p0"), shown, recorded)
    assert np.isnan([alone["auc"], alone["matched_auc"]]).all() and alone["matched_pairs"] == 0


def test_a_factor_is_read_across_people_whether_it_is_a_number_or_a_name():
    yaw = np.random.default_rng(0).normal(size=96)
    codes = codes_of(expressions, 0.1)
    codes[:, 0] = yaw
    number, name = factor_probe(codes, yaw, subjects), factor_probe(codes, expressions, subjects)
    assert number["measure"] == "r2" and number["score"] > 0.95 and number["normalised"] > 0.95
    assert name["measure"] == "balanced_accuracy" and name["score"] == name["normalised"] == 1
    for factor in (yaw, expressions):
        useless = [factor_probe(codes_of(np.zeros(96), 1, seed), factor, subjects)["normalised"] for seed in range(6)]
        assert np.mean(useless) == pytest.approx(0, abs=0.2)


def test_the_trap_a_factor_of_the_person_is_not_read_by_knowing_the_person():
    """Each person wears glasses or not: a probe that has seen the person would know."""
    worn, age = [], []
    for seed in range(6):
        order, known = np.random.default_rng(seed).permutation(12), codes_of(subjects, 0.01, seed)
        worn.append(factor_probe(known, np.repeat(order < 6, 8), subjects)["score"])
        age.append(factor_probe(known, np.repeat(order / 12, 8), subjects)["score"])
    assert np.mean(worn) == pytest.approx(0.5, abs=0.15) and np.mean(age) < 0.1


def test_a_value_that_one_person_has_alone_cannot_be_read_but_is_judged():
    assert factor_probe(codes_of(subjects, 0.1), subjects == "p0", subjects)["score"] == pytest.approx(0.5, abs=0.1)


def test_a_factor_without_two_values_or_three_people_is_undefined():
    codes = codes_of(subjects, 0.1)
    for factor, people in ((np.zeros(96), subjects), (expressions, np.repeat(["p0", "p1"], 48))):
        assert np.isnan(factor_probe(codes, factor, people)["score"])


def test_many_people_of_two_sequences_are_read_without_a_warning():
    people = np.repeat([f"p{person}" for person in range(30)], 2)
    assert identity_probe(codes_of(people, 0.1), people, np.full(60, "joy"), np.arange(60))["accuracy"] > 0.9
