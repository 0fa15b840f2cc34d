"""ResNet-18 on labels, the baseline: one encoder, one linear layer on its code."""

from dataclasses import dataclass

from trainer.methods.config import one_of

SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Ours: neither paper prints its baseline's settings. Preset `paper` has those that DICE-FER prints of itself."""

    batch_size: int = 32
    epochs: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 1.0  # decoupled: AdamW
    schedule: str = "cosine"
    width: int = 64  # ResNet-18
    code_size: int = 64  # what DICE-FER's E has, so that probes compare like with like

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        one_of("schedule", self.schedule, SCHEDULES)


PAPER = ResNetConfig(learning_rate=1e-4, weight_decay=0.0, schedule="constant")
PRESETS = {"paper": PAPER, "default": ResNetConfig(), "demo": ResNetConfig(width=16, epochs=150)}
TRIED = {"default": 3, "demo": 3, "paper": 0}  # settings, before a preset was chosen (docs/log.md)
