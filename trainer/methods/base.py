"""What every method is: a module that classifies faces, gives its codes, and knows its training stages."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer


class Faces(NamedTuple):
    """A batch of single faces, as the method sees them."""

    image: Float[Tensor, "batch channels height width"]
    expression: Int[Tensor, " batch"]
    person: Int[Tensor, " batch"] | None = None  # index among the people of the training part; None: nobody is named


class Pairs(NamedTuple):
    """A batch of same-expression pairs: row i of anchor and of partner share expression i and are two people."""

    anchor: Float[Tensor, "batch 1 height width"]
    partner: Float[Tensor, "batch 1 height width"]
    expression: Int[Tensor, " batch"]
    person: Int[Tensor, "batch 2"] | None = None  # of anchor and partner, as in Faces

    def faces(self) -> Faces:
        """Return the anchors, then the partners, as single faces."""
        person = None if self.person is None else self.person.T.flatten()
        return Faces(torch.cat([self.anchor, self.partner]), self.expression.repeat(2), person)


def resized(
    images: Float[Tensor, "batch channels height width"], size: int
) -> Float[Tensor, "batch channels size size"]:
    """Return images at another size."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, [size] * 2, mode="bilinear", antialias=True, align_corners=False)


def constant(_: float) -> float:
    """Keep the learning rate: a schedule maps the share of the stage that is done to a factor."""
    return 1.0


def cosine(done: float) -> float:
    """Let the learning rate fall to zero along half a cosine (Loshchilov & Hutter 2017, Eq. 5, without restarts)."""
    return (1 + math.cos(math.pi * done)) / 2


SCHEDULES = {"constant": constant, "cosine": cosine}


@dataclass(frozen=True)
class Stage:
    """One training phase: over batches of `reads`, `step` optimises once and returns what to log, as tensors."""

    name: str
    epochs: int
    batch_size: int
    reads: type[Faces] | type[Pairs]
    step: Callable[[Any], dict[str, Tensor]]
    optimizers: tuple[Optimizer, ...]
    schedule: Callable[[float], float] = constant
    balanced: bool = False  # draw classes evenly, with replacement
    begin: Callable[[int], None] = lambda _: None  # called with an epoch's number, from 0, before its first batch
    selects: bool = False  # end with the weights of the epoch that is best on the validation fold
    trains_code: bool = True  # moves what makes the expression code: its steps and faces count in the budget
    stop_reason: Callable[[dict[str, float], int, int], str | None] = lambda *_: (
        None
    )  # means, epoch, epochs: why to stop
    warning: Callable[[dict[str, float]], str | None] = lambda _: None  # means of an epoch: what to note of it


class Method(nn.Module, ABC):
    """An interface, not a base class: it implements nothing.

    A buffer `averages`, (expressions, channels, size, size), where a method registers one, is filled with the average
    face of each expression before training. It is saved with the weights: a run shows what it was trained towards,
    wherever its manifest is. Of its settings, `size` is that of what its networks see, `color` whether it is in colour.
    """

    INPUT: ClassVar[Literal["plain", "whitened"]] = "whitened"  # plain: levels from -1 to 1, augmented as IF-GAN's are
    Config: ClassVar[type[Any]]
    PRESETS: ClassVar[dict[str, Any]]
    TRIED: ClassVar[dict[str, int]] = {}  # preset -> settings that were tried before it was chosen, by whoever tuned it
    PRETRAINED: ClassVar[tuple[str, ...]] = ()  # presets whose encoders start from pre-trained weights
    ENCODER_MODULES: ClassVar[tuple[str, ...]] = ()  # submodules whose ResNets may start from others' weights
    # stage, in order -> the submodules whose weights it leaves final
    STAGE_MODULES: ClassVar[dict[str, tuple[str, ...]]]

    @abstractmethod
    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch expressions"]:
        """Return one logit an expression."""

    @abstractmethod
    def codes(self, images: Float[Tensor, "batch channels height width"]) -> dict[str, Float[Tensor, "batch _"]]:
        """Return what the method takes a face for: its expression code and, where it has one, its identity code."""

    @abstractmethod
    def stages(self) -> Iterator[Stage]:
        """Yield the training stages in order; what stands between two yields runs between them."""
