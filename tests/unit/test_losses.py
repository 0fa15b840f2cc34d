import math

import pytest
import torch

from trainer.methods.objectives.losses import code_distance, discriminator_loss, independence_loss, spread


def test_equal_codes_have_no_distance_and_dimensions_do_not_add_up():
    codes = torch.randn(8, 4)
    assert code_distance(codes, codes).item() == 0
    wide = torch.ones(8, 64)
    assert code_distance(wide, 0 * wide).item() == code_distance(wide[:, :4], 0 * wide[:, :4]).item() == 1


def test_a_blind_discriminator_loses_two_log_two_and_a_sure_one_nothing():
    zero = torch.zeros(16)
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(zero + 50, zero - 50).item() == pytest.approx(0, abs=1e-6)
    assert discriminator_loss(zero - 50, zero + 50).item() == pytest.approx(100)


def test_the_encoder_and_the_discriminator_pull_joint_logits_apart():
    joint = torch.zeros(4, requires_grad=True)
    independence_loss(joint).backward()
    pull = joint.grad.clone()
    joint.grad = None
    discriminator_loss(torch.zeros(4), joint).backward()
    assert (pull < 0).all() and (joint.grad > 0).all()  # descent raises the one, lowers the other


def test_the_encoder_still_has_a_gradient_where_the_discriminator_is_sure():
    joint = torch.full((4,), -20.0, requires_grad=True)
    independence_loss(joint).backward()
    torch.testing.assert_close(joint.grad, torch.full((4,), -0.25))


def test_spread_is_the_standard_deviation_and_carries_no_gradient():
    codes = torch.randn(10_000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2, 3])
    assert spread(codes.requires_grad_()).item() == pytest.approx(2, rel=0.03)
    assert not spread(codes).requires_grad
