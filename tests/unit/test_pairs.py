import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertools.folds import pairs


def draw(expression, person, num_epochs, generator):
    """Anchors, and partners of some epochs, filled in a few at a time."""
    anchors, fill = pairs.draw(np.arange(len(expression)), expression, person, generator)
    partners = np.full((num_epochs, len(anchors)), -1, np.int32)
    fill(partners[:1])
    fill(partners[1:])
    return anchors, partners


@given(
    faces=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=60),
    seed=st.integers(0, 9),
)
def test_partners_share_the_expression_and_are_other_people(faces, seed):
    expression, person = np.array(faces).T
    anchors, partners = draw(expression, person, 3, np.random.default_rng(seed))
    assert partners.shape == (3, len(anchors))
    assert (expression[partners] == expression[anchors]).all()
    assert (person[partners] != person[anchors]).all()
    alone = [
        face for face, e in enumerate(expression) if len(set(person[expression == e])) == 1
    ]  # one person alone shows the class
    assert sorted([*anchors, *alone]) == list(range(len(faces)))  # every other face is an anchor once
    assert np.flatnonzero(pairs.has_partner(expression, person)).tolist() == anchors.tolist()


def test_partners_are_uniform_over_those_allowed():
    expression, person = np.zeros(9, int), np.array([0, 0, 0, 1, 2, 2, 3, 3, 3])
    anchors, partners = draw(expression, person, 20_000, np.random.default_rng(0))
    for column, anchor in enumerate(anchors):
        counts = np.bincount(partners[:, column], minlength=9)
        allowed = person != person[anchor]
        expected = 20_000 / allowed.sum()
        assert counts[~allowed].sum() == 0
        assert ((counts[allowed] - expected) ** 2 / expected).sum() < 30  # chi-square, 5 to 7 degrees of freedom


def test_partners_are_drawn_anew_every_epoch_and_the_seed_repeats_them():
    expression, person = np.arange(200) % 4, np.arange(200) // 4
    _, partners = draw(expression, person, 2, np.random.default_rng(1))
    _, again = draw(expression, person, 2, np.random.default_rng(1))
    _, other = draw(expression, person, 2, np.random.default_rng(2))
    assert (partners[0] != partners[1]).mean() > 0.9
    assert (partners == again).all() and (partners != other).mean() > 0.9


def test_a_seed_draws_what_it_always_drew():
    _, partners = draw(np.arange(12) % 2, np.arange(12) // 4, 2, np.random.default_rng([0, 1]))
    assert partners.tolist() == [  # of the first version: pairs that were published can be made again
        [8, 5, 10, 11, 10, 11, 8, 1, 2, 1, 6, 1],
        [6, 11, 10, 9, 2, 3, 0, 1, 0, 7, 4, 1],
    ]


@pytest.mark.parametrize("largest", [1, 2, 7, 2**31 - 1])
def test_draws_are_numpys_to_the_bit(largest):
    """Of the largest limits, every second word is rejected, so that all later ones move up."""
    limits = np.random.default_rng(largest).integers(1, largest, 1001, endpoint=True).astype(np.int32)
    draws, numpys = pairs._bounded(limits, np.random.default_rng(5)), np.random.default_rng(5)
    for _ in range(20):
        np.testing.assert_array_equal(next(draws), numpys.integers(0, limits))


def test_rows_are_named_as_asked():
    rows = np.array([3, 7, 8, 20])
    anchors, fill = pairs.draw(rows, np.array([0, 0, 1, 0]), np.array([5, 6, 5, 6]), np.random.default_rng(0))
    partners = np.empty((2, 3), np.int32)
    fill(partners)
    assert anchors.tolist() == [3, 7, 20] and (partners[:, 1:] == 3).all() and set(partners[:, 0]) <= {7, 20}


def test_a_class_of_one_person_has_no_anchors():
    anchors, partners = draw(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 6]), 2, np.random.default_rng(0))
    assert anchors.tolist() == [2, 3]
    assert partners.tolist() == [[3, 2], [3, 2]]


@pytest.mark.parametrize("num_faces", [280_000])
def test_a_large_set_is_drawn_without_a_loop(num_faces):
    generator = np.random.default_rng(0)
    expression, person = generator.integers(0, 8, num_faces), generator.integers(0, 20_000, num_faces)
    anchors, partners = draw(expression, person, 1, generator)
    assert len(anchors) == num_faces and (person[partners[0]] != person[anchors]).all()
