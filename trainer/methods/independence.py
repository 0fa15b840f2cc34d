"""Control: two codes whose dependence is penalised by HSIC, in the manner of Li et al. 2022; DICE-FER's budget."""

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.methods.base import Faces, Method, Stage
from trainer.methods.controls import (
    classifier_stage,
    encoder_of,
    expression_stage,
    named_people,
)
from trainer.methods.objectives.representations import normalised_hsic, person_loss
from trainer.methods.settings.independence import PRESETS, TRIED, IndependenceConfig


class Independence(Method):
    """Control: E on expressions, I on people, and HSIC between them as a penalty, with DICE-FER's budget."""

    Config = IndependenceConfig
    PRESETS, TRIED = PRESETS, TRIED
    PRETRAINED = ("paper",)
    ENCODER_MODULES = ("encoder", "identity_encoder")
    STAGE_MODULES: ClassVar[dict[str, tuple[str, ...]]] = {
        "expression": ("encoder", "identity_encoder", "head", "identity_head"), "classifier": ("classifier",)
    }  # fmt: skip

    def __init__(self, config: IndependenceConfig, num_expressions: int) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.identity_encoder = encoder_of(config), encoder_of(config)
        self.head, self.classifier = (nn.Linear(config.code_size, num_expressions) for _ in range(2))
        self.identity_head = nn.Linear(config.code_size, config.num_people)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.classifier(self.encoder(images).output)
        return logits

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return E and I."""
        return {"expression": self.encoder(images).output, "identity": self.identity_encoder(images).output}

    def stages(self) -> Iterator[Stage]:
        """Train both encoders together, then a linear classifier on E."""
        modules = (self.encoder, self.identity_encoder, self.head, self.identity_head)
        yield expression_stage(self.config, self._objective, modules)
        yield classifier_stage(self.config, self.encoder, self.classifier)

    def _objective(self, faces: Faces) -> tuple[Tensor, dict[str, Tensor]]:
        people = named_people(faces, self.config.num_people)
        expression, identity = self.encoder(faces.image).output, self.identity_encoder(faces.image).output
        shared = normalised_hsic(expression, identity)
        identity_loss = person_loss(self.identity_head(identity), people)
        loss = F.cross_entropy(self.head(expression).float(), faces.expression) + identity_loss
        return loss + self.config.independence_weight * shared, {"people": identity_loss, "hsic": shared}
