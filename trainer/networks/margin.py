"""Margin softmax: which person a code shows, by angle, made harder in training; over one process or several.

Each process holds the directions of some of the people and sees the codes of all; the softmax is over everybody. People
may be so many that no device could hold their directions, and the logits of a batch, alone.
"""

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from trainer.runs.distributed import all_gather, all_reduce_sum, collective_errors, rank, world_size


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
    """A direction a person, and the loss of codes that should point along their own.

    Args:
        code_size: length of a code.
        num_people: in all processes together.
        kind: arcface or cosface.
        margin: what a code's own person is held back by: radians of ArcFace, cosine of CosFace.
        scale: length that codes are given, s of both papers.
    """

    def __init__(self, code_size: int, num_people: int, kind: str, margin: float, scale: float) -> None:
        super().__init__()
        self.apply_margin, self.margin, self.scale, self.num_people = MARGINS[kind], margin, scale, num_people
        self.first, last = (share * num_people // world_size() for share in (rank(), rank() + 1))
        assert num_people >= world_size()
        everybody = 0.01 * torch.randn(num_people, code_size)  # drawn whole: they do not depend on who holds them
        self.weight = nn.Parameter(everybody[self.first : last].clone())

    def forward(self, codes: Float[Tensor, "batch code"], people: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the mean loss over the batches of all processes, the same in each.

        Gradients of this process's codes are whole, but those of what made the codes are of its own batch's part.

        Args:
            codes: of this process; as many in every process.
            people: who they show.
        """
        with torch.autocast(codes.device.type, enabled=False):
            sizes = [len(codes)] * world_size()
            codes, people = all_gather(codes.float(), sizes), all_gather(people, sizes)
            cosines = F.normalize(codes) @ F.normalize(self.weight).T
            place = (people - self.first)[:, None]
            mine = (place >= 0) & (place < len(self.weight))
            place = place.clamp(0, len(self.weight) - 1)
            own = self.apply_margin(cosines.gather(1, place), self.margin)
            logits = self.scale * torch.where(mine, cosines.scatter(1, place, own), cosines)
            return _cross_entropy(logits, place, mine)

    def whole(self, rows: Float[Tensor, "rows code"]) -> Float[Tensor, "people code"]:
        """Return everybody's rows of what each process holds some of, in every process."""
        everybody = rows.new_zeros(self.num_people, rows.shape[1])
        everybody[self.first : self.first + len(rows)] = rows
        return all_reduce_sum(everybody)

    def part(self, everybody: Float[Tensor, "people code"]) -> Float[Tensor, "rows code"]:
        """Return the rows that this process holds."""
        return everybody[self.first : self.first + len(self.weight)]


def add_gradients(module: nn.Module) -> None:
    """Add up the gradients of all processes, in one message."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if world_size() == 1 or not gradients:
        return
    total = all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = torch.split(total, [gradient.numel() for gradient in gradients])
    for gradient, sums in zip(gradients, parts, strict=True):
        gradient.copy_(sums.view_as(gradient))


def _cross_entropy(logits: Tensor, place: Tensor, mine: Tensor) -> Tensor:
    """Return the mean cross entropy of logits whose columns are spread over processes.

    Args:
        logits: (batch, rows) of the people that this process holds.
        place: (batch, 1) the column of the person shown, where this process holds it.
        mine: (batch, 1) whether it does.
    """
    highest = logits.detach().amax(1, keepdim=True)
    if world_size() > 1:
        with collective_errors():
            dist.all_reduce(highest, dist.ReduceOp.MAX)
    lower = logits - highest
    total = _Summed.apply(lower.exp().sum(1, keepdim=True))
    own = _Summed.apply(torch.where(mine, lower.gather(1, place), 0.0))
    losses: Tensor = total.log() - own
    return losses.mean()


class _Summed(torch.autograd.Function):
    """A sum over processes that each goes on with alike: what is one's own part of it has its gradient."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return all_reduce_sum(values)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return gradient
