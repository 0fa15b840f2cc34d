"""ResNet-18 on labels, the baseline: one encoder, one linear layer on its code."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Ours: neither paper prints its baseline's settings."""

    batch_size: int = 32
    epochs: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 1.0  # decoupled: AdamW
    width: int = 64  # ResNet-18
    code_size: int = 64  # what DICE-FER's E has, so that probes compare like with like


PRESETS = {"default": ResNetConfig(), "demo": ResNetConfig(width=16, epochs=150)}
