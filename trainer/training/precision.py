"""How steps are carried out: in which precision, and whether their networks are compiled."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trainer.errors import TrainerError
from trainer.methods.base import Stage

PRECISIONS = ("auto", "float32", "bf16")


@dataclass(frozen=True)
class StepRunner:
    """How the steps of a training are carried out; what judges it is always float32, and not compiled.

    Attributes:
        precision: `float32`; `bf16` for products and convolutions, weights stay float32; `auto`: bf16 on CUDA, which is
            made for it, else float32.
        compiled: whether each network is compiled, at its first batch of each size.
    """

    precision: str = "auto"
    compiled: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        if self.precision not in PRECISIONS:
            raise TrainerError(f"precision {self.precision!r}: expected one of {', '.join(PRECISIONS)}")

    def precision_on(self, device: torch.device) -> str:
        """Return float32 or bf16."""
        if self.precision == "auto":
            return "bf16" if device.type == "cuda" else "float32"
        return self.precision

    def about(self, device: torch.device) -> dict[str, Any]:
        """Return what a run says of it."""
        return {"precision": self.precision_on(device), "compiled": self.compiled}

    def prepare(self, method: nn.Module, device: torch.device) -> None:
        """Have the networks of a method compiled where they stand: weights keep their names.

        On CUDA the kernels of a network are launched as one graph.
        """
        if self.compiled:
            for network in method.children():
                network.compile(dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None)

    def wrap_stage(self, stage: Stage, device: torch.device) -> Stage:
        """Return a stage whose steps are carried out so."""

        def step(batch: Any) -> dict[str, Tensor]:
            if self.compiled and device.type == "cuda":
                mark: Any = torch.compiler.cudagraph_mark_step_begin
                mark()  # what the graphs of the last step hold is no longer needed
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision_on(device) == "bf16"):
                return stage.step(batch)

        return replace(stage, step=step)

    def eager_float32(self) -> AbstractContextManager[Any]:
        """Return what a method is judged in: its networks run as they are."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()


AUTO = StepRunner()
