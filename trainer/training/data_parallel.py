"""Data parallelism: torchrun starts world_size processes; each rank trains a replica on its share of every batch.

Start. Every rank joins the default process group (gloo between CPUs, NCCL between GPUs; rank r of a machine takes GPU
LOCAL_RANK) and builds the method from the same seed. Weights are not broadcast: their hashes are compared.

Batches. Every rank draws the order of an epoch from the same seed. It is cut into global batches that split evenly
(`global_batches`: batch_size is that of all ranks together, and a multiple of world_size); rank r takes the r-th share.
What does not divide, at most world_size - 1 samples of an epoch, is left out of that epoch.

Gradients. A loss is the mean over the local share. Before an optimizer steps, a hook all-reduces the gradients of its
parameters, flattened into one message, and divides by world_size. Shares are equal, so this is the gradient of the mean
over the global batch, and weights and optimizer states stay replicas: no rank holds anything that the others lack.
torch's DistributedDataParallel hooks one backward pass of one module; a stage here may step several optimizers, with a
backward pass each that reaches some of the parameters. The price is that no message overlaps the backward pass.

Across samples. A critic's negatives are those of the local share: fewer, so a lower ceiling of InfoNCE. The island loss
has one set of class centres and sees the features of all ranks (`all_gather`). Batch normalisation takes statistics of
the global batch on CUDA (SyncBatchNorm), of the local share on the CPU, where torch has no such layer; running
statistics, and what a step logs, are averaged after each step.

Files. Rank 0 owns the run (trainer/runs/run.py): it writes and evaluates, the others read. Stopping, and saving within
an epoch, are agreed on by all ranks before each step. With the same world_size a resumed training ends with the same
bits; with another one batches may be cut elsewhere, and a few samples of the epoch under way be repeated or left out.
"""

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.optim import Optimizer

from manifests.errors import ManifestError
from trainer.errors import TrainerError
from trainer.methods.base import Method, Stage
from trainer.runs.distributed import LostProcessError, all_reduce_mean, world_size

TIMEOUT = timedelta(hours=6)  # for rank 0 to judge a run; a lost process is noticed at once


@contextmanager
def init_process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun has started, if it has; yield this rank's device.

    The first rank that ends with an error reports it; the others exit without a message.

    Raises:
        TrainerError: a machine has more processes than GPUs, or another process was lost.
    """
    if not dist.is_torchelastic_launched():
        yield device
        return
    device = _local_device(device)
    store, rank, num_ranks = next(rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=num_ranks, timeout=TIMEOUT)
    failed = True
    try:
        yield device
        failed = False
    except (LostProcessError, TrainerError, ManifestError, KeyboardInterrupt) as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # by which torchrun ends the remaining processes
        if not _is_first_to_fail(store):
            raise SystemExit(1) from error
        if isinstance(error, LostProcessError):
            raise TrainerError(
                f"another process of this training was lost, seen by process {rank} of {num_ranks} ({_cause(error)}); "
                "the last checkpoint is complete: run the same command again to resume from it"
            ) from error
        raise
    finally:
        if not (failed and device.type == "cuda"):  # NCCL would wait for ranks that do not answer
            dist.destroy_process_group()


def _local_device(device: torch.device) -> torch.device:
    """Return the device of this rank among those of its machine."""
    if device.type != "cuda":
        return device
    index, num_devices = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if index >= num_devices:
        raise TrainerError(
            f"{os.environ['LOCAL_WORLD_SIZE']} processes on a machine with {num_devices} CUDA devices; start "
            f"--nproc-per-node {num_devices}, or train with --device cpu"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _cause(error: LostProcessError) -> str:
    """Return the message of gloo or NCCL, without source location and advice."""
    return re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0]).split(". ")[0]


def _is_first_to_fail(store: Any) -> bool:
    try:
        return bool(store.add("failed", 1) == 1)
    except RuntimeError:  # torchrun itself is gone
        return True


def convert_sync_batchnorm(method: Method, device: torch.device) -> Method:
    """Make batch normalisation see the global batch, on CUDA with several ranks. Names of weights stay."""
    if world_size() == 1 or device.type != "cuda":
        return method
    convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
    converted: Method = convert(method)
    return converted


def data_parallel_stage(stage: Stage, method: nn.Module) -> Stage:
    """Return a stage whose steps average gradients, then buffers and logged values, over ranks.

    Only buffers of modules in training mode are averaged: a frozen network's do not move.
    """
    if world_size() == 1:
        return stage

    def average(optimizer: Optimizer, *_: Any) -> None:
        average_gradients([parameter for group in optimizer.param_groups for parameter in group["params"]])

    for optimizer in stage.optimizers:
        optimizer.register_step_pre_hook(average)

    def step(batch: Any) -> dict[str, Tensor]:
        logged = stage.step(batch)
        buffers = [buffer for module in method.modules() if module.training for buffer in module.buffers(recurse=False)]
        return _average([buffer for buffer in buffers if buffer.is_floating_point()], logged)

    return replace(stage, step=step)


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace gradients by their means over ranks.

    Args:
        parameters: the same on every rank, with gradients of the same ones.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for gradient, mean in zip(gradients, all_reduce_mean(gradients), strict=True):
        gradient.copy_(mean)


@torch.no_grad()
def _average(buffers: Sequence[Tensor], logged: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace buffers by their means over ranks; return those of logged values.

    In float64: a mean of equal float32 values then has their bits, whatever world_size is.
    """
    values = [*buffers, *logged.values()]
    doubles = all_reduce_mean([value.double() for value in values])
    means = [mean.to(value.dtype) for mean, value in zip(doubles, values, strict=True)]
    for buffer, mean in zip(buffers, means[: len(buffers)], strict=True):
        buffer.copy_(mean)
    return dict(zip(logged, means[len(buffers) :], strict=True))
