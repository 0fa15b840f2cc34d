import numpy as np
import pytest
from representations import PEOPLE, codes_of, expressions, sequences, subjects

from trainer.metrics.probes import expression_probe, identity_probe
from trainer.metrics.retrieval import retrieval


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
