import numpy as np
import pytest
from representations import codes_of, sequences, subjects
from sklearn.metrics import average_precision_score

from trainer.evaluation.metrics.retrieval import cosine_similarities, retrieval


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


def test_average_precision_is_that_of_scikit_learn_and_one_for_a_perfect_code():
    perfect = retrieval(codes_of(subjects, 0.01), subjects, sequences)
    assert perfect["average_precision"] == pytest.approx(1)
    noisy = codes_of(subjects, 2)
    similar = cosine_similarities(noisy)
    expected = []
    for query in range(len(subjects)):
        gallery = sequences != sequences[query]
        expected.append(average_precision_score(subjects[gallery] == subjects[query], similar[query, gallery]))
    assert retrieval(noisy, subjects, sequences)["average_precision"] == pytest.approx(np.mean(expected))


def test_average_precision_of_a_useless_code_is_its_chance_which_is_above_the_base_rate():
    draws = [retrieval(codes_of(np.zeros(96), 1, seed), subjects, sequences) for seed in range(20)]
    chance = draws[0]["average_precision_chance"]
    assert np.mean([draw["average_precision"] for draw in draws]) == pytest.approx(chance, abs=0.005)
    assert chance > draws[0]["chance"] + 0.02
    one_of_two = retrieval(np.eye(3, dtype=np.float32), np.array(["a", "a", "b"]), np.arange(3))
    assert one_of_two["average_precision_chance"] == pytest.approx((1 + 1 / 2) / 2)  # found first, or second


def test_the_trap_a_code_of_the_many_looks_good_until_classes_count_alike():
    expressions = np.array(["happiness"] * 80 + ["fear"] * 10)
    codes = np.random.default_rng(0).normal(size=(90, 8)).astype(np.float32)
    found = retrieval(codes, expressions, np.arange(90))
    assert found["precision@5"] > 0.75
    assert found["macro_precision@5"] == pytest.approx(found["macro_chance"], abs=0.05)
    assert found["macro_chance"] == pytest.approx((79 / 89 + 9 / 89) / 2)


def test_a_face_that_shares_any_one_of_several_values_is_not_in_the_gallery():
    person, sequence = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 2, 3])
    expression = np.array([0, 1, 2, 0, 1, 2])
    found = retrieval(codes_of(person, 0.01), person, np.stack([sequence, expression], axis=1))
    assert found["chance"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)  # by hand: the gallery of each of three faces
    none_left = retrieval(codes_of(expression, 0.01), expression, np.stack([sequence, expression], axis=1))
    assert np.isnan(none_left["chance"])
