"""A checkpoint: all state that a training resumes from, as tensors and JSON. Files are opened in run.py."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training."""

    weights: dict[str, Tensor]
    best: dict[str, Tensor]  # weights of the best epoch so far; empty before the first
    optimizers: list[dict[str, Any]]  # state dicts
    progress: dict[str, Any]
    random: dict[str, Tensor]  # generator states, by device
    rows: list[dict[str, Any]]  # logged values, one row per epoch

    @classmethod
    def of(cls, module: nn.Module, optimizers: Sequence[Optimizer], **rest: Any) -> "Checkpoint":
        """Return the state of a module and its optimizers; the other fields are passed on."""
        states = [optimizer.state_dict() for optimizer in optimizers]
        return cls(weights=module.state_dict(), optimizers=states, **rest)

    def restore(self, module: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Load the states of a module and its optimizers."""
        module.load_state_dict(self.weights)
        for optimizer, state in zip(optimizers, self.optimizers, strict=True):
            optimizer.load_state_dict(state)

    def pack(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return its tensors by name, and everything else as JSON by name."""
        tensors = {
            f"{kind}.{name}": tensor
            for kind in ("weights", "best", "random")
            for name, tensor in getattr(self, kind).items()
        }
        for index, optimizer in enumerate(self.optimizers):
            for parameter, values in optimizer["state"].items():
                tensors |= {f"optimizer.{index}.{parameter}.{name}": value for name, value in values.items()}
        groups = [optimizer["param_groups"] for optimizer in self.optimizers]
        metadata = {"progress": self.progress, "groups": groups, "rows": self.rows}
        return tensors, {key: json.dumps(value) for key, value in metadata.items()}

    @classmethod
    def unpack(cls, tensors: dict[str, Tensor], packed: dict[str, str]) -> "Checkpoint":
        """Return the checkpoint of what `pack` returned."""
        metadata = {key: json.loads(value) for key, value in packed.items()}
        optimizers = [{"state": {}, "param_groups": groups} for groups in metadata["groups"]]
        named: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "random": {}}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition(".")
            if kind in named:
                named[kind][rest] = tensor
            else:
                index, parameter, name = rest.split(".")
                optimizers[int(index)]["state"].setdefault(int(parameter), {})[name] = tensor
        return cls(**named, optimizers=optimizers, progress=metadata["progress"], rows=metadata["rows"])
