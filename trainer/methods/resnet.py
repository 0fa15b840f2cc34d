"""The baseline that both papers compare with: a plain ResNet-18, trained on labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.methods.base import Faces, Method, Stage, cosine
from trainer.methods.optimizers import adamw, minimise
from trainer.networks import resnet


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Ours: neither paper prints its baseline's settings."""

    batch_size: int = 32
    epochs: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 1.0  # decoupled: AdamW
    width: int = 64  # ResNet-18
    code_size: int = 64  # what DICE-FER's E has, so that probes compare like with like


class ResNet(Method):
    """ResNet-18 on labels, the baseline: one encoder, one linear layer on its code."""

    Config = ResNetConfig
    PRESETS: ClassVar[dict[str, Any]] = {}
    ENCODER_MODULES = ("encoder",)
    STAGE_MODULES: ClassVar[dict[str, tuple[str, ...]]] = {"classifier": ("encoder", "classifier")}

    def __init__(self, config: ResNetConfig, num_expressions: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = resnet.ResNet("resnet18", 1, config.code_size, config.width)
        self.classifier = nn.Sequential(
            nn.BatchNorm1d(config.code_size), nn.ReLU(), nn.Linear(config.code_size, num_expressions)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.classifier(self.encoder(images).output)
        return logits

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return the code that is classified."""
        return {"expression": self.encoder(images).output}

    def stages(self) -> Iterator[Stage]:
        """Train everything on labels."""
        rate, decay = self.config.learning_rate, self.config.weight_decay
        optimizer = adamw(self.parameters(), rate, decay)

        def step(batch: Faces) -> dict[str, Tensor]:
            loss = F.cross_entropy(self(batch.image).float(), batch.expression)
            minimise(loss, optimizer)
            return {"loss": loss}

        yield Stage(
            "classifier", self.config.epochs, self.config.batch_size, Faces, step, (optimizer,),
            schedule=cosine, selects=True,
        )  # fmt: skip


ResNet.PRESETS = {"default": ResNetConfig(), "demo": ResNetConfig(width=16, epochs=150)}
