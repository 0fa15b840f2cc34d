"""DICE-FER (Aquib, Verma, Akhtar): expression and identity decoupled by mutual information, in two stages.

Stage 1 learns the expression code E from pairs that share nothing but their expression: the map of one face must tell
the code of the other. Stage 2 learns the identity code I: with E it must tell its own face, and be independent of E.
Then a classifier is trained on E. docs/papers.md says what the paper leaves open and how it is settled.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config import one_of
from trainer.estimators import ESTIMATORS, donsker_varadhan, info_nce
from trainer.losses import code_distance, discriminator_loss, independence_loss, spread
from trainer.method import Faces, Method, Pairs, Stage, constant, cosine
from trainer.networks.critics import CRITICS, NEGATIVES, BilinearCritic, positions, whole
from trainer.networks.encoder import Encoder
from trainer.networks.heads import Classifier, Discriminator

NUM_POSITIONS = 16  # of the last map of a 112 px face
SCHEDULES = {"constant": constant, "cosine": cosine}


@dataclass(frozen=True, kw_only=True)
class DiceFerConfig:
    """The paper's values and places, where it gives them (section 5.3 unless said); (ours) where it does not."""

    batch_size: int = 32
    epochs_expression: int = 100
    epochs_identity: int = 100
    epochs_classifier: int = 100
    learning_rate: float = 1e-4
    weight_decay: float = 0.0  # (ours) decoupled: AdamW
    schedule: str = "constant"
    width: int = 64  # ResNet-18
    code_size: int = 64
    standardise: bool = False  # (ours) codes of mean 0 and spread 1
    critic: str = "concat"  # (ours: Hjelm et al. 2019; the paper names none)
    critic_width: int = 512  # (ours: Hjelm et al. 2019)
    balanced: bool = False  # (ours) draw the pairs' classes evenly
    swap: bool = True  # Eq. 6: the map of one face with the code of the other
    global_weight: float = 0.5  # mu
    local_weight: float = 1.0  # nu
    distance_weight: float = 0.1  # delta
    gated: bool = False  # (ours) the distance counts as far as the critics find information
    adversarial_weight: float = 0.01  # zeta (Fig. 4 sweeps 0 to 0.05)
    negatives: str = "shift"  # one shuffled code a face, as printed
    expression_estimator: str = "dv"  # Eq. 3
    identity_estimator: str = "dv"
    discriminator_steps: int = 1  # (ours)
    discriminator_shifts: int = 1  # (ours) shuffles of I that stand for independence

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        one_of("critic", self.critic, CRITICS)
        one_of("negatives", self.negatives, NEGATIVES)
        one_of("expression_estimator", self.expression_estimator, ESTIMATORS)
        one_of("identity_estimator", self.identity_estimator, ESTIMATORS)
        one_of("schedule", self.schedule, SCHEDULES)


class Critics(nn.Module):
    """The global and the local critic of one stage."""

    def __init__(self, channels: int, code_size: int, config: DiceFerConfig) -> None:
        super().__init__()
        critic, rest = CRITICS[config.critic], (code_size, config.critic_width, config.negatives)
        self.whole = critic(channels * NUM_POSITIONS, *rest)
        self.local = critic(channels, *rest)

    def forward(self, feature_map: Tensor, codes: Tensor, estimator: str) -> dict[str, Tensor]:
        """Return estimates of the information that the map and the code share: globally, and at a mean position.

        `nats` is a lower bound from the global scores: InfoNCE where they were trained by it, else Donsker-Varadhan.
        """
        estimate = ESTIMATORS[estimator]
        bound = info_nce if estimator == "nce" else donsker_varadhan
        scores = self.whole(whole(feature_map), codes)
        return {
            "global": estimate(*scores).mean(),
            "local": estimate(*self.local(positions(feature_map), codes)).mean(),
            "nats": bound(*(score.detach() for score in scores)).mean(),
        }


class DiceFer(Method):
    """DICE-FER: expression and identity decoupled by mutual information, in two stages, then a classifier.

    One encoder serves both faces of a pair: they come from one set and change places freely.
    """

    Config = DiceFerConfig
    PRESETS: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: DiceFerConfig, num_expressions: int) -> None:
        super().__init__()
        self.config = config
        size = config.code_size
        self.expression_encoder = Encoder(size, config.width, config.standardise)
        self.identity_encoder = Encoder(size, config.width, config.standardise)
        channels = self.expression_encoder.map_channels
        self.expression_critics = Critics(channels, size, config)
        for critic in self.expression_critics.children():
            if isinstance(critic, BilinearCritic):
                critic.align(self.expression_encoder.fc)
        self.identity_critics = Critics(2 * channels, 2 * size, config)
        self.discriminator = Discriminator(size)
        self.classifier = Classifier(size, num_expressions)

    def forward(self, images: Tensor) -> Tensor:
        """Classify by the expression code alone."""
        logits: Tensor = self.classifier(self.expression_encoder(images)[1])
        return logits

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return E and I."""
        return {"expression": self.expression_encoder(images)[1], "identity": self.identity_encoder(images)[1]}

    def train(self, mode: bool = True) -> "DiceFer":
        """Switch to training; a frozen encoder stays in evaluation, or its batch statistics would drift."""
        super().train(mode)
        if not self.expression_encoder.conv1.weight.requires_grad:
            self.expression_encoder.eval()
        return self

    def stages(self) -> Iterator[Stage]:
        """Expression; then, with its encoder frozen, identity and the classifier."""
        yield self._expression()
        self.expression_encoder.requires_grad_(False)
        yield self._identity()
        yield self._classifier()

    def _adamw(self, *modules: nn.Module) -> torch.optim.AdamW:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        return torch.optim.AdamW(parameters, lr=self.config.learning_rate, weight_decay=self.config.weight_decay)

    def _expression(self) -> Stage:
        """Stage 1: maximise Eq. 8, the swapped information (Eq. 6) less the distance of a pair's codes (Eq. 7)."""
        config, critics = self.config, self.expression_critics
        optimizer = self._adamw(self.expression_encoder, critics)

        def step(batch: Pairs) -> dict[str, Tensor]:
            maps, codes = self.expression_encoder(torch.cat([batch.anchor, batch.partner]))
            (map_anchor, map_partner), (anchor, partner) = maps.chunk(2), codes.chunk(2)
            read = (partner, anchor) if config.swap else (anchor, partner)
            sides = [
                critics(map_anchor, read[0], config.expression_estimator),
                critics(map_partner, read[1], config.expression_estimator),
            ]
            information = {name: sides[0][name] + sides[1][name] for name in sides[0]}
            distance = code_distance(anchor, partner)
            gate = _share(information["nats"] / 2) if config.gated else 1.0
            loss = config.distance_weight * gate * distance
            loss = loss - config.global_weight * information["global"] - config.local_weight * information["local"]
            _minimise(loss, optimizer)
            return _means(information) | {"distance": distance, "spread": spread(codes)}

        return Stage(
            "expression", config.epochs_expression, config.batch_size, Pairs, step, (optimizer,),
            schedule=SCHEDULES[config.schedule], balanced=config.balanced, complaint=_collapse,
        )  # fmt: skip

    def _identity(self) -> Stage:
        """Stage 2: maximise Eq. 11, the information of a face and [E, I] (Eq. 9) less what ties I to E (Eq. 10)."""
        config, critics = self.config, self.identity_critics
        encoder = self._adamw(self.identity_encoder, critics)
        adversary = self._adamw(self.discriminator)

        def step(batch: Pairs) -> dict[str, Tensor]:
            images = torch.cat([batch.anchor, batch.partner])
            with torch.no_grad():
                expression_map, expression = self.expression_encoder(images)
            identity_map, identity = self.identity_encoder(images)
            for _ in range(config.discriminator_steps):
                _minimise(told := self._discriminate(expression, identity.detach()), adversary)
            maps = torch.cat([expression_map, identity_map], dim=1)
            both = torch.cat([expression, identity], dim=1)
            sides = [
                critics(side_map, code, config.identity_estimator)
                for side_map, code in zip(maps.chunk(2), both.chunk(2), strict=True)
            ]
            information = {name: sides[0][name] + sides[1][name] for name in sides[0]}
            hidden = 2 * independence_loss(self.discriminator(expression, identity))  # of anchors and of partners
            loss = config.adversarial_weight * hidden
            loss = loss - config.global_weight * information["global"] - config.local_weight * information["local"]
            _minimise(loss, encoder)
            return _means(information) | {"discriminator": told, "independence": hidden / 2, "spread": spread(identity)}

        return Stage(
            "identity", config.epochs_identity, config.batch_size, Pairs, step, (encoder, adversary),
            schedule=SCHEDULES[config.schedule], balanced=config.balanced, complaint=_collapse,
        )  # fmt: skip

    def _discriminate(self, expression: Tensor, identity: Tensor) -> Tensor:
        """Return the discriminator's loss on codes of anchors and partners; each side is shuffled in itself."""
        joint, independent = self.discriminator(expression, identity), []
        for shift in range(1, self.config.discriminator_shifts + 1):
            shuffled = torch.cat([side.roll(shift, 0) for side in identity.chunk(2)])
            independent.append(self.discriminator(expression, shuffled))
        return discriminator_loss(torch.cat(independent), joint)

    def _classifier(self) -> Stage:
        """Train the classifier on E, whose encoder stays as it is."""
        config = self.config
        optimizer = self._adamw(self.classifier)

        def step(batch: Faces) -> dict[str, Tensor]:
            loss = F.cross_entropy(self(batch.image).float(), batch.expression)
            _minimise(loss, optimizer)
            return {"loss": loss}

        return Stage(
            "classifier", config.epochs_classifier, config.batch_size, Faces, step, (optimizer,),
            schedule=SCHEDULES[config.schedule], selects=True,
        )  # fmt: skip


def _minimise(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()


def _means(information: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return both sides' estimates as their mean, to be logged."""
    return {name: value / 2 for name, value in information.items()}


def _share(nats: Tensor) -> Tensor:
    """Return what of log 2 nats, all that tells two classes apart, is found: 0 to 1."""
    return (nats.detach() / math.log(2)).clamp(0, 1)


def _collapse(means: dict[str, float], epoch: int, epochs: int) -> str | None:
    """Say that a code tells no face from another: at once where it has shrunk to a point, else at half of the stage.

    A standardised code cannot shrink, but it can still hold nothing.
    """
    if means["nats"] > 0.05 or (means["spread"] > 1e-2 and epoch < max(epochs / 2, 20)):
        return None
    return (
        f"the code has collapsed: its spread is {means['spread']:.4f}, the information found {means['nats']:.3f} nats; "
        "the default preset's critic=bilinear, negatives=all, standardise=true and gated=true prevent it; "
        "a small dataset needs more epochs (--set epochs_expression=300)"
    )


PAPER = DiceFerConfig()
DEFAULT = DiceFerConfig(
    batch_size=16, learning_rate=1e-3, weight_decay=1.0, schedule="cosine", standardise=True, balanced=True,
    critic="bilinear", critic_width=64, negatives="all", expression_estimator="nce", identity_estimator="jsd",
    distance_weight=0.2, gated=True, discriminator_steps=2, discriminator_shifts=4,
)  # fmt: skip
DEMO = replace(DEFAULT, width=16, epochs_expression=150, epochs_identity=20, epochs_classifier=20)
DiceFer.PRESETS = {"paper": PAPER, "default": DEFAULT, "demo": DEMO}
