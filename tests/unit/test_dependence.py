from itertools import permutations

import numpy as np
import pytest
from representations import codes_of, expressions, rotated, sequences, subjects

from trainer.evaluation.metrics.dependence import dependence, linear_cka, rbf_kernel, unbiased_hsic


def noise(faces, dims, seed):
    return np.random.default_rng(seed).normal(size=(faces, dims)).astype(np.float32)


def test_cka_is_blind_to_rotation_shift_and_scale_and_one_for_equal_codes():
    codes, other = noise(60, 8, 0).astype(float), noise(60, 5, 1).astype(float)
    turned = 3 * rotated(codes).astype(float) + 7
    assert linear_cka(codes, codes) == pytest.approx(1)
    assert linear_cka(codes, turned) == pytest.approx(1, abs=1e-5)
    assert linear_cka(other, turned) == pytest.approx(linear_cka(other, codes), abs=1e-5)
    assert linear_cka(codes * np.arange(1, 9) ** 2, codes) < 0.9  # one scale for all dimensions, not one each


def test_unbiased_hsic_is_the_mean_over_four_different_observations():
    first, second = (rbf_kernel(noise(6, 3, seed).astype(float)) for seed in (0, 1))
    terms = [first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q]) for i, j, q, r in permutations(range(6), 4)]
    assert unbiased_hsic(first, second) == pytest.approx(np.mean(terms))


def test_of_independent_codes_hsic_is_zero_on_average_and_the_p_value_is_honest():
    draws = [dependence(noise(30, 4, seed), noise(30, 4, 1000 + seed), np.arange(30), seed) for seed in range(100)]
    for name in ("hsic", "cka_debiased", "distance_correlation"):
        values = np.array([draw[name] for draw in draws])
        assert abs(values.mean()) < 3 * values.std() / 10
    assert sum(draw["hsic_p"] <= 0.05 for draw in draws) <= 12  # 5 expected; more than 12 in one case of 700


def test_an_ideal_pair_of_codes_and_a_code_that_is_the_other():
    expression, identity = codes_of(expressions, 0.5), codes_of(subjects, 0.5, seed=1)
    apart, same = dependence(expression, identity, np.arange(96)), dependence(identity, identity, np.arange(96))
    assert apart["hsic_p"] > 0.05 and abs(apart["cka_debiased"]) < 0.1
    assert same["hsic_p"] == pytest.approx(1 / 1001)
    for name in ("cka", "cka_debiased", "distance_correlation"):
        assert same[name] == pytest.approx(1)


def test_the_trap_cka_of_useless_codes_is_high_where_dimensions_are_many():
    found = dependence(noise(64, 64, 0), noise(64, 64, 1), np.arange(64))
    assert found["cka"] == pytest.approx(64 / (64 + 64), abs=0.05)
    assert abs(found["cka_debiased"]) < 0.05


def test_the_trap_a_dependence_that_no_straight_line_shows():
    expression = noise(200, 1, 0)
    found = dependence(expression, expression**2, np.arange(200))
    assert abs(found["cka_debiased"]) < 0.1
    assert found["hsic_p"] == pytest.approx(1 / 1001) and found["distance_correlation"] > 0.1


def test_the_trap_frames_of_one_recording_are_no_evidence():
    expression, identity = codes_of(sequences, 0.01), codes_of(sequences, 0.01, seed=1)
    assert dependence(expression, identity, np.arange(96))["hsic_p"] < 0.01
    found = dependence(expression, identity, sequences)
    assert found["hsic_p"] > 0.05 and found["observations"] == len(set(sequences))


def test_a_constant_code_depends_on_nothing():
    for pair in ((noise(20, 4, 0), np.ones((20, 4), np.float32)), (np.ones((20, 4), np.float32), noise(20, 4, 0))):
        found = dependence(*pair, np.arange(20))
        assert found["hsic_p"] == 1
        assert [found[name] for name in ("cka", "cka_debiased", "distance_correlation")] == [0, 0, 0]
        assert found["hsic"] == pytest.approx(0)


def test_three_sequences_are_too_few():
    found = dependence(noise(6, 4, 0), noise(6, 4, 1), np.arange(6) // 2)
    assert found["observations"] == 3 and np.isnan(found["hsic_p"])
