"""ResNet-101 on labels and the island loss, IF-GAN's baseline."""

from dataclasses import dataclass, replace

from trainer.methods.config import one_of

CLASSIFIERS = ("resnet18", "resnet101")
REDUCTIONS = ("mean", "sum")


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
        one_of("classifier", self.classifier, CLASSIFIERS)
        one_of("island_reduction", self.island_reduction, REDUCTIONS)


PAPER = ResNetIslandConfig()
DEFAULT = replace(PAPER, imagenet=False, island_reduction="mean")
DEMO = replace(DEFAULT, epochs=60, batch_size=32, learning_rate=1e-3, classifier="resnet18", width=16)
PRESETS = {"paper": PAPER, "default": DEFAULT, "demo": DEMO}
