"""A person's head at rest: relief, reflectance and outline, without eyes and mouth, which every frame draws anew."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from fertools.drawn.face import hair
from fertools.drawn.face.canvas import (
    COARSE,
    HEIGHT,
    SCALE,
    WIDTH,
    Array,
    X,
    Y,
    bell,
    clouds,
    mound,
    mounds,
    patch,
    ramp,
    ridge,
)
from fertools.drawn.face.factors import Identity

BARE, HAIR = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)
NECK_END = 2.3  # where the neck has passed into the body


@dataclass(frozen=True)
class Head:
    """What stays the same in every picture of a person.

    planes: (height, width, 4) albedo, slopes of the relief to the right and down, coverage.
    hair: (height, width) how much of a pixel is hair.
    depth: (height / 4, width / 4) relief towards the viewer, smoothed.
    """

    planes: Array
    hair: Array
    depth: Array


class Layer(NamedTuple):
    """A part of the head as it lies over others: albedo, slopes right and down, whether it is hair; and where it is."""

    albedo: Array
    right: Array
    down: Array
    hair: Array
    mask: Array


@lru_cache(maxsize=2)
def head(identity: Identity) -> Head:
    """The head of a person; the last ones are kept, as the frames of a sequence share theirs."""
    rng = np.random.default_rng(identity.texture)
    inside = skull(identity)
    relief = _relief(identity, inside)
    skin = _skin(identity, inside, relief, rng)
    strands = hair.strands(identity, rng)
    behind, around = hair.masks(identity, strands)
    tone, slope = hair.albedo(identity, strands), hair.slopes(identity, strands)
    layers = [
        Layer(0.6 * tone, *slope, HAIR, behind),
        _neck(identity, inside),
        _ears(identity),
        Layer(skin, *slopes(relief), BARE, ramp(inside, -0.01, 0.03)),
        Layer(tone, *slope, HAIR, around),
    ]
    *planes, hairy, coverage = _stack(layers)
    smooth = cv2.GaussianBlur(relief, (0, 0), 5)
    depth = cv2.resize(smooth, (WIDTH // COARSE, HEIGHT // COARSE), interpolation=cv2.INTER_AREA)
    return Head(np.dstack([*planes, coverage]), hairy, np.asarray(depth, np.float32))


def _stack(layers: list[Layer]) -> list[Array]:
    """Albedo, slopes, hairiness and coverage of layers that lie one on the other, the last on top."""
    planes: list[Array] = [np.zeros((HEIGHT, WIDTH), np.float32)] * 4
    coverage: Array = np.zeros((HEIGHT, WIDTH), np.float32)
    for *values, mask in layers:
        coverage = coverage + mask - coverage * mask
        share = mask / np.maximum(coverage, 1e-3)  # an edge shows its own layer, not what was before the first
        planes = [plane + (value - plane) * share for plane, value in zip(planes, values, strict=True)]
    return [*planes, coverage]


def skull(identity: Identity) -> Array:
    """Implicit outline of the head: 1 between the eyes, 0 on the outline, negative outside."""
    length = identity.forehead + (identity.face_height - identity.forehead) * (Y > 0)
    power = 2.3 + (identity.jaw - 2.3) * ramp(Y, -0.05, 0.05)
    fuller = 0.04 * identity.cheeks * bell(Y, 0.62, 0.3) + 0.03 * identity.cheekbones * bell(Y, 0.25, 0.2)
    return np.asarray(1 - (np.abs(Y) / length) ** power - (X / (identity.face_width * (1 + fuller))) ** 2, np.float32)


def slopes(relief: Array) -> tuple[Array, Array]:
    """Slope of a relief to the right and down, bounded as it is at an outline."""
    right = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3, scale=SCALE / 8)
    down = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3, scale=SCALE / 8)
    return np.clip(right, -2.2, 2.2), np.clip(down, -1.25, 1.7)


def _relief(identity: Identity, inside: Array) -> Array:
    """Height towards the viewer: an egg, and on it the hills and hollows of a face."""
    relief = 0.95 * np.maximum(inside, 0) ** 0.45
    deep, eye = identity.eye_depth, identity.eye_spacing
    nose, mouth, chin = identity.nose_length, identity.mouth_height, identity.face_height
    pairs = [  # height, centre, width: x and y
        (0.04 + 0.035 * deep, (0.36, -0.24), (0.26, 0.1)),  # brow ridge
        (-0.06 - 0.09 * deep, (eye - 0.02, -0.03), (0.22, 0.15)),  # socket
        (-0.04 - 0.03 * deep, (0.2, -0.02), (0.07, 0.09)),  # its inner corner
        (0.075, (eye, 0.0), (0.15, 0.1)),  # eyeball
        (0.03 + 0.06 * identity.cheekbones, (0.62, 0.3), (0.2, 0.15)),
        (0.05 * identity.cheeks, (0.55, 0.75), (0.22, 0.25)),
        (0.03, (0.33, 0.55), (0.14, 0.14)),  # cheek beside the nose
        (-0.03 - 0.02 * identity.age, (0.44, mouth + 0.06), (0.06, 0.1)),  # corner of the mouth
        (-0.03 * identity.age, (0.36, 0.22), (0.14, 0.05)),  # tear trough
    ]
    single = [
        (0.05, (0.0, -0.8), (0.5, 0.3)),  # forehead
        (0.1, (0.0, mouth - 0.05), (0.36, 0.24)),  # teeth under the lips
        (-0.02, (0.0, (nose + mouth) / 2), (0.03, 0.07)),  # philtrum
        (-0.05, (0.0, mouth + 0.2), (0.2, 0.055)),  # under the lower lip
        (0.05 + 0.06 * identity.chin, (0.0, chin - 0.22), (0.17 + 0.06 * identity.jaw / 3, 0.12)),  # chin
    ]
    for height, centre, width in pairs:
        relief += height * mounds(X, Y, centre, width)
    for height, centre, width in single:
        relief += height * mound(X, Y, centre, width)
    _add_nose(relief, identity)
    return relief


def _add_nose(relief: Array, identity: Identity) -> None:
    """Ridge, tip and wings of the nose, added in place."""
    rows, columns, x, y = patch(-0.9, -0.45, 0.9, 1.0)
    length, wing, height = identity.nose_length, identity.nose_width, identity.nose_height
    along = np.clip((y + 0.06) / (length - 0.08), 0, None)
    profile = height * (0.2 + 0.8 * along**1.1) * ramp(y, -0.34, -0.05)
    base = length + 0.02 - 1.5 * x * x
    width = identity.nose_bridge + (0.48 * wing - identity.nose_bridge * 0.7) * ramp(along, 0.35, 1)
    nose = 0.7 * profile * np.exp(-0.5 * (x / width) ** 2) * ramp(y - base, 0.02, -0.2)
    flank = np.exp(-0.5 * (x / (1.6 * width)) ** 2)
    nose += 0.35 * profile * flank * ramp(y, length - 0.02, length - 0.42)
    nose += 0.1 * mound(x, y, (0, length - 0.13), (0.42 * wing, 0.075))
    nose += 0.1 * mounds(x, y, (wing * 0.76, length - 0.09), (0.28 * wing, 0.065))
    relief[rows, columns] += cv2.GaussianBlur(nose, (0, 0), 2)


def _skin(identity: Identity, inside: Array, relief: Array, rng: np.random.Generator) -> Array:
    """Albedo of the face: tone, blotches, pores, marks, shadows in its hollows, nostrils, beard and brows."""
    tone = 1 + 0.035 * clouds(rng, (HEIGHT, WIDTH), (24, 24))
    tone += (0.012 + 0.02 * identity.age) * clouds(rng, (HEIGHT, WIDTH), (2.2, 2.2))
    tone -= 0.09 * identity.redness * mounds(X, Y, (0.52, 0.5), (0.2, 0.16))
    tone -= 0.07 * identity.redness * mound(X, Y, (0, 0.5), (0.16, 0.1))
    tone -= (0.05 + 0.12 * identity.eye_bags) * mounds(X, Y, (identity.eye_spacing - 0.06, 0.12), (0.17, 0.07))
    tone -= 0.1 * identity.eye_depth * mounds(X, Y, (identity.eye_spacing - 0.04, -0.09), (0.2, 0.06))
    small = cv2.resize(relief, (WIDTH // COARSE, HEIGHT // COARSE), interpolation=cv2.INTER_AREA)
    wide = cv2.resize(cv2.GaussianBlur(small, (0, 0), 3.5), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    tone *= 1 - np.clip(2.2 * (np.asarray(wide, np.float32) - relief), -0.06, 0.3) * ramp(inside, 0.05, 0.3)
    _mark(tone, identity, rng)
    length, wing = identity.nose_length, identity.nose_width
    tone *= 1 - 0.8 * mounds(X, Y, (0.46 * wing, length - 0.03), (0.19 * wing, 0.022))
    tone *= 1 - 0.14 * mound(X, Y, (0, length + 0.03), (0.8 * wing, 0.03))
    albedo = identity.skin * tone
    for mask, colour in (hair.beard(identity, inside, rng), hair.brows(identity, rng)):
        albedo += (colour - albedo) * mask
    return albedo


def _mark(tone: Array, identity: Identity, rng: np.random.Generator) -> None:
    """Freckles across nose and cheeks, and a few moles, in place."""
    count = int(140 * identity.freckles)
    freckles = np.column_stack(
        [rng.normal(0, 0.4, count), rng.normal(0.35, 0.16, count), rng.uniform(0.009, 0.015, count)]
    )
    moles = rng.uniform((-0.75, -0.7, 0.012), (0.75, 1.3, 0.024), (identity.moles, 3))
    for strength, marks in ((0.22, freckles), (0.5, moles)):
        for x, y, size in marks.tolist():
            part = patch(x - 4 * size, y - 4 * size, x + 4 * size, y + 4 * size)
            spot = mound(part.x, part.y, (x, y), (size, size))
            tone[part.rows, part.columns] *= 1 - strength * spot


def _neck(identity: Identity, inside: Array) -> Layer:
    """A column under the jaw, in whose shadow it stands."""
    width = 0.42 * identity.face_width + 0.05 * identity.jaw + 0.12 * ramp(Y, 1.7, 2.4) ** 2
    across = X / width
    shadow = 1 - 0.58 * np.exp(np.minimum(inside, 0) * 1.1)
    albedo = identity.skin * 0.9 * shadow
    side = np.clip(across * 1.1, -1.6, 1.6)
    muscle = 0.15 * np.sin(across * 7) * ramp(Y, 1.5, 2.2)
    mask = ramp(np.abs(across), 1.01, 0.98) * ramp(Y, 0.9, 1.0) * ramp(Y, NECK_END + 0.1, NECK_END - 0.1)
    right = np.broadcast_to(muscle - 0.8 * side * np.abs(side), albedo.shape)
    return Layer(albedo, right, np.full_like(albedo, -0.1), BARE, mask)


def _ears(identity: Identity) -> Layer:
    """Two ears, wider at the top, with a darker hollow."""
    size = identity.ears
    centre_x, centre_y = identity.face_width + 0.02, 0.14
    distance = np.abs(X) - centre_x + 0.1 * (Y - centre_y)
    radius = (distance / (0.125 * size)) ** 2 + ((Y - centre_y) / (0.29 * size)) ** 2
    hollow = ridge(distance - 0.01, 0.05) * ridge(Y - centre_y + 0.02, 0.15)
    rim = ridge(radius - 0.8, 0.18)
    albedo = identity.skin * (0.86 - 0.32 * hollow + 0.08 * rim)
    slope = np.sign(X) * np.clip(distance / 0.1, -1, 1) * -0.6
    return Layer(albedo, slope, np.zeros_like(albedo), BARE, ramp(radius, 1.06, 0.94))
