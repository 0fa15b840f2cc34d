"""IF-GAN: the face of an average person with each face's expression, generated, and read with it."""

from dataclasses import dataclass, replace

from trainer.methods.config import one_of

CLASSIFIERS = ("resnet18", "resnet101")
REDUCTIONS = ("mean", "sum")


@dataclass(frozen=True, kw_only=True)
class IfGanConfig:
    """The paper's values and places, where it gives them (section 4.3 unless said); (ours) where it does not."""

    batch_size: int = 50
    epochs: int = 100
    learning_rate: float = 1e-4  # x 0.9 every 10 epochs; Adam, as all of this line
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 1e-4  # coupled
    size: int = 224  # px of faces and pictures; `fertools prepare --size 256 --align eyes-nose` gives as many
    color: bool = False  # (ours) Fig. 3 draws one channel
    width: int = 32  # of G (Fig. 3)
    attention: bool = True  # Table 1 has both
    discriminator_width: int = 64  # (ours: pix2pix)
    classifier: str = "resnet101"
    classifier_width: int = 64
    imagenet: bool = True  # the classifier begins with ImageNet's weights
    adversarial_weight: float = 1.0  # lambda_1 of Eq. 1
    reconstruction_weight: float = 20.0  # lambda_2
    classification_weight: float = 10.0  # lambda_3; Eq. 4 is printed without its minus
    island_weight: float = 1.0  # lambda_4
    island_pairwise: float = 0.03  # alpha of Eq. 5
    island_reduction: str = "sum"  # Eq. 5, over the batch
    centre_rate: float = 0.5  # (ours: public implementations of the island loss)
    ce_real: bool = True  # E learns from {I, I_AE} too
    ce_to_g: bool = True  # (ours: the text, not Eq. 4) G learns from E's cross-entropy
    gen_only: bool = False  # (ours) E sees G(I) alone

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        one_of("classifier", self.classifier, CLASSIFIERS)
        one_of("island_reduction", self.island_reduction, REDUCTIONS)


PAPER = IfGanConfig()
# Measured on drawn faces at 48 px: with the paper's weights the cross-entropy through E moves G 20 times as hard as the
# reconstruction does, D 11 times: its pictures are then what E reads best, no average face.
DEFAULT = replace(PAPER, size=112, imagenet=False, island_reduction="mean", ce_to_g=False, adversarial_weight=0.1)
DEMO = replace(
    DEFAULT, batch_size=32, learning_rate=1e-3, size=48, width=16, discriminator_width=16,
    classifier="resnet18", classifier_width=16,
)  # fmt: skip
PRESETS = {"paper": PAPER, "default": DEFAULT, "demo": DEMO}
