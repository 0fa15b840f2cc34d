import math

import numpy as np
import pytest
import torch
from sklearn.feature_selection import mutual_info_regression

from trainer.methods.objectives.mutual_information import (
    ESTIMATORS,
    club,
    donsker_varadhan,
    info_nce,
    jensen_shannon,
    ksg,
    mine,
    nwj,
    smile,
)
from trainer.networks.critics import joint_and_marginal

OPTIMUM = {"nwj": 1.0}  # what the best scores are above the log density ratio; 0 for the others


def correlation(nats, dims):
    """The correlation of each of `dims` pairs of Gaussian variables that share so much in all."""
    return math.sqrt(1 - math.exp(-2 * nats / dims))


def gaussians(rho, num, dims=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, num, dims, generator=generator, dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def log_ratio(x, y, rho):
    """The optimal critic: the log of the joint density over the product of marginals; I = -dims log(1 - rho^2) / 2."""
    quadratic = rho**2 * (x**2 + y**2) - 2 * rho * x * y
    return (-0.5 * math.log(1 - rho**2) - quadratic / (2 * (1 - rho**2))).sum(-1)


def gaussian_scores(rho, num, dims=1, seed=0):
    x, y = gaussians(rho, num, dims, seed)
    return log_ratio(x, y, rho), log_ratio(x, y.roll(1, 0), rho)


def all_pairs(rho, num, dims=1, seed=0):
    x, y = gaussians(rho, num, dims, seed)
    return log_ratio(x[:, None], y, rho)


def random_scores(num=32, places=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, num, places, generator=generator) + 2 * torch.eye(num)[..., None]


# --- Gaussian pairs and the optimal critic
@pytest.mark.parametrize("dims", [1, 4, 20])
@pytest.mark.parametrize("nats", [0.2, 1.0, 2.0])
def test_the_optimal_critic_gives_the_mutual_information(nats, dims):
    joint, marginal = gaussian_scores(correlation(nats, dims), 200_000, dims)
    found = {"dv": donsker_varadhan(joint, marginal), "nwj": nwj(joint + 1, marginal + 1)}
    found["mine"] = mine(joint, marginal, torch.tensor(-math.inf))[0]
    for name, value in found.items():
        assert value.item() == pytest.approx(nats, abs=0.06), name
    assert found["nwj"] <= found["dv"] + 1e-6
    clamped = smile(joint, marginal)  # cuts high density ratios off, and nothing else
    assert found["dv"] - 0.01 <= clamped <= nats + 0.15


@pytest.mark.parametrize("nats", [0.2, 0.8, 2.0])
def test_info_nce_nears_the_mutual_information_from_below(nats):
    rho = correlation(nats, 4)
    found = [info_nce(*joint_and_marginal(all_pairs(rho, 512, 4, seed)[..., None], "all")) for seed in range(40)]
    assert nats - 0.1 < torch.cat(found).mean() < nats + 0.03


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_no_scaling_of_the_optimal_critic_scores_higher(name, scale):
    joint, marginal = gaussian_scores(0.8, 200_000)
    best = OPTIMUM.get(name, 0)
    estimator = ESTIMATORS[name]
    assert estimator(joint + best, marginal + best) > estimator(scale * joint + best, scale * marginal + best)


@pytest.mark.parametrize("name", ["dv", "nce", "nwj", "smile"])
def test_no_information_is_found_in_independent_pairs(name):
    """By the optimal critic of dependent ones, and by that of independent ones."""
    x, y = gaussians(0, 60_000)
    joint, marginal = log_ratio(x, y, 0.6), log_ratio(x, y.roll(1, 0), 0.6)
    assert ESTIMATORS[name](joint, marginal).item() < 0.01
    assert ESTIMATORS[name](0 * joint + OPTIMUM.get(name, 0), 0 * marginal + OPTIMUM.get(name, 0)).abs() < 1e-6


def test_all_pairs_of_a_batch_are_less_biased_than_one_shift():
    """At 2 nats in batches of 32; the measured bias is 0.02 and 0.25."""
    rho, found = correlation(2, 20), {"all": [], "shift": []}
    for seed in range(300):
        scores = all_pairs(rho, 32, 20, seed)[..., None]
        for negatives, values in found.items():
            values.append(donsker_varadhan(*joint_and_marginal(scores, negatives)).item())
    assert 1.9 < np.mean(found["all"]) < 2.1 < np.mean(found["shift"])
    assert np.std(found["all"]) < np.std(found["shift"])


# --- bounds and ceilings
@pytest.mark.parametrize("seed", range(3))
def test_bounds_keep_their_order_on_any_scores(seed):
    joint, marginal = joint_and_marginal(3 * random_scores(seed=seed), "all")
    dv = donsker_varadhan(joint, marginal)
    assert (nwj(joint, marginal) <= dv).all()
    assert (info_nce(joint, marginal) <= math.log(32)).all()
    assert (jensen_shannon(joint, marginal) <= 0).all()
    torch.testing.assert_close(mine(joint, marginal, dv)[0], dv)
    torch.testing.assert_close(smile(joint, marginal), donsker_varadhan(joint, marginal.clamp(-5, 5)))


def test_info_nce_is_bounded_by_its_number_of_pairs():
    perfect = info_nce(torch.full((5,), 1e4), torch.zeros(5 * 7))
    assert perfect.item() == pytest.approx(math.log(8))


@pytest.mark.parametrize("num", [2, 3, 32, 64])
def test_a_fixed_point_caps_donsker_varadhan_and_a_shift_has_none(num):
    scores = 50 * torch.eye(num)
    place = torch.arange(num)
    swapped = torch.cat([place[:1], place[1:].roll(1)])
    capped = donsker_varadhan(scores[place, place], scores[place, swapped]).item()
    assert capped <= math.log(num) + 1e-3
    for negatives in ("shift", "all"):
        assert donsker_varadhan(*joint_and_marginal(scores[..., None], negatives)).item() == pytest.approx(50)


def test_info_nce_sets_each_joint_pair_against_its_own():
    joint, marginal = torch.tensor([9.0, 0]), torch.tensor([9.0, 9, 0, 0])
    assert info_nce(joint, marginal).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(joint, marginal.flip(0)).item() < -3


def test_info_nce_does_not_count_masked_pairs():
    """-inf is a pair of the same class: each joint pair is set against what is left to it."""
    scores, classes = random_scores(12), torch.arange(12) % 5
    masked = info_nce(*joint_and_marginal(scores, "other", classes))
    alone = [info_nce(scores[i, i : i + 1], scores[i, classes != classes[i]]) for i in range(12)]
    torch.testing.assert_close(masked, torch.stack(alone).mean(0))


def test_masked_pairs_teach_nothing():
    scores = random_scores(8).requires_grad_()
    classes = torch.arange(8) % 2
    info_nce(*joint_and_marginal(scores, "other", classes)).sum().backward()
    same = (classes[:, None] == classes) & ~torch.eye(8, dtype=torch.bool)
    assert torch.isfinite(scores.grad).all() and (scores.grad[same] == 0).all() and (scores.grad[~same] != 0).all()


# --- what every estimator must stand
def test_a_blind_critic_finds_nothing():
    three, zero = torch.full((8,), 3.0), torch.zeros(8)
    for estimator in (donsker_varadhan, info_nce, smile, club):
        assert estimator(three, three).item() == pytest.approx(0, abs=1e-6)
    assert mine(three, three, torch.tensor(0.0))[0].item() == pytest.approx(0, abs=1e-6)
    assert nwj(zero + 1, zero + 1).item() == pytest.approx(0, abs=1e-6)
    assert jensen_shannon(zero, zero).item() == pytest.approx(-2 * math.log(2))


@pytest.mark.parametrize("size", [20.0, 60.0, 90.0, 1e4])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
def test_large_scores_do_not_overflow(size, kind):
    generator = torch.Generator().manual_seed(0)
    joint = (size + torch.rand(64, generator=generator)).to(kind).requires_grad_()
    marginal = (size * torch.rand(640, generator=generator)).to(kind).requires_grad_()
    values = {name: estimator(joint, marginal) for name, estimator in ESTIMATORS.items()}
    values |= {"club": club(joint, marginal), "mine": mine(joint, marginal, torch.tensor(-math.inf))[0]}
    for name, value in values.items():
        gradients = torch.autograd.grad(value.sum(), [joint, marginal])
        assert torch.isfinite(value) and value.dtype == torch.float32, name
        steep = name == "nwj" and kind == torch.float16  # e^40 is more than that can hold
        assert steep or all(torch.isfinite(gradient).all() for gradient in gradients), name
    j, m = joint.detach().double(), marginal.detach().double()
    reference = j.mean() - (m.max() + torch.log(torch.exp(m - m.max()).mean()))
    assert values["dv"].item() == pytest.approx(reference.item(), rel=1e-3)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_a_score_that_is_no_number_shows(name, value, side):
    scores = list(joint_and_marginal(random_scores(), "all"))
    scores[side][4, 1] = value
    found = ESTIMATORS[name](*scores)
    assert not torch.isfinite(found[1]) and torch.isfinite(found[[0, 2]]).all()
    found, average = mine(*scores, torch.zeros(3))
    assert not torch.isfinite(found[1]) and torch.isfinite(found[[0, 2]]).all()
    assert torch.isfinite(average[[0, 2]]).all()


def test_positions_are_estimated_one_by_one():
    joint, marginal = joint_and_marginal(random_scores(places=5), "all")
    average = torch.arange(5.0)
    for estimator in (*ESTIMATORS.values(), club):
        single = torch.stack([estimator(joint[:, place], marginal[:, place]) for place in range(5)])
        torch.testing.assert_close(estimator(joint, marginal), single)
    single = torch.stack([mine(joint[:, place], marginal[:, place], average[place])[1] for place in range(5)])
    torch.testing.assert_close(mine(joint, marginal, average)[1], single)


def test_the_order_of_the_batch_does_not_matter():
    scores, average = random_scores(), torch.zeros(3)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(1))
    one, other = joint_and_marginal(scores, "all"), joint_and_marginal(scores[order][:, order], "all")
    for estimator in (*ESTIMATORS.values(), club):
        torch.testing.assert_close(estimator(*one), estimator(*other))
    torch.testing.assert_close(mine(*one, average), mine(*other, average))


@pytest.mark.parametrize("estimator", [donsker_varadhan, info_nce, club])
def test_a_constant_in_the_scores_is_ignored(estimator):
    joint, marginal = gaussian_scores(0.8, 1000)
    torch.testing.assert_close(estimator(joint + 7, marginal + 7), estimator(joint, marginal), atol=1e-4, rtol=0)


# --- MINE and SMILE: one value, the gradient of another
def gradient(estimator, joint, marginal):
    joint, marginal = joint.clone().requires_grad_(), marginal.clone().requires_grad_()
    return torch.autograd.grad(estimator(joint, marginal).sum(), [joint, marginal])


@pytest.mark.parametrize("size", [1.0, 100.0])
def test_mine_is_donsker_varadhan_where_its_average_is_this_batch(size):
    """At the first batch, too, whose average is its own."""
    scores = joint_and_marginal(size * random_scores(), "all")
    now = mine(*scores, torch.full((3,), -math.inf))[1]
    torch.testing.assert_close(mine(*scores, now)[1], now)
    wanted = gradient(donsker_varadhan, *scores)
    for average in (now, torch.full((3,), -math.inf)):
        found = gradient(lambda joint, marginal, a=average: mine(joint, marginal, a)[0], *scores)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_mines_average_stays_outside_of_autograd_and_moves_by_a_hundredth():
    joint, marginal = torch.zeros(4, requires_grad=True), torch.full((4,), math.log(2), requires_grad=True)
    average = mine(joint, marginal, torch.tensor(0.0))[1]
    assert not average.requires_grad and average.exp().item() == pytest.approx(1.01)
    with_average = gradient(lambda joint, marginal: mine(joint, marginal, torch.tensor(3.0))[0], joint, marginal)
    assert with_average[1].sum().abs() < gradient(donsker_varadhan, joint, marginal)[1].sum().abs() / 5


def test_mines_average_converges_to_that_of_many_batches():
    """Of e^T, whose mean is 1 for the optimal critic; a batch's own logarithm is too low."""
    average, single = torch.tensor(-math.inf), []
    for seed in range(2000):
        marginal = gaussian_scores(correlation(1.5, 5), 16, 5, seed)[1]
        average = mine(marginal, marginal, average)[1]
        single.append(math.log(marginal.exp().mean()))
    assert abs(average.item()) < 0.2 and np.mean(single) < -0.2


def test_smile_trains_as_jensen_shannon():
    scores = joint_and_marginal(4 * random_scores(), "all")
    torch.testing.assert_close(gradient(smile, *scores), gradient(jensen_shannon, *scores))


# --- estimates that train no critic
def test_club_with_the_true_conditional_is_above_the_truth():
    """Scored by the density ratio: it is the conditional density over that of y alone, which cancels."""
    for rho in (0.3, 0.6, 0.9):
        found, truth = club(*gaussian_scores(rho, 100_000, 3)).item(), -1.5 * math.log(1 - rho**2)
        assert found > truth
        assert found == pytest.approx(3 * rho**2 / (1 - rho**2), rel=0.03)  # the two divergences' sum, by hand
    assert club(*gaussian_scores(0, 1000, 3)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("dims", "rho", "error"),
    [(1, 0, 0.05), (1, 0.5, 0.05), (1, 0.9, 0.05), (3, 0, 0.05), (3, 0.5, 0.1), (3, 0.9, 0.35)],
)
def test_ksg_on_gaussians(dims, rho, error):
    x, y = (side.numpy() for side in gaussians(rho, 2000, dims))
    truth, found = -dims / 2 * math.log(1 - rho**2), ksg(x, y)
    assert truth - error < found < truth + 0.05  # the more there is, the more it misses
    assert ksg(x * [1e3] + 5, y.astype(np.float32) * 1e-3) == pytest.approx(found, abs=1e-3)
    order = np.random.default_rng(0).permutation(2000)
    assert ksg(x[order], y[order]) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("k", [1, 3])
def test_ksg_is_scikit_learns_in_one_dimension(k):
    x, y = (side.numpy() for side in gaussians(0.7, 500))
    wanted = mutual_info_regression(x, y[:, 0], n_neighbors=k, random_state=0)
    assert ksg(x, y, k) == pytest.approx(wanted[0], abs=1e-9)


def test_ksg_of_equal_rows_is_finite_and_right():
    generator = np.random.default_rng(0)
    dice, other = generator.integers(0, 4, (2, 2000, 1)).astype(float)
    assert ksg(dice, dice) == pytest.approx(math.log(4), abs=0.05)
    assert ksg(dice, other) == pytest.approx(0, abs=0.05)
    assert ksg(np.ones((50, 2)), dice[:50]) == pytest.approx(0, abs=1e-6)


def test_ksg_refuses_what_it_cannot_judge():
    rows = np.arange(8.0)[:, None]
    with pytest.raises(ValueError, match="8 rows of x and 7 of y"):
        ksg(rows, rows[1:])
    with pytest.raises(ValueError, match="more than k = 8"):
        ksg(rows, rows, k=8)
    with pytest.raises(ValueError, match="finite"):
        ksg(np.where(rows > 3, np.nan, rows), rows)
