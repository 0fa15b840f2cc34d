import numpy as np
import pytest
from representations import axes_of, codes_of, rotated, sequences, subjects

from trainer.evaluation.metrics.disentanglement import (
    _concentration,
    attribute_predictability,
    dci,
    mutual_information_gap,
)

generator = np.random.default_rng(0)
FACES = 600
groups = np.arange(FACES) // 3
factors = {
    "expression": generator.choice(["anger", "fear", "happiness", "sadness", "surprise"], FACES),
    "person": generator.choice([f"p{person}" for person in range(8)], FACES),
    "yaw": generator.uniform(-8, 8, FACES),
}
ideal = {
    "E": axes_of(factors["expression"], dims=6, noise=0.05, seed=1),
    "I": axes_of(factors["person"], factors["yaw"], dims=6, noise=0.05, seed=2),
}
turned = {name: rotated(code) for name, code in ideal.items()}
useless = {name: code[generator.permutation(FACES)] for name, code in ideal.items()}
named = {"ideal": ideal, "turned": turned, "useless": useless}


def test_mig_of_an_ideal_a_turned_and_a_useless_code():
    gap = {name: mutual_information_gap(codes, factors) for name, codes in named.items()}
    assert gap["ideal"]["gap"] > 0.85
    assert gap["turned"]["gap"] < 0.3
    assert abs(gap["useless"]["gap"] - gap["useless"]["null"]) < 0.01 > gap["ideal"]["null"]


def test_sap_of_an_ideal_a_turned_and_a_useless_code():
    gap = {name: attribute_predictability(codes, factors, groups)["gap"] for name, codes in named.items()}
    assert gap["ideal"] > 0.6
    assert gap["turned"] < 0.25
    assert gap["useless"] < 0.05


def test_a_rotation_inside_a_code_takes_dci_but_leaves_the_greater_share_to_the_right_code():
    scores = {name: dci(codes, factors, groups) for name, codes in named.items()}
    assert min(scores["ideal"][name] for name in ("disentanglement", "completeness", "informativeness")) > 0.9
    assert max(scores["turned"][name] for name in ("disentanglement", "completeness")) < 0.4
    assert max(scores["useless"][name] for name in ("disentanglement", "completeness")) < 0.1
    for name, code in (("expression", "E"), ("person", "I"), ("yaw", "I")):
        assert scores["ideal"]["factors"][name]["share"][code] > 0.9
        assert scores["turned"]["factors"][name]["share"][code] > 0.65
        read = scores["useless"]["factors"][name]
        assert read["share"][code] == pytest.approx(0.5, abs=0.1)  # by its number of dimensions
        assert read["informativeness"] == pytest.approx(read["chance"], abs=0.06)


def test_mig_where_it_is_known():
    """A dimension that tells in which half of four values a face is has half the entropy; a constant one has none."""
    value = np.arange(400) % 4
    codes = {"T": np.stack([value // 2, np.zeros(400)], axis=1).astype(np.float32)}
    assert mutual_information_gap(codes, {"factor": value})["gap"] == pytest.approx(0.5)
    assert attribute_predictability(codes, {"factor": value // 2}, np.arange(400))["gap"] == 0.5  # 1 against chance


def test_the_trap_what_two_dimensions_know_counts_for_nothing_in_a_gap():
    twice = {"T": np.repeat(axes_of(factors["expression"], dims=1, noise=0.05), 2, axis=1)}
    known = {"expression": factors["expression"]}
    assert mutual_information_gap(twice, known)["gap"] == pytest.approx(0)
    assert attribute_predictability(twice, known, groups)["gap"] == pytest.approx(0)
    assert dci(twice, known, groups)["informativeness"] == 1


def test_the_trap_one_dimension_for_two_factors_is_complete_but_not_disentangled():
    both = np.char.add(factors["person"], factors["expression"])
    known = {name: factors[name] for name in ("person", "expression")}
    scores = dci({"T": axes_of(both, dims=6, noise=0.001)}, known, groups)
    assert scores["completeness"] > 0.8
    assert scores["disentanglement"] < 0.1


def test_the_trap_a_code_of_the_recording_does_not_inform_of_the_person():
    codes = {"I": codes_of(sequences, 0.01)}
    read = dci(codes, {"person": subjects}, sequences)["factors"]["person"]
    assert read["informativeness"] < 3 * read["chance"]
    assert attribute_predictability(codes, {"person": subjects}, sequences)["gap"] < 0.15


def test_a_continuous_factor_counts_by_its_order_only():
    straight, bent = ({"light": light} for light in (factors["yaw"], np.exp(factors["yaw"])))
    assert mutual_information_gap(ideal, straight) == mutual_information_gap(ideal, bent)


def test_a_factor_that_does_not_vary_is_left_out_and_named():
    glasses = {"glasses": np.zeros(FACES)}
    with_glasses = mutual_information_gap(ideal, factors | glasses)
    assert with_glasses["constant"] == ["glasses"]
    assert list(with_glasses["factors"]) == list(factors)
    alone = dci(ideal, glasses, groups)
    assert np.isnan([alone[name] for name in ("disentanglement", "completeness", "informativeness")]).all()


def test_an_importance_rounded_below_zero_is_zero():
    assert _concentration(np.array([1.0, -8e-19, 0.0])) == 1
