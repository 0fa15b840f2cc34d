import functools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from representations import codes_of

from trainer.evaluation.metrics import held_out, information
from trainer.evaluation.metrics.held_out import joined_bounds, separable_bound
from trainer.evaluation.metrics.information import draw_pairs, fano_bound, information_gap, jensen_shannon_ceiling

PEOPLE = {"train": 50, "validation": 12, "test": 12}
EXPRESSIONS = 7
H = math.log(EXPRESSIONS)
BOUNDS = ("nce", "dv", "smile")
subjects = np.repeat([f"p{person}" for person in range(sum(PEOPLE.values()))], EXPRESSIONS)
expressions = np.tile([f"e{expression}" for expression in range(EXPRESSIONS)], sum(PEOPLE.values()))
part_of = np.repeat(list(PEOPLE), np.array(list(PEOPLE.values())) * EXPRESSIONS)


def parts_of(expression, identity):
    columns = {"expression": expression, "identity": identity, "expressions": expressions, "subjects": subjects}
    return {name: {key: values[part_of == name] for key, values in columns.items()} for name in PEOPLE}


def noise(seed):
    return np.random.default_rng(seed).normal(size=(len(subjects), 16)).astype(np.float32)


def gaussians(nats, num):
    """Draw pairs of correlated Gaussians of 20 dimensions with so many nats a part."""
    generator = np.random.default_rng(0)

    def draw(part):
        unlike = math.exp(-nats[part] / 20)  # sqrt(1 - rho^2)
        x, rest = generator.standard_normal((2, num[part], 20))
        y = math.sqrt(1 - unlike**2) * x + unlike * rest
        return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32))

    return draw


@functools.cache
def judged(kind):
    person, both = codes_of(subjects, 0.3, 1), codes_of(expressions, 0.1) + codes_of(subjects, 0.3, 1)
    ideal, useless, trap = (codes_of(expressions, 0.1), person), (noise(2), noise(3)), (both, both)
    codes = {"ideal": ideal, "useless": useless, "trap": trap}[kind]
    return information_gap(parts_of(*codes), seeds=(0,), sigmas=(1.0,) if kind == "trap" else ())


def test_an_ideal_pair_of_codes_shares_its_expression_and_nothing_else():
    found = judged("ideal")
    assert found["expression_entropy"] == pytest.approx(H)
    assert found["estimators"]["posterior"]["shared"]["nats"] == pytest.approx(H, abs=0.1)
    for name in BOUNDS:
        row = found["estimators"][name]
        assert 0.75 * H <= row["shared"]["nats"] <= H + 0.2
        assert abs(row["entangled"]["nats"]) < 0.1
        assert row["gap"]["normalised"] > 0.7


def test_useless_codes_share_nothing():
    for name, row in judged("useless")["estimators"].items():
        assert all(abs(row[term]["nats"]) < (0.15 if name.startswith("ksg") else 0.1) for term in row)


def test_the_trap_an_identity_inside_the_expression_code_makes_the_gap_negative():
    """The shared term alone would praise it. I(E; E) is infinite: more than log(pairs) is not accepted."""
    found = judged("trap")
    for name in (*BOUNDS, "ksg3", "ksg5"):
        row = found["estimators"][name]
        assert row["entangled"]["nats"] > 1.5 and row["gap"]["nats"] < -0.7
    nce, dv = (found["estimators"][name] for name in ("nce", "dv"))
    assert nce["gap"]["accepted"] and nce["shared"]["nats"] > 0.4 * H
    assert dv["entangled"]["nats"] > dv["entangled"]["ceiling"] + 0.2 and not dv["gap"]["accepted"]
    assert found["noisy"]["1.0"]["entangled"]["nats"] < nce["entangled"]["nats"] - 1


@pytest.mark.parametrize("kind", ["ideal", "useless", "trap"])
def test_where_nothing_is_to_be_found_nothing_is_found(kind):
    """Neighbours scatter around zero: with 84 faces, sometimes by more than is accepted."""
    for name, row in judged(kind)["estimators"].items():
        for cell in (row[term] for term in set(row) - {"gap"}):
            assert abs(cell["null"]) < (0.2 if name.startswith("ksg") else 0.05)
            assert not cell["accepted"] or abs(cell["null"]) < 0.05


def test_a_value_above_its_ceiling_or_beside_a_null_is_not_accepted(monkeypatch):
    """More than H(Y) between two people is a leak or a critic that diverged."""
    parts, nats = parts_of(noise(0), noise(1)), {"shared": H + 0.3, "entangled": 0.1}
    monkeypatch.setattr(information, "_permuted", lambda *_: "permuted")
    monkeypatch.setattr(
        information,
        "_estimates",
        lambda data, _: {
            term: {"nce": 0.06 * (term == "entangled") if data == "permuted" else nats[term]} for term in nats
        },
    )
    row = information_gap(parts, seeds=(0,), sigmas=())["estimators"]["nce"]
    assert [row[term]["accepted"] for term in ("shared", "entangled", "gap")] == [False, False, False]
    nats["shared"] = H
    row = information_gap(parts, seeds=(0,), sigmas=())["estimators"]["nce"]
    assert [row[term]["accepted"] for term in ("shared", "entangled", "gap")] == [True, False, False]


def test_the_same_call_gives_the_same_values_and_leaves_the_callers_chance_alone(monkeypatch):
    monkeypatch.setattr(held_out, "PATIENCE", 1)  # to save time
    parts = parts_of(noise(2), noise(3))
    before = torch.get_rng_state()
    first, again = (information_gap(parts, seeds=(3,), sigmas=()) for _ in range(2))
    assert json.dumps(first) == json.dumps(again)
    assert torch.equal(torch.get_rng_state(), before)
    assert first["estimators"]["nce"] != judged("useless")["estimators"]["nce"]  # the same codes, another seed


def test_one_test_person_has_no_partner_and_no_value(monkeypatch):
    monkeypatch.setattr(held_out, "PATIENCE", 1)
    parts = parts_of(codes_of(expressions, 0.1), codes_of(subjects, 0.1))
    parts["test"] = {key: values[:EXPRESSIONS] for key, values in parts["test"].items()}
    found = information_gap(parts, seeds=(0,), sigmas=())
    assert found["pairs"] == {"shared": 0, "entangled": EXPRESSIONS}
    for row in found["estimators"].values():
        assert math.isnan(row["shared"]["nats"]) and not row["shared"]["accepted"]
        assert "gap" not in row or not row["gap"]["accepted"]


def test_a_person_in_two_parts_is_refused():
    parts = parts_of(noise(0), noise(1))
    parts["validation"] = parts["test"]
    with pytest.raises(ValueError, match=r"validation and test share 12 people \(p62\)"):
        information_gap(parts)


def test_critics_find_the_information_of_gaussians(monkeypatch):
    """Of 20 dimensions, 2 nats, fresh training pairs."""
    monkeypatch.setattr(held_out, "CHECK", 25)  # to save time
    draw = gaussians({"train": 2.0, "validation": 2.0, "test": 2.0}, {"train": 1280, "validation": 1000, "test": 4000})
    found = joined_bounds(draw, 0, 800) | separable_bound(draw, 0, 800)
    assert 1.7 <= found["dv"] <= 2.2 and 1.7 <= found["smile"] <= 2.2
    assert 1.6 <= found["nce"] <= 2.05


def test_what_holds_for_training_and_validation_people_only_is_not_reported():
    draw = gaussians({"train": 6.0, "validation": 6.0, "test": 0.0}, dict.fromkeys(PEOPLE, 300))
    assert all(value < 0.05 for value in (joined_bounds(draw, 0, 50) | separable_bound(draw, 0, 50)).values())


@given(
    faces=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("pqr")), min_size=1, max_size=12),
    seed=st.integers(0, 9),
)
def test_a_partner_shows_the_same_expression_on_another_person(faces, seed):
    expression, person = np.array(faces).T
    anchors, partners = draw_pairs(expression, person, np.random.default_rng(seed))
    assert (expression[anchors] == expression[partners]).all() and (person[anchors] != person[partners]).all()
    alone = set(range(len(faces))) - set(anchors)
    assert all({p for e, p in faces if e == expression[face]} == {person[face]} for face in alone)


def test_partners_are_drawn_evenly():
    expression, person = np.array(list("aaaab")), np.array(list("pqqrr"))
    generator = np.random.default_rng(0)
    drawn = np.array([draw_pairs(expression, person, generator)[1] for _ in range(3000)])
    assert np.bincount(drawn[:, 0], minlength=5) / 3000 == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0], abs=0.03)
    assert np.bincount(drawn[:, 1], minlength=5) / 3000 == pytest.approx([1 / 2, 0, 0, 1 / 2, 0], abs=0.03)


@pytest.mark.parametrize(
    "counts, nats", [([1] * 7, 0.478), ([45, 18, 59, 25, 69, 28, 83], 0.450), ([240] * 6, 0.454), ([9], 0)]
)
def test_the_jensen_shannon_divergence_of_perfect_pairs_is_as_published(counts, nats):
    assert jensen_shannon_ceiling(np.array(counts)) == pytest.approx(nats, abs=5e-4)


def test_an_accuracy_implies_shared_information():
    assert 1.75 <= fano_bound(0.995, 1.825, 7) < 1.825
    assert fano_bound(1.0, 1.825, 7) == pytest.approx(1.825)
    assert fano_bound(1 / 7, math.log(7), 7) == 0
    assert fano_bound(0.9, 1.825, 7) < fano_bound(0.95, 1.825, 7)
