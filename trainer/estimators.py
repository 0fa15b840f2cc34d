"""Mutual information from critic scores: one pure function an estimator, each to be maximised.

A critic scores pairs that belong together (joint) and pairs that were put together by chance (marginal). Scores may
have further axes (the positions of a feature map): each is estimated by itself. All is computed in float32.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Joint = Float[Tensor, "joint *positions"]
Marginal = Float[Tensor, "marginal *positions"]
Estimate = Float[Tensor, "*positions"]


def donsker_varadhan(joint: Joint, marginal: Marginal) -> Estimate:
    r"""Donsker-Varadhan lower bound on mutual information, in nats.

    .. math:: \hat I_{DV} = E_{joint}[T] - \log E_{marginal}[e^T]

    A lower bound in expectation only: with few marginal pairs the logarithm is estimated too low, and as a training
    objective it is unbounded from about 2 nats below log(marginal pairs) on (McAllester & Stratos 2020).

    Source:
        DICE-FER Eq. 3; Donsker & Varadhan 1983; Belghazi et al. 2018, Eq. 10 (arXiv:1801.04062).
    """
    joint, marginal = joint.float(), marginal.float()
    return joint.mean(0) - (torch.logsumexp(marginal, 0) - math.log(len(marginal)))


def jensen_shannon(joint: Joint, marginal: Marginal) -> Estimate:
    r"""Jensen-Shannon estimate: it ranks, it is not in nats; between -2 log 2 (a blind critic) and 0.

    .. math:: \hat I_{JSD} = E_{joint}[-sp(-T)] - E_{marginal}[sp(T)], \quad sp(t) = \log(1 + e^t)

    Source:
        Hjelm et al. 2019, Eq. 4 (arXiv:1808.06670).
    """
    return -F.softplus(-joint.float()).mean(0) - F.softplus(marginal.float()).mean(0)


def info_nce(joint: Joint, marginal: Marginal) -> Estimate:
    r"""InfoNCE lower bound on mutual information, in nats: each joint pair against N marginal pairs of its own.

    .. math:: \hat I_{NCE} = E_i [T_i - \log \frac{e^{T_i} + \sum_j e^{T_{ij}}}{N + 1}] \le \log(N + 1)

    Every pair has a partition of its own, so that no few high scores decide what is learnt from the others.

    Args:
        joint: (B, ...).
        marginal: (B N, ...); the N that stand against joint pair i stand together, in the order of the joint pairs.

    Source:
        van den Oord et al. 2018, Eq. 4 (arXiv:1807.03748); Hjelm et al. 2019, Eq. 5.
    """
    joint = joint.float().unsqueeze(1)
    among = torch.cat([joint, marginal.float().reshape(len(joint), -1, *marginal.shape[1:])], dim=1)
    return (joint.squeeze(1) - torch.logsumexp(among, 1)).mean(0) + math.log(among.shape[1])


ESTIMATORS: dict[str, Callable[[Joint, Marginal], Estimate]] = {
    "dv": donsker_varadhan, "jsd": jensen_shannon, "nce": info_nce
}  # fmt: skip
