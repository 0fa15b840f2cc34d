"""The eyes, drawn anew in every frame: lids, sclera, iris, pupil, highlight and lashes."""

from typing import NamedTuple

import numpy as np

from fertools.drawn.face.canvas import Array, Stain, bell, patch, ramp, ridge
from fertools.drawn.face.factors import Action, Identity, Nuisance

IRIS_RADIUS = 0.086  # 12 mm across in every adult
PUPIL = -0.02  # the pupil's height over the line of the eye's corners


class Lids(NamedTuple):
    """How far an eye is open: the upper lid above and the lower lid below the line of its corners."""

    upper: float
    lower: float
    slant: float  # how much the inner end of the upper lid is raised


def lids(identity: Identity, action: Action) -> Lids:
    """The lids under a performed action."""
    a = action
    opening = 2 * identity.eye_size * identity.eye_opening
    upper = 0.62 * opening + 0.05 * a.upper_lid_raiser - 0.022 * a.lid_tightener - 0.012 * a.brow_lowerer
    upper -= 0.02 * a.cheek_raiser + 0.022 * a.nose_wrinkler
    sad = max(a.inner_brow_raiser - a.outer_brow_raiser, 0)
    lower = 0.38 * opening + 0.008 * a.upper_lid_raiser - 0.035 * a.lid_tightener - 0.034 * a.cheek_raiser
    lower -= 0.022 * a.nose_wrinkler
    return Lids(max(upper - 0.012 * sad, 0.02), max(lower, 0.005), 0.03 * sad)


def draw_eyes(planes: Array, identity: Identity, action: Action, nuisance: Nuisance) -> list[Stain]:
    """Draw both eyes into the planes, in place.

    Args:
        planes: (height, width, 4) albedo, slope to the right, slope down, coverage.
        identity: whose eyes they are.
        action: as performed.
        nuisance: where they look and from where the light comes.

    Returns:
        The irises.
    """
    shape = lids(identity, action)
    return [_eye(planes, identity, shape, nuisance, side) for side in (-1, 1)]


def _eye(planes: Array, identity: Identity, shape: Lids, nuisance: Nuisance, side: int) -> Stain:
    """One eye: -1 at the viewer's left, 1 at the right."""
    size, centre = identity.eye_size, side * identity.eye_spacing
    rows, columns, x, y = patch(centre - 0.36, -0.3, centre + 0.36, 0.25)
    along = (x - centre) * (side / size)  # -1 inner corner, 1 outer corner
    down = y + identity.eye_tilt * size * along
    arch = np.clip(1 - np.abs(along + 0.06) ** 2.2, 0, 1)
    upper = -shape.upper * arch**0.8 - shape.slant * np.clip(-along, 0, 1) * (arch > 0)
    lower = shape.lower * np.clip(1 - np.abs(along - 0.1) ** 2.4, 0, 1)
    ball = ramp(down - upper, -0.004, 0.012) * ramp(lower - down, -0.004, 0.012) * ramp(np.abs(along), 1.0, 0.93)
    tone, iris = _iris(identity, nuisance, x - centre, y)
    white = 0.72 - 0.2 * np.abs(along) ** 3
    albedo = (white + (tone - white) * iris) * (0.55 + 0.45 * ramp(down - upper, 0.0, 0.06))  # in the lid's shadow
    part = planes[rows, columns]
    part[..., 0] *= _lid(identity, down, upper, lower, along)
    part[..., 0] += (albedo - part[..., 0]) * ball
    part[..., 1:3] *= 1 - ball[..., None]
    lash = ridge(down - upper - 0.002, 0.013) * ramp(np.abs(along), 1.06, 0.85) * (0.75 + 0.25 * along)
    lash = np.maximum(lash, 0.3 * ridge(down - lower, 0.009) * (np.abs(along) < 0.9))
    part[..., 0] += (min(0.5 * identity.skin * identity.brow, 0.15) - part[..., 0]) * lash
    return Stain(rows, columns, iris * ball, "iris")


def _iris(identity: Identity, nuisance: Nuisance, x: Array, y: Array) -> tuple[Array, Array]:
    """Albedo of iris, pupil and highlight, and where they are; x and y are relative to the eye's middle."""
    across, down = x - nuisance.gaze_x, y - (nuisance.gaze_y + PUPIL)
    radius = np.hypot(across, down) / IRIS_RADIUS
    tone = identity.iris * (1.25 - 0.75 * ramp(radius, 0.6, 0.98)) * (1 + 0.25 * ramp(down, -0.03, 0.06))
    tone = tone + (0.02 - tone) * ramp(radius, 0.46, 0.34)
    glint = bell(across, 0.03 if nuisance.light_azimuth > 0 else -0.03, 0.009) * bell(down, -0.03, 0.009)
    return tone + 1.1 * glint, ramp(radius, 1.06, 0.92)


def _lid(identity: Identity, down: Array, upper: Array, lower: Array, along: Array) -> Array:
    """What part of its light the skin around an eye keeps in the lid's crease, under the eye and at its inner end."""
    crease = upper - identity.lid_fold * (1 - 0.35 * along**2)
    line = ridge(down - crease, 0.014) * ramp(np.abs(along), 1.15, 0.8)
    under = ridge(down - lower - 0.045, 0.02) * ramp(np.abs(along), 1.0, 0.7)
    inner = ridge(along + 1.02, 0.12) * ridge(down, 0.03)
    depth = 0.38 if identity.lid_fold > 0.03 else 0.2
    return (1 - depth * line) * (1 - 0.1 * under) * (1 - 0.25 * inner)
