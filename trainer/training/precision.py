"""How training steps run: in which precision, and whether networks are compiled."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trainer.errors import TrainerError
from trainer.methods.base import Stage

PRECISIONS = ("auto", "float32", "tf32", "bf16")


@dataclass(frozen=True)
class StepRunner:
    """How the steps of a training run; evaluation is always in float32, and not compiled.

    Attributes:
        precision: `float32`; `tf32`: float32 whose products and convolutions a GPU computes from 10 bits of mantissa,
            on other devices the same as float32; `bf16`: autocast products and convolutions, weights stay float32;
            `auto`: tf32 on CUDA, float32 elsewhere.
        compiled: whether each network is compiled, at its first batch of each size.
    """

    precision: str = "auto"
    compiled: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        if self.precision not in PRECISIONS:
            raise TrainerError(f"precision {self.precision!r}: expected one of {', '.join(PRECISIONS)}")

    def precision_on(self, device: torch.device) -> str:
        """Return float32, tf32 or bf16."""
        if self.precision == "auto":
            return "tf32" if device.type == "cuda" else "float32"
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
        precision = self.precision_on(device)

        def step(batch: Any) -> dict[str, Tensor]:
            if self.compiled and device.type == "cuda":
                mark: Any = torch.compiler.cudagraph_mark_step_begin
                mark()  # the outputs of the last step's graphs are no longer needed
            with (
                torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
                tf32() if precision == "tf32" else nullcontext(),
            ):
                return stage.step(batch)

        return replace(stage, step=step)

    def eager_float32(self) -> AbstractContextManager[Any]:
        """Return the context of evaluation: networks run in float32, uncompiled."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()


@contextmanager
def tf32() -> Iterator[None]:
    """Let CUDA compute float32 products and convolutions in TF32, for what runs within: these flags are a process's."""
    flags: tuple[Any, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = True
    try:
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


AUTO = StepRunner()
