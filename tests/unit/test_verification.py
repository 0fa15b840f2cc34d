import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from trainer.evaluation.metrics import verification as module
from trainer.evaluation.metrics.verification import cosines, pairs_of_people, published_pairs, verification

PEOPLE = np.repeat([f"p{number:02d}" for number in range(20)], 4)
PAIRS = pairs_of_people(PEOPLE)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 50)


def noisy(spread, seed=0, pairs=PAIRS):
    return pairs.same + np.random.default_rng(seed).normal(0, spread, len(pairs.same))


def test_every_pair_of_faces_stands_once():
    stood = set(zip(PAIRS.left.tolist(), PAIRS.right.tolist(), strict=True))
    assert stood == set(itertools.combinations(range(len(PEOPLE)), 2))
    assert len(stood) == len(PAIRS.left)
    assert np.array_equal(PAIRS.same, PEOPLE[PAIRS.left] == PEOPLE[PAIRS.right])


def test_people_are_in_one_fold_and_pairs_across_folds_in_none():
    fold_of = {}
    for people, fold in zip(PAIRS.people, PAIRS.fold, strict=True):
        for person in people if fold >= 0 else ():
            assert fold_of.setdefault(person, fold) == fold
    assert sorted(np.bincount(list(fold_of.values()))) == [2] * 10
    assert all(fold_of[left] != fold_of[right] for left, right in PAIRS.people[PAIRS.fold < 0])


def test_of_too_many_pairs_some_are_drawn_and_the_same_again(monkeypatch):
    monkeypatch.setattr(module, "MOST", {True: 30, False: 200})
    some, again = pairs_of_people(PEOPLE), pairs_of_people(PEOPLE)
    assert some.same.sum() == 30 and (~some.same).sum() == 200
    assert len(set(zip(some.left.tolist(), some.right.tolist(), strict=True))) == 230
    assert np.array_equal(some.left, again.left) and np.array_equal(some.right, again.right)
    assert np.array_equal(some.same, PEOPLE[some.left] == PEOPLE[some.right])


@pytest.mark.parametrize("subjects", [["a"] * 4, ["a", "b", "c"]])
def test_faces_that_make_no_pairs_are_refused(subjects):
    with pytest.raises(ValueError, match="make no pairs of one person and of two"):
        pairs_of_people(np.array(subjects))


def test_faces_told_perfectly_score_one():
    found = verification(np.where(PAIRS.same, 0.9, 0.1), PAIRS)
    assert found["accuracy"] == found["auc"] == found["tar"]["0.01"] == {"value": 1.0, "interval": [1.0, 1.0]}


def test_faces_told_the_wrong_way_round_score_nothing():
    found = verification(np.where(PAIRS.same, 0.1, 0.9), PAIRS)
    assert found["auc"]["value"] == found["tar"]["0.01"]["value"] == 0.0
    assert found["accuracy"]["value"] <= 0.5


def test_faces_that_are_all_alike_are_told_by_nothing():
    found = verification(np.zeros(len(PAIRS.same)), PAIRS)
    assert found["auc"]["value"] == found["accuracy"]["value"] == 0.5
    assert found["tar"]["0.01"]["value"] == 0.0


@given(spread=st.sampled_from([0.2, 0.5, 2.0]), seed=st.integers(0, 99), steps=st.sampled_from([2, 9, 10**6]))
def test_area_and_rates_are_those_of_scikit_learn(spread, seed, steps):
    alike = np.round(noisy(spread, seed) * steps)  # few steps: many ties
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DRAWS", 2)
        found = verification(alike, PAIRS)
    assert found["auc"]["value"] == pytest.approx(roc_auc_score(PAIRS.same, alike))
    far, tar, _ = roc_curve(PAIRS.same, alike, drop_intermediate=False)
    assert found["tar"]["0.01"]["value"] == pytest.approx(tar[far <= 0.01].max())


def test_a_threshold_is_not_chosen_on_the_pairs_it_judges():
    """Two folds whose scores lie apart: the best threshold of one is wrong about half of the other's."""
    pairs = published_pairs(np.arange(20) % 2 == 0)
    alike = np.where(pairs.same, 0.9, 0.8)
    alike[pairs.fold == 9] -= 0.5
    assert verification(alike, pairs)["accuracy"]["value"] == pytest.approx(0.95)


def test_published_pairs_are_ten_folds_in_their_order():
    pairs = published_pairs(np.ones(6000, bool))
    assert np.array_equal(np.bincount(pairs.fold), [600] * 10) and (np.diff(pairs.fold) >= 0).all()
    assert np.array_equal(np.stack([pairs.left, pairs.right], axis=1).ravel(), np.arange(12000))


def test_a_rate_that_too_few_pairs_can_show_is_not_told():
    found = verification(noisy(0.5), PAIRS)
    assert found["other_pairs"] == 20 * 19 / 2 * 16 == 3040
    assert list(found["tar"]) == ["0.01"]  # 0.001 would be 3 pairs


def test_intervals_are_over_people_not_over_pairs(monkeypatch):
    """Whoever is told is told in every pair: twenty people are twenty observations, not 3,160."""
    monkeypatch.setattr(module, "DRAWS", 300)
    told = np.random.default_rng(0).random(20) < 0.5
    alike = np.where(PAIRS.same & told[PAIRS.people[:, 0]], 1.0, 0.0)
    low, high = verification(alike, PAIRS)["tar"]["0.01"]["interval"]
    binomial = 2 * 1.96 * (0.25 / 20) ** 0.5
    assert 0.8 * binomial < high - low < 1.2 * binomial


def test_cosines_do_not_ask_how_long_codes_are():
    codes = np.random.default_rng(0).normal(size=(len(PEOPLE), 6)).astype(np.float32)
    lengths = np.random.default_rng(1).uniform(0.1, 9, (len(PEOPLE), 1)).astype(np.float32)
    found = cosines(codes, PAIRS)
    assert np.abs(found).max() <= 1 + 1e-6
    assert np.allclose(found, cosines(codes * lengths, PAIRS), atol=1e-5)
