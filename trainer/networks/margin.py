"""Margin softmax: the loss of an encoder trained on identities, by the angle of a code to its person's direction."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def arcface(cosine: Tensor, margin: float) -> Tensor:
    """Return cos(theta + margin); beyond pi, where that would rise again, cos(theta) - margin sin(margin).

    Source:
        Deng et al. 2019, Eq. 3, arXiv:1801.07698; the guard is in the authors' code, not in the paper.
    """
    sine = (1 - cosine**2).clamp_min(1e-12).sqrt()
    within = cosine > -math.cos(margin)
    return torch.where(within, cosine * math.cos(margin) - sine * math.sin(margin), cosine - margin * math.sin(margin))


def cosface(cosine: Tensor, margin: float) -> Tensor:
    """Return cos(theta) - margin (Wang et al. 2018, Eq. 4, arXiv:1801.09414)."""
    return cosine - margin


MARGINS = {"arcface": arcface, "cosface": cosface}


class MarginHead(nn.Module):
    """One direction for each identity, and the loss of codes that should point along their own.

    Args:
        code_size: length of a code.
        num_people: number of identities.
        kind: arcface or cosface.
        margin: by how much the own identity's logit is lowered: an angle in radians (arcface) or a cosine (cosface).
        scale: length that codes are scaled to, s of both papers.
    """

    def __init__(self, code_size: int, num_people: int, kind: str, margin: float, scale: float) -> None:
        super().__init__()
        self.add_margin, self.margin, self.scale = MARGINS[kind], margin, scale
        self.weight = nn.Parameter(0.01 * torch.randn(num_people, code_size))

    def forward(self, codes: Float[Tensor, "batch code"], people: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the mean cross-entropy of codes.

        Args:
            codes: of any length; only their direction counts.
            people: index of the identity that each shows.
        """
        with torch.autocast(codes.device.type, enabled=False):
            cosines = F.normalize(codes.float()) @ F.normalize(self.weight).T
            own = people[:, None]
            lowered = self.add_margin(cosines.gather(1, own), self.margin)
            logits = self.scale * cosines.scatter(1, own, lowered)
            shifted = logits - logits.detach().amax(1, keepdim=True)  # F.cross_entropy rounds otherwise
            losses: Tensor = shifted.exp().sum(1, keepdim=True).log() - shifted.gather(1, own)
            return losses.mean()
