"""What several processes hold, put together, outside of compiled graphs; of one process alone, all is as it is."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._compile import _disable_dynamo


class LostProcessError(RuntimeError):
    """Another process of the training does not answer any more."""


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def collective_errors() -> Iterator[None]:
    """Tell a lost process from other errors of a message to all."""
    try:
        yield
    except RuntimeError as error:
        backend = isinstance(error, dist.DistBackendError | dist.DistNetworkError)
        if backend or re.search("peer|connection|timed out", str(error), re.IGNORECASE):
            raise LostProcessError(str(error)) from error
        raise


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum over processes, outside of autograd: the same bits in each."""
    if world_size() == 1:
        return values
    values = values.detach().clone()
    with collective_errors():
        dist.all_reduce(values)
    return values


def any_rank(held: bool) -> bool:
    """Whether it holds in any process; a message between hosts, that no accelerator waits for."""
    return bool(all_reduce_sum(torch.tensor(int(held))))


@_disable_dynamo  # torch.compiler.disable, which imports torch._dynamo at once: 2 s where nothing is compiled
def local_sizes(num: int) -> list[int]:
    """Return how many rows each process has, where this one has so many."""
    sizes = torch.zeros(world_size(), dtype=torch.int64)
    sizes[rank()] = num
    everybodys: list[int] = all_reduce_sum(sizes).tolist()
    return everybodys


@_disable_dynamo
def all_gather(rows: Tensor, sizes: list[int]) -> Tensor:
    """Return the rows of all processes, in their order.

    Of a loss that is averaged over processes by their shares of the rows, gradients are whole: they come back to
    whose rows they are of from every process that has used them.

    Args:
        rows: (mine, ...) of this process.
        sizes: how many of them each process has: see `local_sizes`.
    """
    gathered: Tensor = rows if world_size() == 1 else _Gathered.apply(rows, sizes)
    return gathered


def all_gather_own_first(rows: Tensor, sizes: list[int]) -> Tensor:
    """Return the rows of all processes in their order, that begins with this one and goes round: see `all_gather`."""
    turned: Tensor = all_gather(rows, sizes).roll(-sum(sizes[: rank()]), 0)
    return turned


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        with collective_errors():
            dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        mine = ctx.sizes[rank()]
        return torch.split(all_reduce_sum(mine * gradient), ctx.sizes)[rank()] / mine, None
