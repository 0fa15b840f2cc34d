"""Lines and folds of the skin, from what the face does and from age; they shade with the light like all relief."""

import numpy as np

from fertools.drawn.face.canvas import Array, bell, patch, ramp, ridge
from fertools.drawn.face.factors import Action, Identity
from fertools.drawn.face.motion import Lips, lips

FAINT = 0.02  # what is weaker is not drawn


def wrinkle(planes: Array, identity: Identity, action: Action, hair: Array) -> None:
    """Wrinkle the skin in place, for a performed action and for the person's age.

    Args:
        planes: (height, width, 4) albedo, slope to the right, slope down, coverage.
        identity: whose face it is: its lines lie where its features are.
        action: as performed.
        hair: (height, width) how much of a pixel is hair, under which no line shows.
    """
    _forehead(planes, identity, action, 1 - hair)
    _frown(planes, identity, action)
    _nose(planes, action)
    mouth = lips(identity, action)
    for side in (-1, 1):
        _cheek(planes, identity, action, mouth, side)
        _eye(planes, identity, action, side)
    _chin(planes, identity, action)


def _forehead(planes: Array, identity: Identity, action: Action, bare: Array) -> None:
    """Lines across: AU 1 in the middle, AU 2 at the sides, age."""
    rows, columns, x, y = patch(-0.75, -identity.hairline + 0.05, 0.75, -identity.brow_height - 0.08)
    middle = 0.9 * action.inner_brow_raiser * bell(x, 0, 0.3)
    sides = 0.8 * action.outer_brow_raiser * (bell(x, 0.42, 0.22) + bell(x, -0.42, 0.22))
    old = 0.45 * max(identity.age - 0.3, 0) * bell(x, 0, 0.4)
    centre = -(identity.hairline + identity.brow_height) / 2 - 0.04
    strength = bell(y, centre, 0.13) * (middle + sides + old) * bare[rows, columns]
    phase = (y + 0.035 * np.cos(x * 5 + identity.texture % 7)) * (2 * np.pi / 0.115)
    planes[rows, columns, 2] += 0.36 * strength * np.cos(phase)
    planes[rows, columns, 0] *= 1 - 0.16 * strength * np.maximum(np.sin(phase), 0) ** 3


def _frown(planes: Array, identity: Identity, action: Action) -> None:
    """Upright lines between the brows: AU 4."""
    strength = action.brow_lowerer + 0.35 * max(identity.age - 0.4, 0)
    if strength < FAINT:
        return
    rows, columns, x, y = patch(-0.25, -0.62, 0.25, -0.05)
    away = np.abs(x) + 0.1 * (y + 0.3) - 0.075
    crease = ridge(away, 0.02) * bell(y, -0.3, 0.1) * strength
    planes[rows, columns, 1] += 0.9 * crease * np.sign(x) * np.clip(away / 0.014, -1, 1)
    planes[rows, columns, 0] *= 1 - 0.38 * crease


def _nose(planes: Array, action: Action) -> None:
    """Lines across the root and along the sides: AU 9."""
    strength = action.nose_wrinkler
    if strength < FAINT:
        return
    rows, columns, x, y = patch(-0.32, -0.22, 0.32, 0.4)
    window = bell(y, 0.06, 0.1) * bell(x, 0, 0.12) * strength
    phase = (y - 0.5 * np.abs(x)) * (2 * np.pi / 0.085)
    planes[rows, columns, 2] += 0.5 * window * np.cos(phase)
    planes[rows, columns, 0] *= 1 - 0.22 * window * np.maximum(np.sin(phase), 0) ** 2


def _cheek(planes: Array, identity: Identity, action: Action, mouth: Lips, side: int) -> None:
    """The fold from the nose's wing around the mouth: AU 9, 10 and 12, and age; and the dimple: AU 14."""
    corner_x, corner_y = mouth.left if side < 0 else mouth.right
    pull = action.lip_corner_puller_left if side < 0 else action.lip_corner_puller_right
    dimple = action.dimpler_left if side < 0 else action.dimpler_right
    shown = 0.1 + 0.4 * identity.age + 0.75 * action.upper_lip_raiser + 0.8 * action.nose_wrinkler
    top = identity.nose_length - 0.14 - 0.04 * action.nose_wrinkler
    rows, columns, x, y = patch(side * 0.15, top - 0.1, side * 0.95, corner_y + 0.22)
    along = (y - top) / (corner_y + 0.02 - top)
    start, end = identity.nose_width + 0.02, abs(corner_x) + 0.09 + 0.03 * pull
    away = side * x - start - (end - start) * np.sin(np.clip(along, 0, 1.25) * (np.pi / 2))
    strength = min(shown + 0.8 * pull + 0.3 * dimple, 1.4) * ramp(along, -0.1, 0.2) * ramp(along, 1.25, 0.7)
    crease, bulge = ridge(away, 0.03) * strength, ridge(away - 0.07, 0.06) * strength
    pit = dimple * bell(x, corner_x + side * 0.05, 0.03) * bell(y, corner_y, 0.07)
    planes[rows, columns, 1] += side * (0.3 * crease - 0.25 * bulge + 0.5 * pit)
    planes[rows, columns, 0] *= (1 - 0.2 * crease) * (1 - 0.45 * pit)


def _eye(planes: Array, identity: Identity, action: Action, side: int) -> None:
    """The raised cheek under the eye and lines at its outer corner: AU 6, and age."""
    strength = action.cheek_raiser
    rows, columns, x, y = patch(side * 0.15, -0.25, side * 1.0, 0.6)
    outward, downward = side * x - (identity.eye_spacing + identity.eye_size * 0.75), y - 0.03
    window = ridge(np.hypot(outward, downward) - 0.2, 0.07) * ramp(outward, 0.02, 0.1)
    rays = np.maximum(np.cos(np.arctan2(downward, outward) * 11), 0) ** 2
    bag = bell(y, 0.165 - 0.02 * strength, 0.022) * bell(x, side * (identity.eye_spacing + 0.02), 0.16)
    cheek = bell(y, 0.36, 0.13) * bell(x, side * 0.55, 0.2) * (y - 0.36) / 0.13
    planes[rows, columns, 2] += strength * (0.65 * bag - 0.35 * cheek)
    planes[rows, columns, 0] *= 1 - (0.16 * strength + 0.05 * max(identity.age - 0.4, 0)) * window * rays
    planes[rows, columns, 0] *= 1 - (0.22 * strength + 0.1 * identity.eye_bags) * bag


def _chin(planes: Array, identity: Identity, action: Action) -> None:
    """The skin of the chin crumples when it is pushed up: AU 17."""
    strength = action.chin_raiser
    if strength < FAINT:
        return
    middle = identity.face_height - 0.24
    rows, columns, x, y = patch(-0.4, middle - 0.3, 0.4, middle + 0.25)
    window = strength * bell(x, 0, 0.15) * bell(y, middle, 0.09)
    dots = np.sin(x * 57 + np.sin(y * 41) * 1.3) * np.sin(y * 61 + np.sin(x * 37) * 1.7)
    groove = strength * bell(y, middle - 0.13, 0.03) * bell(x, 0, 0.2)
    planes[rows, columns, 0] *= (1 - 0.13 * window * (1 + dots)) * (1 - 0.25 * groove)
    planes[rows, columns, 2] += 0.4 * window * dots
