"""IF-GAN (Cai et al. 2021): any face's expression carried onto one average identity, and read there.

A generator G is to make of every face I the average face I_AE of its expression, which a discriminator D tells from
the true one; a classifier E reads the expression from the face and from what G makes of it. All three learn in each
step. docs/papers.md says what the paper leaves open and how it is settled.

G is trained to make one of a handful of pictures, so that it removes the person by construction of its target; what is
left of them in G(I) and in E is measured by the probes. On {I, I_AE} the second picture gives the answer away: what E
says of it is trained on, and never counted.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.methods.base import Faces, Method, Stage, resized
from trainer.methods.config import ConfigError
from trainer.methods.objectives.island import IslandLoss
from trainer.methods.objectives.losses import picture_loss, realism_loss, reconstruction_loss, spread
from trainer.methods.optimizers import adam, minimise
from trainer.methods.pretrained.imagenet import load_imagenet
from trainer.methods.settings.ifgan import PRESETS, IfGanConfig
from trainer.networks.patchgan import PatchGan
from trainer.networks.resnet import STANDARD_WIDTH, ResNet
from trainer.networks.unet import UNet

STEP, SMALLEST = 16, 32  # px: four poolings halve the size; less leaves the discriminator no patch
PROBED = 28  # px, at most: of the generated picture, as the probes see it, at a quarter of its size


class IfGan(Method):
    """IF-GAN: the face of an average person with each face's expression, generated, and read with it."""

    INPUT = "plain"
    Config = IfGanConfig
    PRESETS = PRESETS
    STAGE_MODULES: ClassVar[dict[str, tuple[str, ...]]] = {"joint": ("generator", "discriminator", "classifier")}
    averages: Tensor

    def __init__(self, config: IfGanConfig, num_expressions: int) -> None:
        super().__init__()
        _refuse(config)
        self.config = config
        channels = 3 if config.color else 1
        self.generator = UNet(channels, config.width, config.attention)
        self.discriminator = PatchGan(2 * channels, config.discriminator_width)
        read = channels if config.gen_only else 2 * channels
        self.classifier = ResNet(config.classifier, read, num_expressions, config.classifier_width)
        unknown = torch.full((num_expressions, channels, config.size, config.size), torch.nan)  # until it trains
        self.register_buffer("averages", unknown)
        self.island_loss = IslandLoss(
            num_expressions, self.classifier.num_features, config.centre_rate, config.island_pairwise,
            config.island_reduction,
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Classify by the face and what the generator makes of it."""
        faces = self._sized(images)
        logits: Tensor = self._read(faces, self.generator(faces))[1]
        return logits

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features that are classified, and the generated picture, at a quarter of its size or 28 px."""
        faces = self._sized(images)
        pictures = self.generator(faces)
        pooled = F.adaptive_avg_pool2d(pictures, min(PROBED, self.config.size // 4))
        return {"expression": self._read(faces, pictures)[0], "generated": pooled.flatten(1)}

    def transfer(self, images: Tensor) -> Tensor:
        """Return what the generator makes of faces: (batch, channels, size, size), from -1 to 1 (Fig. 5)."""
        pictures: Tensor = self.generator(self._sized(images))
        return pictures

    def attention_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return where the generator looks: see `UNet.attention_maps` (Fig. 6)."""
        return self.generator.attention_maps(self._sized(images))

    def stages(self) -> Iterator[Stage]:
        """Train all three networks in each step."""
        config = self.config
        if config.imagenet:
            load_imagenet(self.classifier, config.color)
        critic, painter, reader = map(self._adam, (self.discriminator, self.generator, self.classifier))

        def step(batch: Faces) -> dict[str, Tensor]:
            faces, averages = self._sized(batch.image), self.averages[batch.expression]
            if len(faces) == 1:
                raise ConfigError("a batch of one face has no batch statistics to train on; choose another batch_size")
            pictures: Tensor = self.generator(faces)
            real, fake = self.discriminator(faces, averages), self.discriminator(faces, pictures.detach())
            minimise(discriminated := picture_loss(real, fake), critic)
            logged = self._generate(faces, pictures, averages, batch.expression, painter)
            logged |= self._classify(faces, pictures.detach(), averages, batch.expression, reader)
            spreads = {"spread": spread(pictures.flatten(1)), "spread of averages": spread(averages.flatten(1))}
            return {"discriminator": discriminated} | logged | spreads

        yield Stage(
            "joint", config.epochs, config.batch_size, Faces, step, (critic, painter, reader),
            schedule=lambda done: 0.9 ** (round(done * config.epochs) // 10), begin=self.island_loss.begin,
            stop_reason=_collapse, warning=self._concern,
        )  # fmt: skip

    def _sized(self, images: Tensor) -> Tensor:
        """Return faces at the size of the networks."""
        return resized(images, self.config.size)

    def _read(self, faces: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return E's features and logits of faces and their pictures."""
        images = pictures if self.config.gen_only else torch.cat([faces, pictures], dim=1)
        _, features, logits = self.classifier(images)
        return features, logits

    def _adam(self, module: nn.Module) -> torch.optim.Adam:
        config = self.config
        return adam(module.parameters(), config.learning_rate, config.weight_decay, (config.beta1, config.beta2))

    def _generate(
        self, faces: Tensor, pictures: Tensor, averages: Tensor, classes: Tensor, optimizer: torch.optim.Optimizer
    ) -> dict[str, Tensor]:
        """Move the generator (Eq. 1); what judges its pictures stays as it is, but for E's running statistics.

        These see {I, G(I)} twice for each {I, I_AE} so, which leans them to what E sees when all is trained.
        """
        config = self.config
        adversarial = realism_loss(self.discriminator(faces, pictures))
        reconstruction = reconstruction_loss(pictures, averages)
        loss = config.adversarial_weight * adversarial + config.reconstruction_weight * reconstruction
        if config.ce_to_g:
            logits = self._read(faces, pictures)[1]
            loss = loss + config.classification_weight * F.cross_entropy(logits.float(), classes)
        minimise(loss, optimizer)
        return {"adversarial": adversarial, "reconstruction": reconstruction}

    def _classify(
        self, faces: Tensor, pictures: Tensor, averages: Tensor, classes: Tensor, optimizer: torch.optim.Optimizer
    ) -> dict[str, Tensor]:
        """Move the classifier (Eqs. 4 and 5), by averages and by generated pictures, each in a batch of its own.

        In one batch, the averages' statistics would tell the classes of the generated.
        """
        config = self.config
        read = [self._read(faces, pictures)]
        if config.ce_real:
            read.append(self._read(faces, averages))
        entropies = [F.cross_entropy(logits.float(), classes) for _, logits in read]
        island = self.island_loss(torch.cat([features for features, _ in read]), classes.repeat(len(read)))
        minimise(config.classification_weight * sum(entropies) + config.island_weight * island, optimizer)
        return {"classification": entropies[0], "island": island}

    def _concern(self, means: dict[str, float]) -> str | None:
        """Name what does not stop a training, but is to be known of it."""
        config = self.config
        entropy, island = config.classification_weight * means["classification"], config.island_weight * means["island"]
        found = {
            "the discriminator has won: it tells generated pictures from average faces without error":
                means["discriminator"] < 0.1,
            "the island loss outweighs the cross-entropy ten times and more: see island_reduction and island_weight":
                island > 10 * max(entropy, 1.0),
        }  # fmt: skip
        return "; ".join(warning for warning, holds in found.items() if holds) or None


def _refuse(config: IfGanConfig) -> None:
    """Refuse settings that no network can be built from.

    Raises:
        ConfigError: what, and what is expected.
    """
    if config.size % STEP or config.size < SMALLEST:
        raise ConfigError(f"size={config.size}: expected a multiple of {STEP} px from {SMALLEST} on")
    if config.imagenet and config.classifier_width != STANDARD_WIDTH:
        raise ConfigError(
            f"classifier_width={config.classifier_width}: ImageNet's weights are of width {STANDARD_WIDTH}; "
            "train from random ones with --set imagenet=false"
        )


def _collapse(means: dict[str, float], epoch: int, epochs: int) -> str | None:
    """Say, from half of the stage on, that the generator makes one picture of every face."""
    if means["spread"] > 0.1 * means["spread of averages"] or epoch < max(epochs / 2, 20):
        return None
    return (
        f"the generator has collapsed to one picture: its pictures of a batch differ by {means['spread']:.4f}, the "
        f"average faces they are to be by {means['spread of averages']:.4f}; a larger reconstruction_weight or "
        "classification_weight, or another learning_rate, may help"
    )
