"""Boxes and labels on pictures, to be read whatever their size and however many faces they show."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from manifests.schema import EXPRESSIONS

# Okabe & Ito 2008, colours that colour-blind people tell apart, and a light grey for neutral
HUES = ("#d55e00", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#dddddd", "#0072b2", "#56b4e9")
COLOURS = dict(zip(EXPRESSIONS, HUES, strict=True))
OTHER = "#ffffff"
LEAST_LETTER, SMALLEST = 11, 8  # px; the second, of pictures too narrow for the first
ALL_BUT_SURE = 0.995  # a probability that would be rounded to 100 %
SHARES = (1, 0.8, 0.64, 0.5, 0.4, 0.3, 0)  # of the size of letters, among many faces; never below what the box asks for
LETTERS = (1 / 70, 1 / 18)  # of the picture's longer and shorter side: the least, the most size of letters
OF_BOX = 1 / 7  # of the box' width: the size of letters where that is between these


class Mark(NamedTuple):
    """What is drawn of a face: its box x0, y0, x1, y1 in px, what it shows and how probable that is."""

    box: Sequence[float]
    expression: str
    probability: float


Rectangle = tuple[int, int, int, int]  # x0, y0, x1, y1, px


def draw(image: NDArray[np.uint8], marks: Sequence[Mark]) -> NDArray[np.uint8]:
    """Return a picture with a box about each face, and beside it what it shows, where it hides least.

    Args:
        image: (height, width, 3) RGB.
        marks: of its faces.
    """
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    boxes = [_within(mark.box, picture.size) for mark in marks]
    for mark, box in zip(marks, boxes, strict=True):
        line = max(2, _letters(box, picture.size)[0] // 8)
        for grown, ink, width in ((1, "black", line + 2), (0, _colour(mark), line)):  # a rim: seen on light skin, too
            pen.rectangle((box[0] - grown, box[1] - grown, box[2] + grown, box[3] + grown), outline=ink, width=width)
    for mark, label in zip(marks, _labels(marks, boxes, picture.size), strict=True):
        pen.rectangle(label.spot, fill=_colour(mark))
        pen.multiline_text(label.start, label.text, _ink(_colour(mark)), _font(label.letter), spacing=1)
    return np.asarray(picture)


def _within(box: Sequence[float], size: tuple[int, int]) -> Rectangle:
    x0, y0, x1, y1 = (round(float(edge)) for edge in box)
    x0, y0 = (min(max(edge, 0), side - 1) for edge, side in zip((x0, y0), size, strict=True))
    x1, y1 = (max(min(edge, side - 1), low) for edge, side, low in zip((x1, y1), size, (x0, y0), strict=True))
    return x0, y0, x1, y1


def _letters(box: Rectangle, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of letters as the box is wide: read when the whole picture fills a screen, and the least."""
    fitting = max(LEAST_LETTER, min(OF_BOX * (box[2] - box[0]), LETTERS[1] * min(size)))
    return round(max(fitting, LETTERS[0] * max(size))), round(fitting)


@cache
def _font(letter: int) -> Any:
    return ImageFont.load_default(letter)


def _colour(mark: Mark) -> str:
    return COLOURS.get(mark.expression, OTHER)


class _Label(NamedTuple):
    """What is written, how large, on which ground, where its letters start, and how many px of others it hides."""

    text: str
    letter: int
    spot: Rectangle
    start: tuple[float, float]
    hidden: int


def _labels(marks: Sequence[Mark], boxes: Sequence[Rectangle], size: tuple[int, int]) -> list[_Label]:
    """Return the largest labels of which none hides a face or another label, else those that hide least."""
    best: list[_Label] = []
    for share in SHARES:
        taken, labels = list(boxes), []
        for mark, box in zip(marks, boxes, strict=True):
            letter, least = _letters(box, size)
            label = _label(mark, box, max(least, round(share * letter)), size, taken)
            taken.append(label.spot)
            labels.append(label)
        if not best or _hidden(labels) < _hidden(best):
            best = labels
        if not _hidden(best):
            break
    return best


def _hidden(labels: Sequence[_Label]) -> int:
    return sum(label.hidden for label in labels)


def _label(mark: Mark, box: Rectangle, letter: int, size: tuple[int, int], taken: Sequence[Rectangle]) -> _Label:
    """Return a label in one line, or in two where that hides less; in a narrow picture, in letters as small as fit."""
    shown = f"{mark.probability:.0%}" if mark.probability < ALL_BUT_SURE else ">99%"
    found = []
    for text in (f"{mark.expression}  {shown}", f"{mark.expression}\n{shown}"):
        pad = max(1, round(letter / 5))
        left, top, right, bottom = _extent(text, letter)
        wide, high = math.ceil(right - left) + 2 * pad, math.ceil(bottom - top) + 2 * pad
        spot, hidden = place(box, (wide, high), size, taken)
        if wide < size[0] or (letter == SMALLEST and "\n" in text):
            found.append(_Label(text, letter, spot, (spot[0] + pad - left, spot[1] + pad - top), hidden))
    if not found:
        return _label(mark, box, letter - 1, size, taken)
    return min(found, key=lambda label: label.hidden)


@cache
def _extent(text: str, letter: int) -> tuple[float, float, float, float]:
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = pen.multiline_textbbox((0, 0), text, _font(letter), spacing=1)
    return float(left), float(top), float(right), float(bottom)


def _ink(ground: str) -> str:
    """Return black or white, whichever stands out more from a ground by the contrast of WCAG 2.2."""
    levels = np.array([int(ground[at : at + 2], 16) / 255 for at in (1, 3, 5)]) ** 2.2
    luminance = float(levels @ [0.2126, 0.7152, 0.0722])
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"


def place(
    box: Rectangle, size: tuple[int, int], picture: tuple[int, int], taken: Sequence[Rectangle]
) -> tuple[Rectangle, int]:
    """Return where a label goes, above its box or else where it hides least, and how many px of others it hides.

    Args:
        box: of its face, x0, y0, x1, y1.
        size: width and height of the label.
        picture: width and height of the picture.
        taken: boxes, this one too, and labels.
    """
    (x0, y0, x1, y1), (width, height) = box, size
    corners = [
        (x0, y0 - height), (x0, y1), (x1 - width, y0 - height), (x1 - width, y1),
        (x1, y0), (x0 - width, y0), (x1, y1 - height), (x0 - width, y1 - height), (x0, y1 - height), (x0, y0),
    ]  # fmt: skip
    first = np.clip(np.array(corners), 0, np.maximum(np.array(picture) - 1 - np.array(size), 0))
    spots, others = np.concatenate([first, first + np.array(size)], axis=1)[:, None], np.array(taken)[None]
    sides = np.minimum(spots[..., 2:], others[..., 2:]) - np.maximum(spots[..., :2], others[..., :2])
    hidden = sides.clip(min=0).prod(2).sum(1)
    best = int(hidden.argmin())  # of equals the first
    left, top, right, bottom = spots[best, 0].tolist()
    return (left, top, right, bottom), int(hidden[best])
