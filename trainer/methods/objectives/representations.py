"""Losses of the controls: what else shapes a code, with labels of expressions and of people; each to be minimised."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def supervised_contrast(
    codes: Float[Tensor, "batch dims"], classes: Int[Tensor, " batch"], temperature: float
) -> Float[Tensor, ""]:
    r"""Supervised contrastive loss: codes of one class attract each other, against all others of the batch.

    .. math:: L_{out} = \frac{1}{|A|} \sum_{i \in A} \frac{-1}{|P(i)|} \sum_{p \in P(i)}
              \log \frac{e^{z_i z_p / \tau}}{\sum_{a \neq i} e^{z_i z_a / \tau}}, \quad |z| = 1

    P(i): the others of i's class; A: the faces that have any (without one, the mean is not defined). A mean over the
    batch stands for the source's sum. Codes of one point, all alike: log(batch - 1).

    Args:
        codes: brought to length 1 here.
        classes: of each.
        temperature: tau.

    Source:
        Khosla et al. 2020, Eq. 2 (arXiv:2004.11362).
    """
    unit = F.normalize(codes.float(), dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    scores = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    log_share = (scores - scores.logsumexp(1, keepdim=True)).masked_fill(itself, 0)
    alike = (classes[:, None] == classes) & ~itself
    num = alike.sum(1)
    per_face = -(log_share * alike).sum(1) / num.clamp_min(1)
    return per_face.sum() / (num > 0).sum().clamp_min(1)


def person_loss(logits: Float[Tensor, "batch people"], person: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Cross-entropy of telling who it is, over the faces of people who are named; 0 where a batch has none.

    Args:
        logits: one a person.
        person: index of the person; -1: not named.
    """
    return F.cross_entropy(logits.float(), person, ignore_index=-1, reduction="sum") / (person >= 0).sum().clamp_min(1)


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return codes.view_as(codes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def reverse_gradient(codes: Float[Tensor, "batch dims"], weight: float) -> Float[Tensor, "batch dims"]:
    """Return codes as they are; the gradient that comes back is multiplied by -weight.

    What reads them then learns to tell, and what makes them learns that it cannot, in one step.

    Source:
        Ganin et al. 2016, Eqs. 16 and 17 (JMLR 17, arXiv:1505.07818).
    """
    reversed_codes: Tensor = _Reversed.apply(codes, weight)
    return reversed_codes


def hsic(first: Float[Tensor, "batch dims"], second: Float[Tensor, "batch others"]) -> Float[Tensor, ""]:
    r"""Hilbert-Schmidt independence criterion of two codes of the same faces, unbiased: 0 on average if unrelated.

    .. math:: \frac{1}{n (n - 3)} \Big[ tr(\tilde K \tilde L) + \frac{1^T \tilde K 1 \, 1^T \tilde L 1}{(n-1)(n-2)}
              - \frac{2}{n - 2} 1^T \tilde K \tilde L 1 \Big]

    K and L are Gaussian kernels whose width is the median distance of the batch (outside of autograd), their diagonals
    0. The biased estimate is not used: of unrelated codes it falls where a code shrinks to a point.

    Args:
        first: a code; at least 4 faces.
        second: another.

    Source:
        Song et al. 2012, Eq. 4 (JMLR 13); width: Gretton et al. 2012, section 8.
    """
    kernels = [_gaussian(codes.float()) for codes in (first, second)]
    num = len(first)
    rows = [kernel.sum(1) for kernel in kernels]
    whole = rows[0].sum() * rows[1].sum() / ((num - 1) * (num - 2))
    return ((kernels[0] * kernels[1]).sum() + whole - 2 / (num - 2) * (rows[0] @ rows[1])) / (num * (num - 3))


def normalised_hsic(first: Float[Tensor, "batch dims"], second: Float[Tensor, "batch others"]) -> Float[Tensor, ""]:
    """HSIC as a share of what the codes have with themselves: 1 of equal codes, 0 on average of unrelated ones.

    So that its weight does not depend on the dimensions of the codes. A constant code has 0.

    Source:
        Kornblith et al. 2019, Eq. 3 (arXiv:1905.00414), of the unbiased estimate.
    """
    own = hsic(first, first).clamp_min(1e-6) * hsic(second, second).clamp_min(1e-6)
    return hsic(first, second) / own.sqrt()


def _gaussian(codes: Float[Tensor, "batch dims"]) -> Float[Tensor, "batch batch"]:
    squared = (codes.unsqueeze(1) - codes).square().sum(2)
    off = ~torch.eye(len(codes), dtype=torch.bool, device=codes.device)
    median = squared.detach()[off].median().clamp_min(1e-12)
    return torch.exp(-squared / (2 * median)) * off
