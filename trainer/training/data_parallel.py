"""Several processes that train one network, as torchrun starts them: one run, one folder.

Each takes a share of every batch. Gradients are averaged by these shares before an optimizer's step, so that they are
those of the whole batch, and weights stay the same in all.
"""

import hashlib
import os
import re
import signal
from collections.abc import Iterable, Iterator, Sequence
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
from trainer.runs.checkpoint import Checkpoint
from trainer.runs.distributed import LostProcessError, all_gather, all_reduce_sum, any_rank, rank, world_size
from trainer.runs.run import Run

LONGEST_WAIT = timedelta(hours=6)  # for the first process to judge a run; one that is lost is noticed at once


@contextmanager
def init_process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun has started, where it has; yield the device of this one.

    Whichever of them ends first for a reason of its own tells it; those that lose it end without a word.

    Raises:
        TrainerError: there are more processes than devices, or one of them was lost.
    """
    if not dist.is_torchelastic_launched():
        yield device
        return
    device = _own(device)
    store, rank, world = next(rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=LONGEST_WAIT)
    broken = True
    try:
        yield device
        broken = False
    except (LostProcessError, TrainerError, ManifestError, KeyboardInterrupt) as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # by which torchrun ends those that are left
        if not _is_first_to_end(store):
            raise SystemExit(1) from error
        if isinstance(error, LostProcessError):
            raise TrainerError(
                f"another process of this training was lost, seen by process {rank} of {world} ({_cause(error)}); the "
                "last checkpoint is whole, and the same command goes on from it"
            ) from error
        raise
    finally:
        if not (broken and device.type == "cuda"):  # where NCCL would wait for those who do not answer
            dist.destroy_process_group()


def _own(device: torch.device) -> torch.device:
    """Return the device of this process, of those of its machine."""
    if device.type != "cuda":
        return device
    number, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= found:
        raise TrainerError(
            f"{os.environ['LOCAL_WORLD_SIZE']} processes on a machine with {found} CUDA devices; start "
            f"--nproc-per-node {found}, or train with --device cpu"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def _cause(error: LostProcessError) -> str:
    """Return what gloo or NCCL say, without place and advice."""
    return re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0]).split(". ")[0]


def _is_first_to_end(store: Any) -> bool:
    try:
        return bool(store.add("ended", 1) == 1)
    except RuntimeError:  # torchrun itself is gone
        return True


def convert_sync_batchnorm(method: Method, device: torch.device) -> Method:
    """Let batch normalisation see the batches of all processes, where it can: on CUDA. Names of weights stay."""
    if world_size() == 1 or device.type != "cuda":
        return method
    convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
    converted: Method = convert(method)
    return converted


def data_parallel_stage(stage: Stage, method: nn.Module) -> Stage:
    """Return a stage that each process steps through with its share of the batches, and all end a step alike.

    Its optimizers average gradients before they step; what the step has logged, and changed beside parameters (running
    statistics), is averaged after it.
    """
    if world_size() == 1:
        return stage
    share = 0

    def before(optimizer: Optimizer, *_: Any) -> None:
        average_gradients([parameter for group in optimizer.param_groups for parameter in group["params"]], share)

    for optimizer in stage.optimizers:
        optimizer.register_step_pre_hook(before)

    def step(batch: Any) -> dict[str, Tensor]:
        nonlocal share
        share = len(batch[0])
        logged = stage.step(batch)
        buffers = [buffer for module in method.modules() if module.training for buffer in module.buffers(recurse=False)]
        return _average([buffer for buffer in buffers if buffer.is_floating_point()], logged, share)

    return replace(stage, step=step)


def average_gradients(parameters: Sequence[Tensor], share: int) -> None:
    """Make gradients those of all processes' batches, in one message: their mean, weighted by the shares.

    A parameter without a gradient counts as one of zeros where another process has one, else it stays without.

    Args:
        parameters: the same in every process.
        share: rows of this process's batch.
    """
    mine = [parameter.grad for parameter in parameters]
    sums = [
        share * (torch.zeros_like(parameter) if own is None else own).flatten()
        for own, parameter in zip(mine, parameters, strict=True)
    ]
    about = sums[0].new_tensor([share, *(own is not None for own in mine)])
    *sums, about = torch.split(all_reduce_sum(torch.cat([*sums, about])), [*map(len, sums), len(about)])
    anywhere = [True] * len(mine) if all(own is not None for own in mine) else (about[1:] > 0).tolist()
    for parameter, own, total, found in zip(parameters, mine, sums, anywhere, strict=True):
        if found:
            parameter.grad = torch.zeros_like(parameter) if own is None else own
            parameter.grad.copy_((total / about[0]).view_as(parameter))


@torch.no_grad()
def _average(buffers: Sequence[Tensor], logged: dict[str, Tensor], share: int) -> dict[str, Tensor]:
    """Make buffers the same in all processes, and return what they have logged: means, weighted by the shares.

    In doubles, so that what is the same already keeps its bits.
    """
    values = [*buffers, *logged.values()]
    parts = [share * value.double().flatten() for value in values]
    parts.append(parts[0].new_tensor([share]))
    *sums, whole = torch.split(all_reduce_sum(torch.cat(parts)), [*map(len, parts)])
    means = [(total / whole).view_as(value).to(value.dtype) for total, value in zip(sums, values, strict=True)]
    for buffer, mean in zip(buffers, means[: len(buffers)], strict=True):
        buffer.copy_(mean)
    return dict(zip(logged, means[len(buffers) :], strict=True))


def refuse_difference(what: str, parts: Iterable[bytes]) -> None:
    """Refuse processes that do not train the same.

    Raises:
        TrainerError: what differs, and where.
    """
    if world_size() == 1:
        return
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    digests = all_gather(torch.tensor([list(digest.digest())]), [1] * world_size())
    for number, other in enumerate(digests):
        if not torch.equal(other, digests[0]):
            raise TrainerError(
                f"process {number} of {world_size()} has other {what} than process 0; the same command, manifest and "
                "versions are expected on every machine"
            )


class SharedRun(Run):
    """The run of several processes: all read it, the first one writes. They start, save and end it at the same time."""

    def start(self, config: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Make the folder, or go on in it.

        Raises:
            RunError: it holds a run of other settings or of another manifest.
            TrainerError: processes are to train differently, or in different folders.
        """
        refuse_difference("settings or data", [repr((config, provenance["data"])).encode()])
        if rank() == 0:
            super().start(config, provenance)
            self._note_processes()
        barrier()
        if not (self.folder / "config.json").exists():
            raise TrainerError(
                f"process {rank()} of {world_size()} does not find {self.folder}, which process 0 has made; choose "
                "--runs in a folder that all machines share"
            )

    def _note_processes(self) -> None:
        """Write down how many train it: one after the other, where another number goes on."""
        about = self.read_json("provenance.json")
        before = about.get("processes", [])
        if not self.trained and before[-1:] != [world_size()]:
            self.write_json("provenance.json", about | {"processes": [*before, world_size()]})

    def log(self, stage: str, epoch: int, values: dict[str, float], note: str | None = None) -> None:
        """Add an epoch's values, of the first process."""
        if rank() == 0:
            super().log(stage, epoch, values, note)

    def save(
        self, module: nn.Module, optimizers: Sequence[Optimizer], progress: dict[str, Any], random: dict[str, Tensor]
    ) -> None:
        """Write the checkpoint, with the random states of all."""
        everybodys = {name: all_gather(state[None], [1] * world_size()) for name, state in random.items()}
        named = {
            _of(number, name): states[number] for name, states in everybodys.items() for number in range(world_size())
        }
        super().save(module, optimizers, progress, named)
        barrier()

    def checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint, with the random states of this process.

        By another number of processes, training goes on with the same faces in the same order, but other bits.
        """
        saved = super().checkpoint()
        if not saved:
            return None
        mine = {_of(rank(), device): device for device in ("cpu", "cuda")}
        return replace(saved, random={mine[name]: state for name, state in saved.random.items() if name in mine})

    def finish_training(self, module: nn.Module, about: dict[str, str] | None = None) -> None:
        """Write the weights, of the first process, and drop what only an unfinished training needs."""
        if rank() == 0:
            super().finish_training(module, about)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, of the first process."""
        if rank() == 0:
            super().write_text(name, text)

    def _save(self, tensors: dict[str, Tensor], name: str, about: dict[str, str]) -> None:
        if rank() == 0:
            super()._save(tensors, name, about)


def barrier() -> None:
    """Wait for all processes."""
    any_rank(True)


def _of(number: int, device: str) -> str:
    """Return the name of a process's random state; the first one's are named as those of a process alone."""
    return f"{number}.{device}" if number else device
