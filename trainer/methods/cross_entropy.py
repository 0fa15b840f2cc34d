"""Control: the ResNet-18 on labels, with DICE-FER's budget."""

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from trainer.methods.base import Faces, Method, Stage
from trainer.methods.controls import classifier_stage, encoder_of, expression_stage
from trainer.methods.settings.controls import ControlConfig
from trainer.methods.settings.cross_entropy import PRESETS, TRIED


class CrossEntropy(Method):
    """Control: the ResNet-18 on labels, with as many steps and faces as DICE-FER, classes as even (`controls`)."""

    Config = ControlConfig
    PRESETS, TRIED = PRESETS, TRIED
    PRETRAINED = ("paper",)
    ENCODER_MODULES = ("encoder",)
    STAGE_MODULES: ClassVar[dict[str, tuple[str, ...]]] = {
        "expression": ("encoder", "head"), "classifier": ("classifier",)
    }  # fmt: skip

    def __init__(self, config: ControlConfig, num_expressions: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder_of(config)
        self.head, self.classifier = (nn.Linear(config.code_size, num_expressions) for _ in range(2))

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.classifier(self.encoder(images).output)
        return logits

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return the code that is classified."""
        return {"expression": self.encoder(images).output}

    def stages(self) -> Iterator[Stage]:
        """Train the encoder on labels, then a linear classifier on its code."""
        yield expression_stage(self.config, self._objective, (self.encoder, self.head))
        yield classifier_stage(self.config, self.encoder, self.classifier)

    def _objective(self, faces: Faces) -> tuple[Tensor, dict[str, Tensor]]:
        return F.cross_entropy(self.head(self.encoder(faces.image).output).float(), faces.expression), {}
