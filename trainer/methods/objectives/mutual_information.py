"""Mutual information from critic scores, or from samples: one pure function an estimator.

A critic scores pairs that belong together (joint) and pairs that were put together by chance (marginal). Scores may
have further axes (the positions of a feature map): each is estimated by itself. All is computed in float32. Finite
scores give finite estimates; a score of nan gives nan, one of inf gives nan or an infinity, so that neither passes
unseen. A marginal score of -inf is a pair that does not count for InfoNCE, and one of no weight (e^T = 0) elsewhere.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

Joint = Float[Tensor, "joint *positions"]
Marginal = Float[Tensor, "marginal *positions"]
Estimate = Float[Tensor, "*positions"]

CLAMP = 5.0  # SMILE's tau
STEEPEST = 40.0  # where NWJ's exponential becomes a line: the squares of its gradients still fit float32
AVERAGE_RATE = 0.01  # of MINE's moving average


def donsker_varadhan(joint: Joint, marginal: Marginal) -> Estimate:
    r"""Donsker-Varadhan lower bound on mutual information.

    .. math:: \hat I_{DV} = E_{joint}[T] - \log E_{marginal}[e^T]

    Bias: upwards, since the logarithm of a mean over few pairs is too low; its gradient is biased with it. A lower
    bound in the limit of many pairs only. Ceiling: none on the value; trustworthy below log(marginal pairs) alone. As
    a training objective it is unbounded from about 2 nats below that on (McAllester & Stratos 2020, arXiv:1811.04251).

    Source:
        DICE-FER Eq. 3; Donsker & Varadhan 1983; Belghazi et al. 2018, Eq. 10 (arXiv:1801.04062).
    """
    return joint.float().mean(0) - _log_mean_exp(marginal)


def mine(joint: Joint, marginal: Marginal, average: Estimate) -> tuple[Estimate, Estimate]:
    r"""Donsker-Varadhan's value, with MINE's gradient: its denominator is a moving average over batches.

    .. math:: \nabla \hat I = \nabla (E_{joint}[T] - e^{\log E_{marginal}[e^T] - a}), \quad
              e^a \leftarrow 0.99 e^a + 0.01 E_{marginal}[e^T]

    Bias: the value's is that of Donsker-Varadhan, the gradient's fades as the average gathers batches; scores that grow
    faster than the average follows are held back, and large information is found too small. Ceiling: as there.

    Args:
        joint: scores of pairs that belong together.
        marginal: scores of pairs put together by chance.
        average: a, as the last batch returned it: to be kept with the weights; -inf before the first batch.

    Returns:
        The estimate, and the average with this batch in it, outside of autograd.

    Source:
        Belghazi et al. 2018, Eq. 12 and section 3.2 (arXiv:1801.04062).
    """
    partition = _log_mean_exp(marginal)
    now = partition.detach()
    moved = torch.logaddexp(average + math.log1p(-AVERAGE_RATE), now + math.log(AVERAGE_RATE))
    average = torch.where(average == -math.inf, now, moved).detach()
    objective = joint.float().mean(0) - torch.exp(partition - average)  # at most e^T / (rate e^T): no overflow
    value = donsker_varadhan(joint, marginal).detach()
    return value + (objective - objective.detach()), average


def nwj(joint: Joint, marginal: Marginal) -> Estimate:
    r"""Nguyen-Wainwright-Jordan lower bound, also known as the f-GAN bound on the Kullback-Leibler divergence.

    .. math:: \hat I_{NWJ} = E_{joint}[T] - E_{marginal}[e^{T - 1}]

    Bias: none, in value and gradient; never above Donsker-Varadhan of the same scores; but the variance grows as
    e^I. Ceiling: none on the value; trustworthy below log(marginal pairs) alone.

    From T = 41 on the exponential goes on as its tangent, so that no score overflows. That is the same bound of a
    divergence equal to the mutual information wherever no density ratio exceeds e^40.

    Source:
        Nguyen, Wainwright & Jordan 2010 (arXiv:0809.0853); Nowozin et al. 2016 (arXiv:1606.00709).
    """
    exponent = marginal.float() - 1
    grown = exponent.clamp(max=STEEPEST).exp() * (1 + (exponent - STEEPEST).clamp(min=0))
    return joint.float().mean(0) - grown.mean(0)


def jensen_shannon(joint: Joint, marginal: Marginal) -> Estimate:
    r"""Jensen-Shannon estimate: it ranks, it is not in nats.

    .. math:: \hat I_{JSD} = E_{joint}[-sp(-T)] - E_{marginal}[sp(T)], \quad sp(t) = \log(1 + e^t)

    Bias: none, and little variance; at best twice the Jensen-Shannon divergence less 2 log 2, so between -2 log 2
    (nothing shared) and its ceiling 0. The best T is the log density ratio: other estimators can read its scores.

    Source:
        Hjelm et al. 2019, Eq. 4 (arXiv:1808.06670).
    """
    joint = joint.float()
    return -(F.softplus(-joint) + 0 * joint).mean(0) - F.softplus(marginal.float()).mean(0)  # 0 T: an inf shows as nan


def smile(joint: Joint, marginal: Marginal) -> Estimate:
    r"""SMILE: Donsker-Varadhan's value with clamped marginal scores; its gradient is that of Jensen-Shannon.

    .. math:: \hat I_{SMILE} = E_{joint}[T] - \log E_{marginal}[e^{\min(\max(T, -5), 5)}]

    Bias: what the clamp cuts off the partition, upwards where density ratios exceed e^5; in return the variance no
    longer grows with the information. Neither a lower nor an upper bound. Ceiling: none.

    Source:
        Song & Ermon 2020 (arXiv:1910.06222).
    """
    value = donsker_varadhan(joint, marginal.clamp(-CLAMP, CLAMP)).detach()
    objective = jensen_shannon(joint, marginal)
    return value + (objective - objective.detach())


def info_nce(joint: Joint, marginal: Marginal) -> Estimate:
    r"""InfoNCE lower bound on mutual information: each joint pair against N marginal pairs of its own.

    .. math:: \hat I_{NCE} = E_i [T_i - \log \frac{e^{T_i} + \sum_j e^{T_{ij}}}{N + 1}] \le \log(N + 1)

    Every pair has a partition of its own, so that no few high scores decide what is learnt from the others.

    Bias: downwards, the more so the nearer the ceiling; little variance. Ceiling: log(N + 1), whatever the scores.

    Args:
        joint: (B, ...).
        marginal: (B N, ...); the N that stand against joint pair i stand together, in the order of the joint pairs.
            One of -inf does not count: N is then smaller for its joint pair.

    Source:
        van den Oord et al. 2018, Eq. 4 (arXiv:1807.03748); Hjelm et al. 2019, Eq. 5.
    """
    joint = joint.float().unsqueeze(1)
    among = torch.cat([joint, marginal.float().reshape(len(joint), -1, *marginal.shape[1:])], dim=1)
    counted = (among != -math.inf).sum(1).double()
    return (joint.squeeze(1) - torch.logsumexp(among, 1)).mean(0) + counted.log().mean(0).float()


def club(joint: Joint, marginal: Marginal) -> Estimate:
    r"""CLUB upper bound on mutual information, from a model q of one variable given the other.

    .. math:: \hat I_{CLUB} = E_{joint}[\log q(y | x)] - E_{marginal}[\log q(y | x)]

    Bias: upwards, for the true conditional density by the divergence of the product of marginals from the joint: weak
    dependence is found twice as large, strong one exponentially larger. An upper bound only while q p(x) is nearer to
    the joint density than the product of marginals is; a poor q bounds nothing. Ceiling: none. It trains no critic.

    Args:
        joint: log q(y_i | x_i), of pairs that belong together.
        marginal: log q(y_j | x_i), of pairs put together by chance.

    Source:
        Cheng et al. 2020, sections 3.1 and 3.2 (arXiv:2006.12013).
    """
    return joint.float().mean(0) - marginal.float().mean(0)


def ksg(x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]], k: int = 3) -> float:
    r"""Nearest-neighbour estimate of the mutual information of two variables: it needs no critic and trains none.

    .. math:: \hat I_{KSG} = \psi(k) + \psi(n) - \langle \psi(n_x + 1) + \psi(n_y + 1) \rangle

    Bias: small in few dimensions; downwards in many, or for much information. Ceiling: psi(n) - psi(k), about
    log(n / k). Every column is first brought to unit spread, so that its unit does not matter, and moved by 1e-10 of
    it, as the source advises, so that equal rows have neighbours in some order.

    Args:
        x: (n, dimensions of x).
        y: (n, dimensions of y); row i belongs to row i of x.
        k: the neighbour whose distance sets the scale: more of them, less variance and more bias.

    Raises:
        ValueError: rows do not match, are not more than k, or are not finite.

    Source:
        Kraskov, Stoegbauer & Grassberger 2004, Eq. 8 (doi:10.1103/PhysRevE.69.066138).
    """
    from scipy.spatial import cKDTree
    from scipy.special import digamma

    if not len(x) == len(y) > k:
        raise ValueError(f"{len(x)} rows of x and {len(y)} of y: expected as many of both, and more than k = {k}")
    generator = np.random.default_rng(0)
    sides = [_scattered(np.asarray(side, np.float64), generator) for side in (x, y)]
    distances, _ = cKDTree(np.hstack(sides)).query(np.hstack(sides), k + 1, p=np.inf)  # the nearest is itself
    nearer = np.nextafter(distances[:, k], 0)
    within = [cKDTree(side).query_ball_point(side, nearer, p=np.inf, return_length=True) for side in sides]  # with self
    return float(digamma(k) + digamma(len(x)) - np.mean(digamma(within[0]) + digamma(within[1])))


def _scattered(side: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Bring columns to unit spread, where they have any, and part equal rows by a hair."""
    spread = side.std(0)
    moved = side - side.mean(0) + 1e-10 * spread * generator.standard_normal(side.shape)
    scattered: NDArray[np.float64] = moved / np.where(spread > 0, spread, 1)
    return scattered


def _log_mean_exp(scores: Marginal) -> Estimate:
    return torch.logsumexp(scores.float(), 0) - math.log(len(scores))


ESTIMATORS: dict[str, Callable[[Joint, Marginal], Estimate]] = {
    "dv": donsker_varadhan, "jsd": jensen_shannon, "nce": info_nce, "smile": smile, "nwj": nwj
}  # fmt: skip
