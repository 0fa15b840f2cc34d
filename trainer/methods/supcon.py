"""Control: supervised contrastive learning (Khosla et al. 2020, arXiv:2004.11362), with DICE-FER's budget."""

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from trainer.methods.base import Faces, Method, Stage
from trainer.methods.controls import classifier_stage, encoder_of, expression_stage
from trainer.methods.objectives.representations import supervised_contrast
from trainer.methods.settings.supcon import PRESETS, TRIED, SupConConfig


class SupCon(Method):
    """Control: supervised contrastive learning, then a linear classifier, with DICE-FER's budget."""

    Config = SupConConfig
    PRESETS, TRIED = PRESETS, TRIED
    PRETRAINED = ("paper",)
    ENCODER_MODULES = ("encoder",)
    STAGE_MODULES: ClassVar[dict[str, tuple[str, ...]]] = {
        "expression": ("encoder", "projection"), "classifier": ("classifier",)
    }  # fmt: skip

    def __init__(self, config: SupConConfig, num_expressions: int) -> None:
        super().__init__()
        self.config = config
        size = config.code_size
        self.encoder = encoder_of(config)
        self.projection = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, config.projection_size))
        self.classifier = nn.Linear(size, num_expressions)

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.classifier(self.encoder(images).output)
        return logits

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return the code that is classified."""
        return {"expression": self.encoder(images).output}

    def stages(self) -> Iterator[Stage]:
        """Contrast expressions, then train a linear classifier on the code."""
        yield expression_stage(self.config, self._objective, (self.encoder, self.projection))
        yield classifier_stage(self.config, self.encoder, self.classifier)

    def _objective(self, faces: Faces) -> tuple[Tensor, dict[str, Tensor]]:
        projected = self.projection(self.encoder(faces.image).output)
        return supervised_contrast(projected, faces.expression, self.config.temperature), {}
