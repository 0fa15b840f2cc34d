"""Several processes that train one network, as torchrun starts them: one run, one folder."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from trainer.loop import Place
from trainer.method import Method
from trainer.networks.margin import MarginHead, process, processes
from trainer.run import Checkpoint, Run


@contextmanager
def together(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun has started, where it has; yield the device of this one."""
    if not dist.is_torchelastic_launched():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


class SharedRun(Run):
    """The run of several processes: what they share is put together, the first one writes.

    Epochs end at one time for all, nothing else does: several processes save at their ends only.
    """

    def __init__(self, folder: Path, method: Method, head: MarginHead, optimizers: tuple[Optimizer, Optimizer]) -> None:
        """Make or find a run's folder.

        Args:
            folder: as of any run.
            method: what is trained.
            head: its module `head`, of which every process holds a part.
            optimizers: of what all processes hold alike, and of the head.
        """
        super().__init__(folder)
        self._method, self._head, self._optimizers = method, head, optimizers

    def log(self, stage: str, epoch: int, values: dict[str, float], note: str | None = None) -> None:
        """Add an epoch's values; several processes save now."""
        if process() == 0:
            super().log(stage, epoch, values, note)
        if processes() > 1:
            super().save(self._method, self._optimizers, asdict(Place(epoch=epoch + 1)), {})

    def save(
        self, module: nn.Module, optimizers: Sequence[Optimizer], place: dict[str, Any], random: dict[str, Tensor]
    ) -> None:
        """Write the checkpoint, of one process."""
        if processes() == 1:
            super().save(module, optimizers, place, random)

    def checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint, of what this process holds."""
        saved = super().checkpoint()
        if saved:
            saved.weights["head.weight"] = self._head.part(saved.weights["head.weight"])
            for state in saved.optimizers[1]["state"].values():
                state |= {name: self._head.part(tensor) for name, tensor in state.items()}
        return saved

    def _save(self, tensors: dict[str, Tensor], name: str, about: dict[str, Any]) -> None:
        shared = {key for key in tensors if key == "weights.head.weight" or key.startswith("optimizer.1.")}
        tensors = {key: self._head.whole(value) if key in shared else value for key, value in tensors.items()}
        if process() == 0:
            super()._save(tensors, name, about)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, of the first process."""
        if process() == 0:
            super().write_text(name, text)
