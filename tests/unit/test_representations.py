"""The controls' losses: values known by hand or from elsewhere, and what each must and must not move."""

import math

import numpy as np
import pytest
import torch

from trainer.evaluation.metrics.dependence import rbf_kernel, unbiased_hsic
from trainer.methods.objectives.representations import (
    hsic,
    normalised_hsic,
    person_loss,
    reverse_gradient,
    supervised_contrast,
)

CLASSES = torch.tensor([0, 0, 1, 1, 1, 2])


def test_codes_that_are_all_alike_lose_the_logarithm_of_the_others():
    assert supervised_contrast(torch.ones(6, 4), CLASSES, 0.1).item() == pytest.approx(math.log(5), abs=1e-5)


def test_classes_apart_lose_only_what_their_own_number_makes():
    """Of classes at right angles and a low temperature, the others of one's class share what there is."""
    codes = torch.eye(3)[CLASSES]
    known = (2 * math.log(1) + 3 * math.log(2)) / 5  # the face without another of its class does not count
    assert supervised_contrast(codes, CLASSES, 0.01).item() == pytest.approx(known, abs=1e-5)


def test_the_contrast_is_blind_to_length_and_order_and_falls_as_a_class_gathers():
    codes = torch.randn(6, 4)
    loss = supervised_contrast(codes, CLASSES, 0.5)
    order = torch.randperm(6)
    torch.testing.assert_close(supervised_contrast(3 * codes[order], CLASSES[order], 0.5), loss)
    gathered = codes + 2 * torch.eye(4)[CLASSES]
    assert supervised_contrast(gathered, CLASSES, 0.5) < loss


def test_two_views_of_each_face_without_other_labels_are_info_nce():
    """Khosla et al. 2020, section 3.2: with one positive the loss is the self-supervised one."""
    codes = torch.nn.functional.normalize(torch.randn(8, 5), dim=1)
    scores = (codes @ codes.T / 0.2).fill_diagonal_(-torch.inf)
    partner = torch.arange(8).roll(4)
    known = torch.nn.functional.cross_entropy(scores, partner)
    torch.testing.assert_close(supervised_contrast(codes, torch.arange(4).repeat(2), 0.2), known)


def test_a_batch_without_a_pair_has_no_contrast_and_no_nan():
    codes = torch.randn(3, 4, requires_grad=True)
    loss = supervised_contrast(codes, torch.arange(3), 0.1)
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(codes.grad).all()


def test_a_reversed_gradient_is_the_negative_and_the_value_stays():
    codes = torch.randn(4, 3, requires_grad=True)
    out = reverse_gradient(codes, 0.5)
    assert torch.equal(out, codes)
    out.sum().backward()
    torch.testing.assert_close(codes.grad, torch.full((4, 3), -0.5))


def test_faces_of_nobody_known_do_not_count():
    logits = torch.randn(4, 3)
    person = torch.tensor([0, 2, -1, -1])
    torch.testing.assert_close(person_loss(logits, person), person_loss(logits[:2], person[:2]))
    assert person_loss(logits, torch.full((4,), -1)).item() == 0
    assert person_loss(torch.zeros(4, 3), person).item() == pytest.approx(math.log(3))


def test_hsic_is_that_of_the_metric_which_was_written_apart():
    first, second = torch.randn(22, 3), torch.randn(22, 2)  # of 231 distances one is the median
    second[:, 0] += first[:, 0]
    known = unbiased_hsic(*(rbf_kernel(codes.double().numpy()) for codes in (first, second)))
    assert hsic(first, second).item() == pytest.approx(known, abs=1e-5)


def test_hsic_is_none_on_average_for_unrelated_codes_and_falls_by_descent():
    generator = torch.Generator().manual_seed(0)
    unrelated = [hsic(*torch.randn(2, 32, 4, generator=generator)).item() for _ in range(200)]
    assert abs(np.mean(unrelated)) < 3 * np.std(unrelated) / 200**0.5


def test_normalised_hsic_is_one_of_equal_codes_and_falls_by_descent():
    first = torch.randn(32, 4)
    assert normalised_hsic(first, 3 * first).item() == pytest.approx(1, abs=1e-5)
    second = first.clone().requires_grad_()
    optimizer = torch.optim.Adam([second], lr=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        normalised_hsic(first, second).backward()
        optimizer.step()
    assert normalised_hsic(first, second) < 0.5


def test_a_constant_code_is_independent_of_all():
    constant = torch.zeros(8, 3, requires_grad=True)
    value = normalised_hsic(constant, torch.randn(8, 2))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6) and torch.isfinite(constant.grad).all()
