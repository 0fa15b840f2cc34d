"""Losses: pure functions of tensors, one an equation; each to be minimised."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def code_distance(anchor: Float[Tensor, "batch dims"], partner: Float[Tensor, "batch dims"]) -> Float[Tensor, ""]:
    """Mean absolute difference of the expression codes of a pair, over batch and dimensions.

    A sum over the dimensions would weigh 64 times more and collapses the code (docs/papers.md).

    Source:
        DICE-FER Eq. 7.
    """
    return (anchor.float() - partner.float()).abs().mean()


def discriminator_loss(independent: Float[Tensor, " independent"], joint: Float[Tensor, " joint"]) -> Float[Tensor, ""]:
    """Cross-entropy of telling shuffled (independent) codes, 1, from codes of one face (joint), 0; blind: 2 log 2.

    Args:
        independent: logits of [E(face), I(another face)].
        joint: logits of [E(face), I(face)].

    Source:
        DICE-FER Eq. 10, as the discriminator sees it.
    """
    independent, joint = independent.float(), joint.float()
    return F.softplus(-independent).mean() + F.softplus(joint).mean()


def independence_loss(joint: Float[Tensor, " joint"]) -> Float[Tensor, ""]:
    """Cross-entropy of passing codes of one face off as independent: what the identity encoder minimises.

    The non-saturating form of DICE-FER Eq. 10 (Goodfellow et al. 2014, section 3): the same fixed point, a gradient
    where the discriminator is sure.
    """
    return F.softplus(-joint.float()).mean()


def spread(codes: Float[Tensor, "batch dims"]) -> Float[Tensor, ""]:
    """Mean over the dimensions of the codes' standard deviation in a batch: near zero, the code has collapsed."""
    return torch.std(codes.detach().float(), dim=0).mean()
