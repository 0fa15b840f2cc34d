"""The baseline of IF-GAN's tables: a ResNet-101 on labels, with the island loss on its features (footnote 2)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.methods.base import Faces, Method, Stage
from trainer.methods.config import ConfigError, one_of
from trainer.methods.objectives.losses import island_step
from trainer.methods.optimizers import adam, minimise
from trainer.networks.resnet import DEPTHS, IMAGENET_WIDTH, ResidualNet
from trainer.runs.distributed import all_gather, local_sizes


@dataclass(frozen=True, kw_only=True)
class ResNetIslandConfig:
    """IF-GAN's values for its classifier (section 4.3): it prints none for the baseline."""

    batch_size: int = 50
    epochs: int = 100
    learning_rate: float = 1e-4  # x 0.9 every 10 epochs; Adam, as all of this line
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 1e-4  # coupled
    classifier: str = "resnet101"
    width: int = 64
    imagenet: bool = True  # begin with ImageNet's weights
    color: bool = False  # (ours) as IF-GAN's
    classification_weight: float = 10.0  # lambda_3 of Eq. 1
    island_weight: float = 1.0  # lambda_4
    island_pairwise: float = 0.03  # alpha of Eq. 5
    island_reduction: str = "sum"  # Eq. 5, over the batch
    centre_rate: float = 0.5  # (ours: public implementations of the island loss)

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        one_of("classifier", self.classifier, DEPTHS)
        one_of("island_reduction", self.island_reduction, ("mean", "sum"))


class ResNetIsland(Method):
    """ResNet-101 on labels and the island loss, IF-GAN's baseline."""

    PLAIN = True
    Config = ResNetIslandConfig
    PRESETS: ClassVar[dict[str, Any]] = {}
    STAGE_MODULES: ClassVar[dict[str, tuple[str, ...]]] = {"classifier": ("classifier",)}
    centres: Tensor
    centre_counts: Tensor

    def __init__(self, config: ResNetIslandConfig, num_expressions: int) -> None:
        super().__init__()
        if config.imagenet and config.width != IMAGENET_WIDTH:
            raise ConfigError(f"width={config.width}: ImageNet's weights are of {IMAGENET_WIDTH}; --set imagenet=false")
        self.config = config
        self.classifier = ResidualNet(config.classifier, 3 if config.color else 1, num_expressions, config.width)
        self.register_buffer("centres", torch.zeros(num_expressions, self.classifier.num_features))
        self.register_buffer("centre_counts", torch.zeros(num_expressions))
        self._first_epoch = True

    def forward(self, images: Tensor) -> Tensor:
        """Classify."""
        logits: Tensor = self.classifier(images)[1]
        return logits

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features that are classified."""
        return {"expression": self.classifier(images)[0]}

    def stages(self) -> Iterator[Stage]:
        """Train everything on labels."""
        config = self.config
        if config.imagenet:
            try:
                self.classifier.load_imagenet(config.color)
            except OSError as error:
                raise ConfigError(str(error)) from error
        betas = (config.beta1, config.beta2)
        optimizer = adam(self.classifier.parameters(), config.learning_rate, config.weight_decay, betas)

        def step(batch: Faces) -> dict[str, Tensor]:
            features, logits = self.classifier(batch.image)
            entropy = F.cross_entropy(logits.float(), batch.expression)
            island = self._island(features, batch.expression)
            minimise(config.classification_weight * entropy + config.island_weight * island, optimizer)
            return {"classification": entropy, "island": island}

        yield Stage(
            "classifier", config.epochs, config.batch_size, Faces, step, (optimizer,),
            schedule=lambda done: 0.9 ** (round(done * config.epochs) // 10), begin=self._begin, selects=True,
        )  # fmt: skip

    def _begin(self, epoch: int) -> None:
        self._first_epoch = epoch == 0

    def _island(self, features: Tensor, classes: Tensor) -> Tensor:
        """Return the island loss, and move its centres."""
        config, sizes = self.config, local_sizes(len(classes))
        # one loss, of the batch of all ranks
        features, classes = all_gather(features.float(), sizes), all_gather(classes, sizes)
        loss, centres, counts = island_step(
            features, classes, self.centres, self.centre_counts, first_epoch=self._first_epoch,
            rate=config.centre_rate, pairwise_weight=config.island_pairwise, reduction=config.island_reduction,
        )  # fmt: skip
        self.centres.copy_(centres)
        self.centre_counts.copy_(counts)
        return loss


PAPER = ResNetIslandConfig()
DEFAULT = replace(PAPER, imagenet=False, island_reduction="mean")
DEMO = replace(DEFAULT, epochs=60, batch_size=32, learning_rate=1e-3, classifier="resnet18", width=16)
ResNetIsland.PRESETS = {"paper": PAPER, "default": DEFAULT, "demo": DEMO}
