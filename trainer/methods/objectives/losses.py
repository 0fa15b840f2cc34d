"""Losses: pure functions of tensors, one an equation; each to be minimised."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
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


def reconstruction_loss(
    generated: Float[Tensor, "batch channels height width"], average: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, ""]:
    """Mean absolute difference of generated pictures and the average faces they are to be, over all pixels.

    A sum over the pixels would weigh 50,176 times more at 224 px, and silence the other terms.

    Source:
        IF-GAN Eq. 3.
    """
    return (generated.float() - average.float()).abs().mean()


def picture_loss(real: Float[Tensor, "*patches"], generated: Float[Tensor, "*others"]) -> Float[Tensor, ""]:
    """Cross-entropy of telling average faces, 1, from generated ones, 0: what the discriminator minimises.

    Blind, it is 2 log 2.

    Args:
        real: logits of a face and the average face of its expression.
        generated: logits of a face and what the generator makes of it.

    Source:
        IF-GAN Eq. 2.
    """
    return F.softplus(-real.float()).mean() + F.softplus(generated.float()).mean()


def realism_loss(generated: Float[Tensor, "*patches"]) -> Float[Tensor, ""]:
    """Cross-entropy of passing generated pictures off as average faces: what the generator minimises.

    The non-saturating form of IF-GAN Eq. 2 (Goodfellow et al. 2014, section 3).
    """
    return F.softplus(-generated.float()).mean()


def island_loss(
    features: Float[Tensor, "batch dims"],
    classes: Int[Tensor, " batch"],
    centres: Float[Tensor, "classes dims"],
    pairwise_weight: float,
    reduction: str,
) -> Float[Tensor, ""]:
    """Squared distance of features to the centre of their class, plus how alike the centres are.

    The second term moves no feature: it is for the centres (`moved_centres`), and for the log.

    Args:
        pairwise_weight: of the second term, alpha.
        reduction: `mean`, half of a mean over the batch; `sum`, as IF-GAN's Eq. 5 is printed, which grows with the
            batch.

    Source:
        IF-GAN Eq. 5; Cai et al. 2018, arXiv:1710.03144.
    """
    squared = (features.float() - centres[classes]).square().sum()
    near = squared if reduction == "sum" else squared / (2 * len(features))
    return near + pairwise_weight * centre_likeness(centres)


def centre_likeness(centres: Float[Tensor, "classes dims"]) -> Float[Tensor, ""]:
    """Sum over ordered pairs of two centres of 1 + their cosine: 0 for two opposite ones; a zero centre has cosine 0.

    Source:
        IF-GAN Eq. 5, second term; a centre is not held against itself.
    """
    length = torch.linalg.vector_norm(centres, dim=1, keepdim=True)
    unit = centres / torch.where(length > 0, length, 1.0)
    num = len(centres)
    return (unit @ unit.T).masked_fill(torch.eye(num, dtype=torch.bool, device=unit.device), -1).add(1).sum()


def moved_centres(
    centres: Float[Tensor, "classes dims"],
    features: Float[Tensor, "batch dims"],
    classes: Int[Tensor, " batch"],
    rate: float,
    pairwise_weight: float,
) -> Float[Tensor, "classes dims"]:
    """Return the centres after a step: towards the batch's features of their class, and apart.

    Source:
        Wen et al. 2016, Eq. 4, with the gradient of the island term (Cai et al. 2018), each divided by what public
        implementations divide it by: 1 + faces of the class, and classes - 1.
    """
    member = F.one_hot(classes, len(centres)).to(centres.dtype)
    count = member.sum(0).unsqueeze(1)
    pull = (count * centres - member.T @ features.detach().to(centres.dtype)) / (1 + count)
    push: Tensor = torch.func.grad(centre_likeness)(centres)
    return centres - rate * (pull + pairwise_weight / max(1, len(centres) - 1) * push)


def running_means(
    means: Float[Tensor, "classes dims"],
    counts: Float[Tensor, " classes"],
    features: Float[Tensor, "batch dims"],
    classes: Int[Tensor, " batch"],
) -> tuple[Float[Tensor, "classes dims"], Float[Tensor, " classes"]]:
    """Return the mean feature of each class, and of how many, with a further batch counted in."""
    member = F.one_hot(classes, len(means)).to(means.dtype)
    total = counts + member.sum(0)
    sums = means * counts.unsqueeze(1) + member.T @ features.detach().to(means.dtype)
    return sums / total.clamp_min(1).unsqueeze(1), total


def island_step(
    features: Float[Tensor, "batch dims"],
    classes: Int[Tensor, " batch"],
    centres: Float[Tensor, "classes dims"],
    counts: Float[Tensor, " classes"],
    *,
    first_epoch: bool,
    rate: float,
    pairwise_weight: float,
    reduction: str,
) -> tuple[Float[Tensor, ""], Float[Tensor, "classes dims"], Float[Tensor, " classes"]]:
    """Return the island loss of a step, and the centres and counts after it.

    In the first epoch centres are only found, as class means, and the loss is 0: beside a zero centre the cosine of the
    second term says nothing.

    Args:
        counts: faces of each class that the centres are means of.
        rate: see `moved_centres`.
        pairwise_weight: see `island_loss`, as for `reduction`.
    """
    if first_epoch:
        return torch.zeros((), device=features.device), *running_means(centres, counts, features, classes)
    loss = island_loss(features, classes, centres, pairwise_weight, reduction)
    return loss, moved_centres(centres, features, classes, rate, pairwise_weight), counts
