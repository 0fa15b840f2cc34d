"""What several processes hold, put together, outside of compiled graphs; of one process alone, all is as it is."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class LostProcessError(RuntimeError):
    """Another process of the training does not answer any more."""


def processes() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def process() -> int:
    """Return which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def reaching() -> Iterator[None]:
    """Tell a lost process from other errors of a message to all."""
    try:
        yield
    except RuntimeError as error:
        backend = isinstance(error, dist.DistBackendError | dist.DistNetworkError)
        if backend or re.search("peer|connection|timed out", str(error), re.IGNORECASE):
            raise LostProcessError(str(error)) from error
        raise


def summed(values: Tensor) -> Tensor:
    """Return the sum over processes, outside of autograd: the same bits in each."""
    if processes() == 1:
        return values
    values = values.detach().clone()
    with reaching():
        dist.all_reduce(values)
    return values


def agreed(held: bool) -> bool:
    """Whether it holds in any process; a message between hosts, that no accelerator waits for."""
    return bool(summed(torch.tensor(int(held))))


@torch.compiler.disable  # type: ignore[untyped-decorator]
def share_sizes(num: int) -> list[int]:
    """Return how many rows each process has, where this one has so many."""
    sizes = torch.zeros(processes(), dtype=torch.int64)
    sizes[process()] = num
    everybodys: list[int] = summed(sizes).tolist()
    return everybodys


@torch.compiler.disable  # type: ignore[untyped-decorator]
def gathered(rows: Tensor, sizes: list[int]) -> Tensor:
    """Return the rows of all processes, in their order.

    Of a loss that is averaged over processes by their shares of the rows, gradients are whole: they come back to
    whose rows they are of from every process that has used them.

    Args:
        rows: (mine, ...) of this process.
        sizes: how many of them each process has: see `share_sizes`.
    """
    gathered: Tensor = rows if processes() == 1 else _Gathered.apply(rows, sizes)
    return gathered


def own_first(rows: Tensor, sizes: list[int]) -> Tensor:
    """Return the rows of all processes in their order, that begins with this one and goes round: see `gathered`."""
    turned: Tensor = gathered(rows, sizes).roll(-sum(sizes[: process()]), 0)
    return turned


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        with reaching():
            dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        mine = ctx.sizes[process()]
        return torch.split(summed(mine * gradient), ctx.sizes)[process()] / mine, None
