"""Control: an adversary that must not tell the person (Ganin et al. 2016, arXiv:1505.07818), with DICE-FER's budget."""

import math
from collections.abc import Iterator
from dataclasses import replace
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
from trainer.methods.objectives.representations import person_loss, reverse_gradient
from trainer.methods.settings.person_adversary import PRESETS, TRIED, PersonAdversaryConfig


class PersonAdversary(Method):
    """Control: the ResNet-18 on labels, whose code is to hide the person from an adversary, with DICE-FER's budget."""

    Config = PersonAdversaryConfig
    PRESETS, TRIED = PRESETS, TRIED
    PRETRAINED = ("paper",)
    ENCODER_MODULES = ("encoder",)
    STAGE_MODULES: ClassVar[dict[str, tuple[str, ...]]] = {
        "expression": ("encoder", "head", "adversary"), "classifier": ("classifier",)
    }  # fmt: skip

    def __init__(self, config: PersonAdversaryConfig, num_expressions: int) -> None:
        super().__init__()
        self.config, self._weight = config, config.adversarial_weight
        size = config.code_size
        self.encoder = encoder_of(config)
        self.head, self.classifier = (nn.Linear(size, num_expressions) for _ in range(2))
        self.adversary = nn.Sequential(nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, config.num_people))

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.classifier(self.encoder(images).output)
        return logits

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return the code that is classified."""
        return {"expression": self.encoder(images).output}

    def stages(self) -> Iterator[Stage]:
        """Train the encoder on labels and against the adversary, then a linear classifier on its code."""
        stage = expression_stage(self.config, self._objective, (self.encoder, self.head, self.adversary))
        yield replace(stage, begin=self._begin)
        yield classifier_stage(self.config, self.encoder, self.classifier)

    def _begin(self, epoch: int) -> None:
        """Let the adversary's weight rise from 0 (section 5.2.2)."""
        rise = 2 / (1 + math.exp(-10 * epoch / self.config.epochs_expression)) - 1
        self._weight = self.config.adversarial_weight * rise

    def _objective(self, faces: Faces) -> tuple[Tensor, dict[str, Tensor]]:
        people = named_people(faces, self.config.num_people)
        code = self.encoder(faces.image).output
        adversary_loss = person_loss(self.adversary(reverse_gradient(code, self._weight)), people)
        return F.cross_entropy(self.head(code).float(), faces.expression) + adversary_loss, {
            "adversary": adversary_loss
        }
