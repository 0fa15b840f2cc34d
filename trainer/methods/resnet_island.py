"""The baseline of IF-GAN's tables: a ResNet-101 on labels, with the island loss on its features (footnote 2)."""

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from trainer.methods.base import Faces, Method, Stage
from trainer.methods.config import ConfigError
from trainer.methods.objectives.island import IslandLoss
from trainer.methods.optimizers import adam, minimise
from trainer.methods.pretrained.imagenet import load_imagenet
from trainer.methods.settings.resnet_island import PRESETS, ResNetIslandConfig
from trainer.networks.resnet import STANDARD_WIDTH, ResNet


class ResNetIsland(Method):
    """ResNet-101 on labels and the island loss, IF-GAN's baseline."""

    INPUT = "plain"
    Config = ResNetIslandConfig
    PRESETS = PRESETS
    STAGE_MODULES: ClassVar[dict[str, tuple[str, ...]]] = {"classifier": ("classifier",)}

    def __init__(self, config: ResNetIslandConfig, num_expressions: int) -> None:
        super().__init__()
        if config.imagenet and config.width != STANDARD_WIDTH:
            raise ConfigError(f"width={config.width}: ImageNet's weights are of {STANDARD_WIDTH}; --set imagenet=false")
        self.config = config
        self.classifier = ResNet(config.classifier, 3 if config.color else 1, num_expressions, config.width)
        self.island_loss = IslandLoss(
            num_expressions, self.classifier.num_features, config.centre_rate, config.island_pairwise,
            config.island_reduction,
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.classifier(images).output
        return logits

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features that are classified."""
        return {"expression": self.classifier(images).features}

    def stages(self) -> Iterator[Stage]:
        """Train everything on labels."""
        config = self.config
        if config.imagenet:
            load_imagenet(self.classifier, config.color)
        betas = (config.beta1, config.beta2)
        optimizer = adam(self.classifier.parameters(), config.learning_rate, config.weight_decay, betas)

        def step(batch: Faces) -> dict[str, Tensor]:
            _, features, logits = self.classifier(batch.image)
            entropy = F.cross_entropy(logits.float(), batch.expression)
            island = self.island_loss(features, batch.expression)
            minimise(config.classification_weight * entropy + config.island_weight * island, optimizer)
            return {"classification": entropy, "island": island}

        yield Stage(
            "classifier", config.epochs, config.batch_size, Faces, step, (optimizer,),
            schedule=lambda done: 0.9 ** (round(done * config.epochs) // 10), begin=self.island_loss.begin,
            selects=True,
        )  # fmt: skip
