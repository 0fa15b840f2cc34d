"""What a checkpoint holds, as tensors and as JSON: all that a training goes on from. Files are opened in run.py."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stands."""

    weights: dict[str, Tensor]
    best: dict[str, Tensor]  # weights of the epoch that is the best so far; none: of no epoch yet
    optimizers: list[dict[str, Any]]  # state dicts
    progress: dict[str, Any]
    random: dict[str, Tensor]  # states, by device
    rows: list[dict[str, Any]]  # what was logged, an epoch a row

    @classmethod
    def of(cls, module: nn.Module, optimizers: Sequence[Optimizer], **rest: Any) -> "Checkpoint":
        """Return where a training stands: its weights, its optimizers, and the rest as it is."""
        return cls(weights=module.state_dict(), optimizers=[one.state_dict() for one in optimizers], **rest)

    def restore(self, module: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Put weights and optimizers back to where they were."""
        module.load_state_dict(self.weights)
        for optimizer, state in zip(optimizers, self.optimizers, strict=True):
            optimizer.load_state_dict(state)

    def pack(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return its tensors by name, and the rest as JSON."""
        tensors = {
            f"{kind}.{name}": tensor
            for kind in ("weights", "best", "random")
            for name, tensor in getattr(self, kind).items()
        }
        for number, optimizer in enumerate(self.optimizers):
            for index, values in optimizer["state"].items():
                tensors |= {f"optimizer.{number}.{index}.{name}": value for name, value in values.items()}
        groups = [optimizer["param_groups"] for optimizer in self.optimizers]
        about = {"progress": self.progress, "groups": groups, "rows": self.rows}
        return tensors, {key: json.dumps(value) for key, value in about.items()}

    @classmethod
    def unpack(cls, tensors: dict[str, Tensor], packed: dict[str, str]) -> "Checkpoint":
        """Return the checkpoint that was packed."""
        about = {key: json.loads(value) for key, value in packed.items()}
        optimizers = [{"state": {}, "param_groups": groups} for groups in about["groups"]]
        named: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "random": {}}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition(".")
            if kind in named:
                named[kind][rest] = tensor
            else:
                number, index, value = rest.split(".")
                optimizers[int(number)]["state"].setdefault(int(index), {})[value] = tensor
        return cls(**named, optimizers=optimizers, progress=about["progress"], rows=about["rows"])
