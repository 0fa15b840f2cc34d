"""What a model of others says of itself in a file of JSON: how it takes faces, and what its outputs are."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from manifests.errors import ManifestError
from manifests.fields import Field, check_fields, of_type, whole
from manifests.schema import EXPRESSIONS
from manifests.text import printable
from trainer.inference.model import ModelError

MAX_BYTES = 1_000_000
MAX_SIDE = 1024  # px
CHANNELS = {"grey": 1, "rgb": 3, "bgr": 3}


@dataclass(frozen=True, kw_only=True)
class Card:
    """How a model takes faces, and what it says of them.

    Attributes:
        labels: the canonical expression of each output, in order; null: one that is none of them and is left out.
        size: side of its square input, px.
        color: grey, rgb or bgr.
        layout: NCHW or NHWC.
        output: logits or probabilities.
        range: what black and white become; or else
        mean: of each channel in the model's order, of levels from 0 to 1, which is subtracted, and
        std: by which it is then divided.
        output_name: which output, where there are several.
    """

    labels: tuple[str | None, ...]
    size: int
    color: str
    layout: str
    output: str
    range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    output_name: str | None = None

    def entry(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return faces as the model takes them.

        Args:
            faces: (faces, side, side) or (faces, side, side, 3); grey ones have three equal channels in colour.
        """
        shrinks = faces.shape[1] > self.size
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        sized = np.stack([cv2.resize(face, (self.size, self.size), interpolation=how) for face in faces])
        levels = sized.astype(np.float32) / 255
        levels = levels[..., None] if levels.ndim == 3 else levels
        levels = np.repeat(levels, CHANNELS[self.color] // levels.shape[3], axis=3)
        levels = levels[..., ::-1] if self.color == "bgr" else levels
        if self.range is not None:
            black, white = self.range
            values = black + levels * np.float32(white - black)
        else:
            assert self.mean is not None and self.std is not None
            values = (levels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(values if self.layout == "NHWC" else values.transpose(0, 3, 1, 2), np.float32)


def _one_of(name: str, *known: str) -> Field:
    return Field(name, " or ".join(known), lambda value: value in known)


def _numbers(name: str, expected: str, holds: Callable[[list[float]], bool]) -> Field:
    return Field(
        name, expected,
        lambda value: isinstance(value, list)
        and all(type(number) in (int, float) and abs(number) <= 1e6 for number in value)
        and holds(value),
    )  # fmt: skip


FIELDS = (
    Field(
        "labels", f"one an output, each once: {', '.join(EXPRESSIONS)}, or null for what is none of them",
        lambda labels: isinstance(labels, list)
        and all(name is None or name in EXPRESSIONS for name in labels)
        and len(set(labels) - {None}) == sum(name is not None for name in labels) >= 2,
    ),
    whole("size", 8, MAX_SIDE), _one_of("color", *CHANNELS), _one_of("layout", "NCHW", "NHWC"),
    _one_of("output", "logits", "probabilities"), of_type("output_name", str, "the name of an output"),
    _numbers("range", "what black and white become, [0, 1] or [-1, 1] or [0, 255]",
             lambda ends: len(ends) == 2 and ends[0] != ends[1]),
    _numbers("mean", "a number a channel", lambda means: len(means) in (1, 3)),
    _numbers("std", "a number above 0 a channel", lambda spreads: len(spreads) in (1, 3) and min(spreads) > 0),
)  # fmt: skip
REQUIRED = ("labels", "size", "color", "layout", "output")


def read_card(path: Path) -> Card:
    """Return a model card.

    Raises:
        ModelError: no such file, or a card that says less than is needed, or what is not known.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path} has {path.stat().st_size:,} bytes; a model card has at most {MAX_BYTES:,}")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, json.JSONDecodeError, RecursionError) as error:
        raise ModelError(f"{path} is no model card: {printable(str(error))}; docs/models.md has one") from error
    return card_of(values, str(path))


def card_of(values: Any, what: str) -> Card:
    """Return a card by its values, as `read_card` does; `what` they are from."""
    known = [field.name for field in fields(Card)]
    if not isinstance(values, dict):
        raise ModelError(
            f"{what} is no model card: expected {{...}} with {', '.join(REQUIRED)}; docs/models.md has one"
        )
    if unknown := [name for name in values if name not in known]:
        raise ModelError(f"{what}: {printable(unknown[0], 40)!r} is unknown; expected {', '.join(known)}")
    try:
        check_fields(values, FIELDS, REQUIRED)
    except ManifestError as error:
        raise ModelError(f"{what}: {error}") from error
    given = {name for name in ("range", "mean", "std") if name in values}
    if given not in ({"range"}, {"mean", "std"}):
        raise ModelError(f"{what} has {' and '.join(sorted(given)) or 'none'} of range, mean and std; expected range, "
                         "or mean and std")  # fmt: skip
    as_numbers = {name: tuple(map(float, values[name])) for name in given}
    known_values: dict[str, Any] = values | as_numbers | {"labels": tuple(values["labels"])}
    card = Card(**known_values)
    for name in ("mean", "std"):
        if (numbers := getattr(card, name)) is not None and len(numbers) != CHANNELS[card.color]:
            raise ModelError(f"{what}: {name} has {len(numbers)} numbers for {CHANNELS[card.color]} channels")
    return card
