"""Collectives between the ranks of one training, and how a batch is split over them; no-ops in a single process."""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Int
from torch import Tensor

from trainer.errors import TrainerError


class LostProcessError(RuntimeError):
    """Another rank no longer answers."""


def world_size() -> int:
    """Return the number of processes of this training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the index of this process among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def collective_errors() -> Iterator[None]:
    """Tell a lost rank from other errors of a collective.

    Raises:
        LostProcessError: another rank no longer answers.
    """
    try:
        yield
    except RuntimeError as error:
        backend = isinstance(error, dist.DistBackendError | dist.DistNetworkError)
        if backend or re.search("peer|connection|timed out", str(error), re.IGNORECASE):
            raise LostProcessError(str(error)) from error
        raise


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum over ranks, outside of autograd: the same bits on every rank."""
    if world_size() == 1:
        return values
    values = values.detach().clone()
    with collective_errors():
        dist.all_reduce(values)
    return values


def all_reduce_mean(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean over ranks of each tensor, outside of autograd, in one message.

    Args:
        tensors: of the same shapes and types on every rank.
    """
    if world_size() == 1 or not tensors:
        return list(tensors)
    total = all_reduce_sum(torch.cat([tensor.detach().flatten() for tensor in tensors]))
    means = torch.split(total / world_size(), [tensor.numel() for tensor in tensors])
    return [mean.view_as(tensor) for mean, tensor in zip(means, tensors, strict=True)]


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank. The message is between hosts: no accelerator waits for it."""
    return bool(all_reduce_sum(torch.tensor(int(flag))))


def barrier() -> None:
    """Wait for all ranks."""
    any_rank(True)


def all_gather(rows: Tensor) -> Tensor:
    """Return the rows of all ranks, concatenated in the order of ranks; gradients flow back to each rank's own rows.

    A loss of gathered rows has the same value on every rank. Averaged over ranks, as every gradient is, its gradient is
    that of one process which has all rows.

    Args:
        rows: (local, ...), the same shape on every rank.
    """
    gathered: Tensor = rows if world_size() == 1 else _AllGather.apply(rows)
    return gathered


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        with collective_errors():
            dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient).chunk(world_size())[rank()]


def refuse_difference(what: str, parts: Iterable[bytes]) -> None:
    """Compare the same data of all ranks, by hash.

    Raises:
        TrainerError: a rank has other data than rank 0; the message names the rank and `what`.
    """
    if world_size() == 1:
        return
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    digests = all_gather(torch.tensor([list(digest.digest())]))
    for index, other in enumerate(digests):
        if not torch.equal(other, digests[0]):
            raise TrainerError(
                f"process {index} of {world_size()} has other {what} than process 0; the same command, manifest and "
                "versions are expected on every machine"
            )


def global_batches(order: Int[Tensor, " samples"], batch_size: int, num_ranks: int) -> list[Tensor]:
    """Cut an epoch into as few batches of nearly equal size as hold at most batch_size and split evenly over ranks.

    The last `samples % num_ranks` of the order are left out; of a single rank, none.

    Raises:
        TrainerError: batch_size is no multiple of the number of ranks, or leaves a rank fewer than the two samples
            that batch normalisation needs.
    """
    if batch_size % num_ranks:
        raise TrainerError(
            f"batch_size={batch_size} cannot be split evenly over {num_ranks} processes; choose a multiple of "
            f"{num_ranks}, or start another number of processes"
        )
    rows = order[: len(order) // num_ranks * num_ranks].view(-1, num_ranks)
    batches = rows.tensor_split(max(1, math.ceil(len(rows) / (batch_size // num_ranks))))
    if num_ranks > 1 and len(batches[-1]) < 2:
        raise TrainerError(
            f"{num_ranks} processes share batches of {batches[-1].numel()}, and each needs two faces at least; choose "
            "a larger batch_size, or start fewer processes"
        )
    return [batch.flatten() for batch in batches]


def local_share(batch: Int[Tensor, " samples"], rank: int, num_ranks: int) -> Int[Tensor, " share"]:
    """Return the rank-th of num_ranks equal, contiguous shares of a global batch."""
    return batch.chunk(num_ranks)[rank]
