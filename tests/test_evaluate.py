import numpy as np
import pytest
from sklearn.metrics import f1_score

from trainer.evaluate import classification, expression_probe, identity_probe, retrieval, subject_bootstrap

PEOPLE, TAKES = 12, 4
subjects = np.repeat([f"p{person}" for person in range(PEOPLE)], 2 * TAKES)
sequences = np.array([f"{subject}/{take // 2}" for take, subject in enumerate(subjects)])
expressions = np.array(["neutral", "anger"] * (PEOPLE * TAKES))


def codes_of(labels, noise, seed=0):
    """A code that shows a label, and noise: a different random direction a value."""
    generator = np.random.default_rng(seed)
    names = sorted(set(labels))
    directions = generator.normal(0, 1, (len(names), 16))
    shown = directions[[names.index(label) for label in labels]]
    return (shown + generator.normal(0, noise, shown.shape)).astype(np.float32)


def test_an_ideal_code_shows_its_factor_and_hides_the_other():
    expression, identity = codes_of(expressions, 0.1), codes_of(subjects, 0.1)
    assert expression_probe(expression[:48], expressions[:48], expression[48:], expressions[48:])["accuracy"] == 1
    assert identity_probe(identity, subjects, sequences)["accuracy"] == 1
    read = identity_probe(expression, subjects, sequences)
    assert read["chance"] == 1 / PEOPLE and read["accuracy"] < 3 / PEOPLE
    assert expression_probe(identity[:48], expressions[:48], identity[48:], expressions[48:])["accuracy"] < 0.7


def test_a_useless_code_shows_nothing():
    noise = codes_of(np.array(["same"] * len(subjects)), 1)
    assert identity_probe(noise, subjects, sequences)["accuracy"] < 3 / PEOPLE
    found = retrieval(noise, subjects, sequences)
    assert found["precision@5"] == pytest.approx(found["chance"], abs=0.06)


def test_the_trap_a_code_of_the_recording_is_not_taken_for_the_person():
    """Frames of one sequence look alike; a probe with a sequence on both sides would read the person from that."""
    recording = codes_of(sequences, 0.01)
    assert identity_probe(recording, subjects, sequences)["accuracy"] < 3 / PEOPLE
    found = retrieval(recording, subjects, sequences)
    assert found["precision@1"] < found["chance"] + 0.15


def test_people_of_one_sequence_are_not_judged():
    one = np.where(subjects == "p0", "p0/0", sequences)
    assert identity_probe(codes_of(subjects, 0.1), subjects, one)["people"] == PEOPLE - 1
    alone = identity_probe(codes_of(subjects, 0.1), subjects, subjects)
    assert alone["people"] == 0 and np.isnan(alone["accuracy"])


def test_retrieval_of_a_perfect_code_reaches_its_ceiling():
    found = retrieval(codes_of(subjects, 0.01), subjects, sequences)
    for k in (1, 5, 10):
        assert found[f"precision@{k}"] == pytest.approx(found[f"ceiling@{k}"])
    assert found["ceiling@10"] == pytest.approx(6 / 10)  # 8 pictures a person, 2 of them of the query's own sequence
    assert found["chance"] == pytest.approx(6 / 94)


def test_retrieval_excludes_the_query_even_where_codes_are_equal():
    same = np.ones((4, 2), np.float32)
    found = retrieval(same, np.array(["a", "b", "c", "d"]), np.arange(4))
    assert np.isnan(found["chance"])  # nobody has anybody to find


def test_classification_scores_against_known_values():
    truth = np.array(["a"] * 8 + ["b"] * 2)
    predicted = np.array(["a"] * 7 + ["b"] + ["b", "a"])
    scores = classification(truth, predicted, np.arange(10), ["a", "b", "c"])
    assert (scores["correct"], scores["accuracy"]) == (8, 0.8)
    assert scores["balanced_accuracy"] == pytest.approx((7 / 8 + 1 / 2) / 2)
    assert scores["macro_recall"] == scores["balanced_accuracy"]
    assert scores["macro_precision"] == pytest.approx((7 / 8 + 1 / 2) / 2)
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert scores["confusion"] == [[7, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert scores["chance"] == pytest.approx(1 / 3)


def test_macro_f1_is_not_the_harmonic_mean_of_macro_precision_and_recall():
    truth = np.array(["a"] * 90 + ["b"] * 10)
    predicted = np.array(["a"] * 60 + ["b"] * 30 + ["b"] * 10)
    s = classification(truth, predicted, np.arange(100), ["a", "b"])
    harmonic = 2 * s["macro_precision"] * s["macro_recall"] / (s["macro_precision"] + s["macro_recall"])
    assert abs(s["macro_f1"] - harmonic) > 0.05


def test_the_interval_is_wider_where_faces_are_copies_of_one_persons():
    correct = np.random.default_rng(0).random(40) < 0.8
    alone = subject_bootstrap(np.repeat(correct, 10), np.arange(400))
    copied = subject_bootstrap(np.repeat(correct, 10), np.repeat(np.arange(40), 10))
    assert copied[1] - copied[0] > 2 * (alone[1] - alone[0])
    assert alone[0] < correct.mean() < alone[1]
