"""The baseline that both papers compare with: a plain ResNet-18, trained on labels."""

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.methods.base import SCHEDULES, Faces, Method, Stage
from trainer.methods.optimizers import adamw, minimise
from trainer.methods.settings.resnet import PRESETS, TRIED, ResNetConfig
from trainer.networks import resnet


class ResNet(Method):
    """ResNet-18 on labels, the baseline: one encoder, one linear layer on its code.

    It sees each face once an epoch: half of what DICE-FER sees (`cross_entropy` is the one of equal budget).
    """

    Config = ResNetConfig
    PRESETS, TRIED = PRESETS, TRIED
    PRETRAINED = ("paper",)
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
            schedule=SCHEDULES[self.config.schedule], selects=True,
        )  # fmt: skip
