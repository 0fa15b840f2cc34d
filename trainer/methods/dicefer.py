"""DICE-FER (Aquib, Verma, Akhtar): expression and identity decoupled by mutual information, in two stages.

Stage 1 learns the expression code E from pairs that share nothing but their expression: the map of one face must tell
the code of the other. Stage 2 learns the identity code I: with E it must tell its own face, and be independent of E.
Then a classifier is trained on E. docs/papers.md says what the paper leaves open and how it is settled.

Two variants go beyond the paper: `joint` lets stage 2 move E too, `finetuned` lets the classifier.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.methods.base import SCHEDULES, Faces, Method, Pairs, Stage
from trainer.methods.dicefer_critics import Critics
from trainer.methods.objectives.losses import code_distance, discriminator_loss, independence_loss, spread
from trainer.methods.optimizers import adamw, minimise
from trainer.methods.settings.dicefer import PRESETS, TRIED, DiceFerConfig
from trainer.networks.critics import BilinearCritic
from trainer.networks.heads import Classifier, Discriminator
from trainer.networks.pair_encoder import PairEncoder
from trainer.networks.resnet import ResNet
from trainer.runs.distributed import world_size


class DiceFer(Method):
    """DICE-FER: expression and identity decoupled by mutual information, in two stages, then a classifier.

    Args:
        config: the settings.
        num_expressions: how many classes.
        make_encoder: another encoder than the ResNet-18 of the settings, whose last map has 16 positions.
    """

    Config = DiceFerConfig
    PRESETS, TRIED = PRESETS, TRIED
    PRETRAINED = ("paper",)  # section 5.3: on CASIA-WebFace
    ENCODER_MODULES = ("expression_encoder", "identity_encoder")
    STAGE_MODULES: ClassVar[dict[str, tuple[str, ...]]] = {
        "expression": ("expression_encoder", "expression_critics"),
        "identity": ("identity_encoder", "identity_critics", "discriminator"),
        "classifier": ("classifier",),
    }

    def __init__(
        self, config: DiceFerConfig, num_expressions: int, make_encoder: Callable[[], Any] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        size = config.code_size
        make = make_encoder or (lambda: ResNet("resnet18", 1, size, config.width, config.standardise))
        self.expression_encoder = PairEncoder(make, config.shared)
        self.identity_encoder = PairEncoder(make, config.shared)
        anchor: Any = self.expression_encoder.sides[0]
        channels = anchor.num_features
        self.expression_critics = Critics(channels, size, config, config.global_weight)
        for critic in self.expression_critics.children():
            if isinstance(critic, BilinearCritic):
                critic.align(anchor.fc)
        self.identity_critics = Critics(2 * channels, 2 * size, config, config.identity_global_weight)
        self.discriminator = Discriminator(size)
        self.classifier = Classifier(size, num_expressions)
        self._entropy = math.log(num_expressions)  # nats: more no two faces of one class can share
        self._epoch, self._warming = 0, False  # of the stage at hand; whether the distance does not count yet

    def forward(self, images: Tensor) -> Tensor:
        """Classify by the expression code alone."""
        logits: Tensor = self.classifier(self.expression_encoder(images)[1])
        return logits

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return E and I; of encoders that are not shared, the partners' E too."""
        codes = {"expression": self.expression_encoder(images)[1], "identity": self.identity_encoder(images)[1]}
        if not self.config.shared:
            codes["expression of partners"] = self.expression_encoder(images, -1)[1]
        return codes

    def train(self, mode: bool = True) -> "DiceFer":
        """Switch to training; a frozen encoder stays in evaluation, or its batch statistics would drift."""
        super().train(mode)
        if not next(self.expression_encoder.parameters()).requires_grad:
            self.expression_encoder.eval()
        return self

    def stages(self) -> Iterator[Stage]:
        """Expression; then, with its encoder frozen, identity and the classifier."""
        yield self._expression()
        self.expression_encoder.requires_grad_(self.config.joint)
        yield self._identity()
        self.expression_encoder.requires_grad_(self.config.finetuned)
        yield self._classifier()

    def _adamw(self, *modules: nn.Module) -> torch.optim.AdamW:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        return adamw(parameters, self.config.learning_rate, self.config.weight_decay)

    def _expression(self) -> Stage:
        """Stage 1: maximise Eq. 8."""
        config = self.config
        optimizer = self._adamw(self.expression_encoder, self.expression_critics)

        def step(batch: Pairs) -> dict[str, Tensor]:
            maps, codes = self.expression_encoder.both(batch.anchor, batch.partner)
            loss, logged = self._expression_loss(maps, codes, batch.expression)
            minimise(loss, optimizer)
            return logged

        return Stage(
            "expression", config.epochs_expression, config.batch_size, Pairs, step, (optimizer,),
            schedule=SCHEDULES[config.schedule], balanced=config.balanced,
            begin=partial(self._begin, warmup=config.distance_warmup),
            warning=partial(self._concern, epochs=config.epochs_expression),
        )  # fmt: skip

    def _expression_loss(self, maps: Tensor, codes: Tensor, classes: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what Eq. 8 minimises, the distance of a pair's codes (Eq. 7) less the swapped information (Eq. 6)."""
        config, critics = self.config, self.expression_critics
        (map_anchor, map_partner), (anchor, partner) = maps.chunk(2), codes.chunk(2)
        read = (partner, anchor) if config.swap else (anchor, partner)
        sides = [
            critics(map_anchor, read[0], config.expression_estimator, classes),
            critics(map_partner, read[1], config.expression_estimator, classes),
        ]
        information = {name: sides[0][name] + sides[1][name] for name in sides[0]}
        distance = code_distance(anchor, partner)
        gate = _share(information["nats"] / 2) if config.gated else 1.0
        loss = (0.0 if self._warming else config.distance_weight) * gate * distance
        loss = loss - config.global_weight * information["global"] - config.local_weight * information["local"]
        return loss, _means(information) | {"distance": distance, "spread": spread(codes)}

    def _identity(self) -> Stage:
        """Stage 2: maximise Eq. 11, the information of a face and [E, I] (Eq. 9) less what ties I to E (Eq. 10).

        Where E moves too, its own information (Eq. 8) and the adversary (Eq. 10) move it, never Eq. 9, which would
        draw the person into E.
        """
        config, critics = self.config, self.identity_critics
        also = (self.expression_encoder, self.expression_critics) if config.joint else ()
        encoder = self._adamw(self.identity_encoder, critics, *also)
        adversary = self._adamw(self.discriminator)

        def step(batch: Pairs) -> dict[str, Tensor]:
            with torch.set_grad_enabled(config.joint):
                expression_map, expression = self.expression_encoder.both(batch.anchor, batch.partner)
            identity_map, identity = self.identity_encoder.both(batch.anchor, batch.partner)
            for _ in range(config.discriminator_steps):
                minimise(discriminator_loss := self._discriminate(expression.detach(), identity.detach()), adversary)
            maps = torch.cat([expression_map.detach(), identity_map], dim=1)
            both = torch.cat([expression.detach(), identity], dim=1)
            sides = [
                critics(side_map, code, config.identity_estimator, batch.expression)
                for side_map, code in zip(maps.chunk(2), both.chunk(2), strict=True)
            ]
            information = {name: sides[0][name] + sides[1][name] for name in sides[0]}
            hidden = 2 * independence_loss(self.discriminator(expression, identity))  # of anchors and of partners
            loss = config.adversarial_weight * hidden
            loss = loss - config.identity_global_weight * information["global"]
            loss = loss - config.identity_local_weight * information["local"]
            logged = _means(information) | {
                "discriminator": discriminator_loss,
                "independence": hidden / 2,
                "spread": spread(identity),
            }
            if config.joint:
                kept, of_expression = self._expression_loss(expression_map, expression, batch.expression)
                loss = loss + kept
                logged |= {f"expression {name}": value for name, value in of_expression.items()}
            minimise(loss, encoder)
            return logged

        return Stage(
            "identity", config.epochs_identity, config.batch_size, Pairs, step, (encoder, adversary),
            schedule=SCHEDULES[config.schedule], balanced=config.balanced,
            begin=partial(self._begin, warmup=0), trains_code=config.joint,
            warning=partial(self._concern, epochs=config.epochs_identity),
        )  # fmt: skip

    def _begin(self, epoch: int, warmup: int) -> None:
        self._epoch, self._warming = epoch, epoch < warmup

    def _concern(self, means: dict[str, float], epochs: int) -> str | None:
        """Name what does not stop a training, but is to be known of it.

        A collapse stops nothing either: with the printed values, codes were found to spread again after 30 epochs.
        """
        late = self._epoch >= max(epochs / 2, 20)
        num = self.config.batch_size // world_size()
        num_negatives = num * (1 if self.config.negatives == "shift" else num - 1)
        found = {
            "the critic diverges: it claims more information than the batch can show":
                means["nats"] > 3 * math.log(num_negatives),
            "the discriminator has won: it tells the codes of one face from those of two without error":
                means.get("discriminator", 1.0) < 0.1,
            "more information than the expressions hold: a leak through the pairs, or a critic that diverges":
                "distance" in means and means["nats"] > self._entropy + 0.2,
            "the code has collapsed: it tells no face from another; critic=bilinear, standardise=true and gated=true "
            "(preset default) prevent it, and a small dataset needs more epochs (--set epochs_expression=300)":
                means["nats"] <= 0.05 and (late or means["spread"] <= 1e-2),
        }  # fmt: skip
        return "; ".join(warning for warning, holds in found.items() if holds) or None

    def _discriminate(self, expression: Tensor, identity: Tensor) -> Tensor:
        """Return the discriminator's loss on codes of anchors and partners; each side is shuffled in itself."""
        shifts = range(self.config.discriminator_shifts + 1)
        shuffled = torch.cat([side.roll(shift, 0) for shift in shifts for side in identity.chunk(2)])
        logits = self.discriminator(expression.repeat(len(shifts), 1), shuffled)
        joint, independent = logits.tensor_split([len(identity)])
        return discriminator_loss(independent, joint)

    def _classifier(self) -> Stage:
        """Train the classifier on E, whose encoder stays as it is unless it is fine-tuned."""
        config = self.config
        also = (self.expression_encoder,) if config.finetuned else ()
        optimizer = self._adamw(self.classifier, *also)

        def step(batch: Faces) -> dict[str, Tensor]:
            loss = F.cross_entropy(self(batch.image).float(), batch.expression)
            minimise(loss, optimizer)
            return {"loss": loss}

        return Stage(
            "classifier", config.epochs_classifier, config.batch_size, Faces, step, (optimizer,),
            schedule=SCHEDULES[config.schedule], selects=True, trains_code=config.finetuned,
        )  # fmt: skip


def _means(information: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return both sides' estimates as their mean, to be logged."""
    return {name: value / 2 for name, value in information.items()}


def _share(nats: Tensor) -> Tensor:
    """Return what of log 2 nats, all that tells two classes apart, is found: 0 to 1."""
    return (nats.detach() / math.log(2)).clamp(0, 1)
