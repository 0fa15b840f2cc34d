import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from trainer.networks.margin import MARGINS, MarginHead, arcface, cosface

angles = st.floats(0.01, math.pi - 0.01)


def batch(num_people=7, code_size=5, size=6):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(size, code_size, generator=generator, requires_grad=True)
    return codes, torch.randint(num_people, (size,), generator=generator)


@pytest.mark.parametrize("kind", MARGINS)
def test_without_margin_it_is_softmax_of_scaled_cosines(kind):
    codes, people = batch()
    head = MarginHead(5, 7, kind, 0.0, 64.0)
    cosines = F.cosine_similarity(codes[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(codes, people), F.cross_entropy(64 * cosines, people), rtol=1e-4, atol=1e-4)


@given(angle=angles, margin=st.floats(0, 1))
def test_arcface_adds_to_the_angle(angle, margin):
    found = float(arcface(torch.tensor(math.cos(angle), dtype=torch.float64), margin))
    if angle + margin < math.pi - 1e-6:
        assert found == pytest.approx(math.cos(angle + margin), abs=1e-6)
    elif angle + margin > math.pi + 1e-6:
        assert found <= -1 + 1e-9  # beyond the angle where the cosine would rise again


@pytest.mark.parametrize("kind", MARGINS)
def test_a_code_nearer_to_its_person_has_the_higher_logit_and_a_margin_never_helps(kind):
    cosine = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    lowered = MARGINS[kind](cosine, 0.5)
    assert (lowered.diff() > 0).all()
    assert (lowered <= cosine + 1e-6).all()


def test_cosface_is_off_by_the_margin_itself():
    torch.testing.assert_close(cosface(torch.tensor([0.9, -0.2]), 0.35), torch.tensor([0.55, -0.55]))


@pytest.mark.parametrize("kind", MARGINS)
def test_the_margin_lowers_the_logit_of_the_person_shown_alone(kind):
    """Two people at right angles: with code on the first one's direction, loss is that of two logits."""
    head = MarginHead(2, 2, kind, 0.5, 4.0)
    head.weight.data = torch.tensor([[3.0, 0.0], [0.0, 0.1]])
    own = {"arcface": math.cos(0.5), "cosface": 0.5}[kind]
    expected = math.log(1 + math.exp(-4 * own))
    assert head(torch.tensor([[0.2, 0.0]]), torch.tensor([0])).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", MARGINS)
def test_gradients_are_finite_even_where_a_code_is_on_its_direction(kind):
    head = MarginHead(2, 2, kind, 0.5, 64.0)
    head.weight.data = torch.eye(2)
    codes = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    torch.autograd.backward(head(codes, torch.tensor([0, 0])))
    assert codes.grad.isfinite().all() and head.weight.grad.isfinite().all()
