"""How training steps run: in which precision, and whether networks are compiled."""

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
    """How the steps of a training run; evaluation is always in float32, and not compiled.

    Attributes:
        precision: `float32`; `bf16`: autocast products and convolutions, weights stay float32; `auto`: bf16 on CUDA,
            float32 elsewhere.
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

    def metadata(self, device: torch.device) -> dict[str, Any]:
        """Return it as a run's provenance records it."""
        return {"precision": self.precision_on(device), "compiled": self.compiled}

    def prepare(self, method: nn.Module, device: torch.device) -> None:
        """Compile the networks of a method in place: weights keep their names.

        On CUDA, a network's kernels are launched as one CUDA graph. A child without parameters is no network: a loss
        may gather over ranks and overwrite its buffers, and stays eager.
        """
        if self.compiled:
            for network in method.children():
                if any(True for _ in network.parameters()):
                    network.compile(dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None)

    def wrap_stage(self, stage: Stage, device: torch.device) -> Stage:
        """Return a stage whose steps run in this precision."""

        def step(batch: Any) -> dict[str, Tensor]:
            if self.compiled and device.type == "cuda":
                mark: Any = torch.compiler.cudagraph_mark_step_begin
                mark()  # the outputs of the last step's graphs are no longer needed
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision_on(device) == "bf16"):
                return stage.step(batch)

        return replace(stage, step=step)

    def eager_float32(self) -> AbstractContextManager[Any]:
        """Return the context of evaluation: networks run in float32, uncompiled."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()


AUTO = StepRunner()
