"""Leak measures on codes of known worth, in CK+'s layout: a person's recordings show different expressions."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import entr, logsumexp

from trainer.evaluation.metrics import probes
from trainer.evaluation.metrics.leaks import identity_within_expression, person_information
from trainer.evaluation.metrics.probes import identity_probe, permuted_people, verification

LISTED = [line.split() for line in (Path(__file__).parents[1] / "ckplus_sequences.txt").read_text().splitlines()]


def layout(first=0, people=24):
    """CK+'s sequences of some people in turn: one neutral and one peak face each; subjects, expressions, sequences."""
    names = sorted({name.split("/")[0] for name, _ in LISTED})[first : first + people]
    kept = [(name, shown) for name, shown in LISTED if name.split("/")[0] in names]
    faces = [(name.split("/")[0], face, name) for name, shown in kept for face in ("neutral", shown)]
    return (np.array(column) for column in zip(*faces, strict=True))


def code(subjects, expressions, planted, seed, dims=16):
    """The expression's direction, as much of the person's as is planted, and noise of a third."""
    generator = np.random.default_rng(seed)
    shown = 0
    for labels, weight in ((expressions, 1.0), (subjects, planted)):
        index = np.unique(labels, return_inverse=True)[1]
        shown = shown + weight * generator.normal(size=(index.max() + 1, dims))[index]
    return (shown + generator.normal(0, 0.3, shown.shape)).astype(np.float32)


def mean_of(measure, planted, name, draws):
    values = []
    for seed in range(draws):
        subjects, expressions, sequences = layout(24 * (seed % 4))
        codes = code(subjects, expressions, planted, seed)
        values.append(measure(codes, subjects, expressions, sequences, seed)[name])
    return np.mean(values)


@pytest.fixture(scope="module", autouse=True)
def quick_judging():
    """Take the real measures."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("trainer.evaluation.metrics.leaks.PROBE_PERMUTATIONS", 20)
    monkeypatch.setattr("trainer.evaluation.metrics.leaks.INFORMATION_PERMUTATIONS", 5)


def test_a_pure_expression_code_scores_its_null_and_the_score_rises_with_planted_identity():
    scores = [
        mean_of(identity_within_expression, planted, "times_null", draws)
        for planted, draws in ((0, 60), (0.05, 20), (0.15, 4), (0.3, 4))
    ]
    assert scores[0] == pytest.approx(1, abs=0.1)
    assert scores == sorted(scores) and scores[3] > 3


def test_information_of_the_person_is_none_in_a_pure_code_and_rises_with_planted_identity():
    nats = [mean_of(person_information, planted, "nats", 4) for planted in (0, 0.05, 0.15, 0.3)]
    null = mean_of(person_information, 0, "null", 4)
    assert nats[0] == pytest.approx(null, abs=0.02) and null < 0.05
    assert nats[1:] == sorted(nats[1:]) and nats[3] > 0.5


def test_the_trap_chance_is_no_null_where_recordings_of_a_person_differ_in_expression(monkeypatch):
    """A probe that knows the expression alone is fooled by it: below one over the people, as its null is."""
    monkeypatch.setattr(probes, "PROBES", {"knn": probes.PROBES["knn"]})
    found = []
    for seed in range(12):
        subjects, expressions, sequences = layout(24 * (seed % 4))
        peaks = expressions != "neutral"
        subjects, expressions, sequences = subjects[peaks], expressions[peaks], sequences[peaks]
        read = identity_probe(code(subjects, expressions, 0, seed), subjects, expressions, sequences)
        found.append([read["knn"] / read["chance"], read["chance_maximum"] / read["chance"]])
    score, null = np.mean(found, axis=0)
    assert score < 0.85 and score == pytest.approx(null, abs=0.15)


def test_verification_matched_on_expression_rises_with_planted_identity_too():
    areas = []
    for planted in (0, 0.15, 0.3):
        subjects, expressions, sequences = layout()
        codes = code(subjects, expressions, planted, 0)
        areas.append(verification(codes, subjects, expressions, sequences)["matched_auc"])
    assert areas[0] == pytest.approx(0.5, abs=0.05) and areas == sorted(areas)


def test_permuted_people_keep_their_recordings_of_each_expression():
    subjects, expressions, sequences = layout()
    (dealt,) = permuted_people(subjects, expressions, sequences, 1, 0)
    assert (dealt != subjects).mean() > 0.8
    assert sorted(zip(dealt, expressions, strict=True)) == sorted(zip(subjects, expressions, strict=True))
    assert all(len(set(dealt[sequences == sequence])) == 1 for sequence in set(sequences))


def test_the_p_value_is_small_for_a_leak_and_not_for_none(monkeypatch):
    monkeypatch.setattr("trainer.evaluation.metrics.leaks.INFORMATION_PERMUTATIONS", 20)
    subjects, expressions, sequences = layout()
    leaking, pure = (code(subjects, expressions, planted, 1) for planted in (0.3, 0))
    for measure in (identity_within_expression, person_information):
        assert measure(leaking, subjects, expressions, sequences)["p"] < 0.06
        assert measure(pure, subjects, expressions, sequences)["p"] > 0.06


# --- information whose value is known


def test_information_of_a_symmetric_channel():
    """Ten people, each shown as one of ten symbols, right with probability 0.7."""
    generator = np.random.default_rng(0)
    person = np.repeat(np.arange(10), 120)
    wrong = (person + generator.integers(1, 10, len(person))) % 10
    symbol = np.where(generator.random(len(person)) < 0.7, person, wrong)
    expressions = generator.permutation(np.resize(["joy", "fear"], len(person)))
    found = person_information(np.eye(10, dtype=np.float32)[symbol], person, expressions, np.arange(len(person)))
    known = math.log(10) - float(entr(0.7) + entr(0.3)) - 0.3 * math.log(9)
    assert found["nats"] == pytest.approx(known, abs=0.05)
    assert found["null"] < 0.02 and found["ceiling"] == pytest.approx(math.log(10), abs=0.01)


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_information_of_gaussian_people(spread):
    """Of known means and spread 1, information is known by the densities; for very many people it is log(1 + s^2)."""
    generator = np.random.default_rng(0)
    means = spread * generator.normal(size=(60, 2))
    person = np.repeat(np.arange(60), 25)
    codes = means[person] + generator.normal(size=(len(person), 2))
    log_density = -((codes[:, None] - means) ** 2).sum(2) / 2
    known = (log_density[np.arange(len(person)), person] - logsumexp(log_density, axis=1) + math.log(60)).mean()
    expressions = np.resize(["joy", "fear", "anger"], len(person))
    codes += np.array([[5, 0], [0, 5], [-5, 0]])[np.unique(expressions, return_inverse=True)[1]]
    found = person_information(codes.astype(np.float32), person, expressions, np.arange(len(person)))
    assert known - 0.15 < found["nats"] < known + 0.01  # a lower bound, not far below
    assert found["null"] < 0.02


def test_what_the_expression_tells_of_the_person_does_not_count():
    """Everybody shows one expression only: the code of it names the person in part, and nothing beyond it."""
    person = np.repeat(np.arange(12), 10)
    expressions = np.array(["joy", "fear", "anger"])[person % 3]
    codes = code(person, expressions, 0, 0)
    found = person_information(codes, person, expressions, np.arange(len(person)))
    assert found["nats"] < 0.1 and found["ceiling"] == pytest.approx(math.log(4))


def test_of_people_with_one_recording_nothing_is_known():
    subjects, expressions, _ = layout()
    codes = code(subjects, expressions, 0.3, 0)
    for measure in (identity_within_expression, person_information):
        found = measure(codes, subjects, expressions, subjects)
        assert found["people"] == 0 and math.isnan(found["p"])


def test_a_constant_code_shows_nobody():
    subjects, expressions, sequences = layout(people=8)
    constant = np.ones((len(subjects), 4), np.float32)
    assert identity_within_expression(constant, subjects, expressions, sequences)["p"] > 0.5
    assert person_information(constant, subjects, expressions, sequences)["nats"] == pytest.approx(0, abs=1e-6)
