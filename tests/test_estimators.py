import math

import pytest
import torch

from trainer.estimators import ESTIMATORS, donsker_varadhan, info_nce, jensen_shannon
from trainer.networks.critics import joint_and_marginal


def gaussian_scores(rho, num, seed=0):
    """Scores of the optimal critic, the log density ratio, of correlated Gaussian pairs; I = -log(1 - rho^2) / 2."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, num, generator=generator, dtype=torch.float64)
    y = rho * x + math.sqrt(1 - rho**2) * noise

    def ratio(x, y):
        return -0.5 * math.log(1 - rho**2) - (rho**2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - rho**2))

    return ratio(x, y), ratio(x, y.roll(1))


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_donsker_varadhan_with_the_optimal_critic_is_the_mutual_information(rho):
    estimate = donsker_varadhan(*gaussian_scores(rho, 400_000))
    assert estimate.item() == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.02)


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_info_nce_nears_the_mutual_information_from_below(rho):
    """In batches of 512, all pairs, with the optimal critic."""
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 20, 512, generator=generator)
    y = rho * x + math.sqrt(1 - rho**2) * noise
    found = []
    for xs, ys in zip(x, y, strict=True):
        scores = -(rho**2 * (xs[:, None] ** 2 + ys**2) - 2 * rho * xs[:, None] * ys) / (2 * (1 - rho**2))
        found.append(info_nce(*joint_and_marginal(scores[..., None], "all")).item())
    truth = -0.5 * math.log(1 - rho**2)
    assert truth - 0.05 < sum(found) / len(found) < truth + 0.02


def test_info_nce_is_bounded_by_its_number_of_pairs():
    perfect = info_nce(torch.full((5,), 1e4), torch.zeros(5 * 7))
    assert perfect.item() == pytest.approx(math.log(8))


def test_info_nce_sets_each_joint_pair_against_its_own():
    joint, marginal = torch.tensor([9.0, 0]), torch.tensor([9.0, 9, 0, 0])
    assert info_nce(joint, marginal).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(joint, marginal.flip(0)).item() < -3


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_no_scaling_of_the_optimal_critic_scores_higher(estimator, scale):
    joint, marginal = gaussian_scores(0.8, 200_000)
    assert estimator(joint, marginal) > estimator(scale * joint, scale * marginal)


def test_a_blind_critic_finds_nothing():
    zero = torch.zeros(8)
    assert donsker_varadhan(zero + 3, zero + 3).item() == pytest.approx(0, abs=1e-6)
    assert jensen_shannon(zero, zero).item() == pytest.approx(-2 * math.log(2))
    assert info_nce(zero + 3, zero + 3).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [20.0, 60.0, 90.0, 1e4])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_large_scores_do_not_overflow(size, kind):
    generator = torch.Generator().manual_seed(0)
    joint = (size + torch.rand(64, generator=generator)).to(kind)
    marginal = (size * torch.rand(640, generator=generator)).to(kind)
    for estimator in ESTIMATORS.values():
        assert torch.isfinite(estimator(joint, marginal))
    j, m = joint.double(), marginal.double()
    reference = j.mean() - (m.max() + torch.log(torch.exp(m - m.max()).mean()))
    assert donsker_varadhan(joint, marginal).item() == pytest.approx(reference.item(), rel=1e-3, abs=1e-3)


def test_positions_are_estimated_one_by_one():
    generator = torch.Generator().manual_seed(0)
    joint, marginal = torch.randn(32, 5, generator=generator), torch.randn(96, 5, generator=generator)
    for estimator in ESTIMATORS.values():
        single = torch.stack([estimator(joint[:, place], marginal[:, place]) for place in range(5)])
        torch.testing.assert_close(estimator(joint, marginal), single)


def test_donsker_varadhan_ignores_a_constant():
    joint, marginal = gaussian_scores(0.8, 1000)
    torch.testing.assert_close(
        donsker_varadhan(joint + 7, marginal + 7), donsker_varadhan(joint, marginal), atol=1e-4, rtol=0
    )
