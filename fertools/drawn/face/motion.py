"""How action units move the face (Ekman & Friesen 1978, Facial Action Coding System)."""

from typing import NamedTuple

import cv2
import numpy as np

from fertools.drawn.face.canvas import COARSE, HEIGHT, SCALE, WIDTH, Array, X, Y, bell, pixels, ramp
from fertools.drawn.face.factors import Action, Identity

COARSE_X: Array = X[:, ::COARSE] + (COARSE - 1) / 2 / SCALE
COARSE_Y: Array = Y[::COARSE] + (COARSE - 1) / 2 / SCALE


class Lips(NamedTuple):
    """The mouth's shape in units."""

    left: tuple[float, float]  # the corners
    right: tuple[float, float]
    middle: float  # y of the upper lip's lower edge
    gap: float  # to the lower lip
    upper: float  # thickness
    lower: float
    jaw: float  # how far it has dropped


def perform(identity: Identity, action: Action) -> Action:
    """The action as this person performs it: with their gain, and more strongly on their better side."""
    sides = {"_left": 1 - identity.asymmetry, "_right": 1 + identity.asymmetry}
    performed = {}
    for unit, intensity in vars(action).items():
        side = next((factor for end, factor in sides.items() if unit.endswith(end)), 1.0)
        performed[unit] = float(np.clip(intensity * identity.gain * side, 0, 1.2))
    return Action(**performed)


def lips(identity: Identity, action: Action) -> Lips:
    """The mouth under a performed action."""
    a = action
    pull = (a.lip_corner_puller_left + a.lip_corner_puller_right) / 2
    jaw = 0.03 * a.lips_part + 0.15 * a.jaw_drop + 0.28 * a.mouth_stretch
    gap = (0.075 + 0.05 * pull) * a.lips_part + 0.19 * a.jaw_drop + 0.32 * a.mouth_stretch
    gap *= 1 - 0.5 * max(a.lip_pressor, 0.6 * a.chin_raiser)
    lift = 0.085 * a.upper_lip_raiser + 0.035 * (a.nose_wrinkler + a.chin_raiser) + 0.01 * pull + 0.05 * gap
    thin = 0.5 * a.lip_pressor + 0.4 * a.lip_tightener + 0.25 * a.lip_stretcher + 0.22 * pull
    sides = (
        (a.lip_corner_puller_left, a.dimpler_left, a.lip_corner_depressor_left),
        (a.lip_corner_puller_right, a.dimpler_right, a.lip_corner_depressor_right),
    )
    (left_x, left_y), right = (_corner(identity, a, gap, side) for side in sides)
    return Lips(
        left=(-left_x, left_y),
        right=right,
        middle=identity.mouth_height - lift,
        gap=gap,
        upper=identity.upper_lip * max(1 - thin - 0.1 * a.upper_lip_raiser, 0.2),
        lower=identity.lower_lip * max(1 - thin - 0.15 * a.mouth_stretch + 0.18 * a.chin_raiser, 0.2),
        jaw=jaw,
    )


def _corner(identity: Identity, action: Action, gap: float, side: tuple[float, float, float]) -> tuple[float, float]:
    """A mouth corner's distance from the midline and y, given its side's puller, dimpler and depressor."""
    a, (pull, dimple, press) = action, side
    out = 0.13 * pull + 0.1 * dimple - 0.02 * press + 0.11 * a.lip_stretcher
    out -= 0.05 * a.lip_pressor + 0.02 * a.lip_tightener + 0.13 * a.mouth_stretch + 0.03 * a.chin_raiser
    down = 0.13 * press - 0.24 * pull - 0.1 * dimple + 0.04 * a.lip_stretcher
    down += 0.02 * a.chin_raiser - 0.02 * a.upper_lip_raiser + 0.3 * gap
    return identity.mouth_width + out, identity.mouth_height + identity.mouth_curve + down


def flow(identity: Identity, action: Action) -> tuple[Array, Array]:
    """For every pixel of the canvas, the column and row at rest of the skin that a performed action brings there."""
    mouth = lips(identity, action)
    down = _jaw(identity, mouth)
    right = -0.5 * np.clip(COARSE_X, -1, 1) * down * ramp(COARSE_Y, 0.5, 1.0)
    for x, y, width, height, dx, dy in _pushes(identity, action):
        if dx or dy:
            rows, plus, minus = bell(COARSE_Y, y, height), bell(COARSE_X, x, width), bell(COARSE_X, -x, width)
            right += rows * (dx * (plus - minus))
            down += rows * (dy * (plus + minus))
    for (x, y), rest_x in ((mouth.left, -identity.mouth_width), (mouth.right, identity.mouth_width)):
        hill = 0.8 * bell(COARSE_Y, y, 0.17) * bell(COARSE_X, x, 0.17)
        right += (x - rest_x) * hill
        down += (y - identity.mouth_height - identity.mouth_curve - 0.3 * mouth.gap) * hill
    columns, rows = pixels(COARSE_X - right, COARSE_Y - down)
    size = (WIDTH, HEIGHT)
    return np.asarray(cv2.resize(columns, size), np.float32), np.asarray(cv2.resize(rows, size), np.float32)


def _pushes(identity: Identity, action: Action) -> list[tuple[float, float, float, float, float, float]]:
    """Where skin is pushed, on both sides alike: centre, width (x and y), movement outwards and down."""
    a, brow = action, -identity.brow_height
    inner_up = 0.165 * a.inner_brow_raiser * (1 - 0.15 * a.outer_brow_raiser)
    inner_down = 0.11 * a.brow_lowerer + 0.03 * a.nose_wrinkler - inner_up
    outer_down = 0.055 * a.brow_lowerer - 0.13 * a.outer_brow_raiser
    return [
        (identity.brow_spacing + 0.06, brow, 0.18, 0.25, -0.05 * a.brow_lowerer, inner_down),
        (identity.eye_spacing + 0.2, brow, 0.25, 0.25, 0.0, outer_down),
        (0.0, -0.1, 0.14, 0.12, 0.0, 0.01 * a.brow_lowerer - 0.015 * a.nose_wrinkler),
        (0.6, 0.36, 0.2, 0.18, 0.0, -0.06 * a.cheek_raiser - 0.02 * a.nose_wrinkler),
        (0.2, identity.nose_length - 0.1, 0.13, 0.11, 0.0, -0.05 * a.nose_wrinkler - 0.035 * a.upper_lip_raiser),
    ]


def _jaw(identity: Identity, mouth: Lips) -> Array:
    """How far down the lower face goes with the jaw; the neck gives way."""
    drop = mouth.jaw * ramp(COARSE_Y, identity.nose_length + 0.03, identity.mouth_height + 0.25)
    return drop * ramp(COARSE_Y, 2.4, 1.55) * ramp(np.abs(COARSE_X), 1.1, 0.8)
