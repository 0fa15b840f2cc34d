"""The mouth, drawn anew in every frame: lips, teeth, tongue and the dark between."""

from typing import NamedTuple

import numpy as np

from fertools.drawn.face.canvas import Array, Stain, bell, patch, ramp, ridge
from fertools.drawn.face.factors import Action, Identity
from fertools.drawn.face.motion import Lips, lips


class Lines(NamedTuple):
    """The mouth's curves over a row x: the outer and inner edge of the upper lip, the inner and outer of the lower."""

    x: Array
    along: Array  # -1 at the left corner, 1 at the right one
    upper_outer: Array
    upper_inner: Array
    lower_inner: Array
    lower_outer: Array


def draw_mouth(planes: Array, identity: Identity, action: Action) -> Stain:
    """Draw the mouth into the planes, in place.

    Args:
        planes: (height, width, 4) albedo, slope to the right, slope down, coverage.
        identity: whose mouth it is.
        action: as performed.

    Returns:
        The lips.
    """
    shape = lips(identity, action)
    top = min(shape.left[1], shape.right[1], shape.middle) - 0.25
    bottom = max(shape.left[1], shape.right[1], shape.middle + shape.gap) + 0.3
    rows, columns, x, y = patch(shape.left[0] - 0.12, top, shape.right[0] + 0.12, bottom)
    lines = _lines(shape, x)
    end = ramp(np.abs(lines.along), 1.01, 0.95)
    lip = ramp(y - lines.upper_outer, -0.012, 0.014) * ramp(lines.lower_outer - y, -0.014, 0.016) * end
    inside = ramp(y - lines.upper_inner, -0.004, 0.014) * ramp(lines.lower_inner - y, -0.006, 0.014) * end
    inside = inside * ramp(lines.lower_inner - lines.upper_inner, 0.004, 0.02)
    part = planes[rows, columns]
    _lips(part, identity, lines, y, lip)
    part[..., 0] += (_cavity(action, shape, lines, y) - part[..., 0]) * inside
    part[..., 1:3] *= 1 - inside[..., None]
    part[..., 0] *= _shadows(shape, lines, y)
    return Stain(rows, columns, lip * (1 - inside), "lips")


def _lines(shape: Lips, x: Array) -> Lines:
    """The curves of the lips over a row of the canvas."""
    (left_x, left_y), (right_x, right_y) = shape.left, shape.right
    middle = (left_x + right_x) / 4
    left = (x < middle).astype(np.float32)
    along = (x - middle) / ((middle - left_x) * left + (right_x - middle) * (1 - left))
    arch = np.clip(1 - along * along, 0, 1)
    corner = left_y * left + right_y * (1 - left)
    wide_open = min(2.5 * shape.gap, 1.0)  # an open mouth is round, a closed one is pointed
    bend = np.minimum(np.abs(along), 1)
    upper_inner = shape.middle + (corner - shape.middle) * bend ** (1.8 + 1.2 * wide_open)
    lower_middle = shape.middle + shape.gap
    lower_inner = np.maximum(lower_middle + (corner - lower_middle) * bend ** (2.1 + 0.7 * wide_open), upper_inner)
    bow = 1 + 0.16 * (bell(along, 0.24, 0.12) + bell(along, -0.24, 0.12)) - 0.2 * bell(along, 0, 0.09)
    upper_outer = upper_inner - shape.upper * arch**0.75 * bow
    return Lines(x, along, upper_outer, upper_inner, lower_inner, lower_inner + shape.lower * arch**0.7)


def _lips(part: Array, identity: Identity, lines: Lines, y: Array, lip: Array) -> None:
    """Colour and roundness of the lips, in place: the upper one looks down, the lower one up."""
    creases = 1 + 0.035 * np.sin(lines.x * 95 + 3 * np.sin(lines.x * 23))
    upper = (y < (lines.upper_inner + lines.lower_inner) / 2).astype(np.float32)
    tone = identity.skin * identity.lips * creases * (1 - 0.1 * upper)
    part[..., 0] += (tone - part[..., 0]) * lip
    depth = (y - lines.lower_inner) / np.maximum(lines.lower_outer - lines.lower_inner, 0.02)
    slope = np.clip(0.75 - 1.5 * depth, -0.8, 0.7) * (1 - upper) - 0.45 * upper
    part[..., 2] += (slope - part[..., 2]) * lip * 0.8
    part[..., 1] *= 1 - 0.5 * lip


def _cavity(action: Action, shape: Lips, lines: Lines, y: Array) -> Array:
    """Albedo of the mouth's inside: dark, with teeth above and the tongue below."""
    pull = (action.lip_corner_puller_left + action.lip_corner_puller_right) / 2
    shown = 0.04 + 0.08 * min(pull + action.upper_lip_raiser + 0.6 * action.lip_stretcher, 1)
    below, along = y - lines.upper_inner, lines.along
    teeth = ramp(shown * (1 - 0.35 * along**2) - below, -0.006, 0.01) * ramp(np.abs(along), 0.95, 0.7)
    gaps = 1 - 0.22 * np.abs(np.cos(lines.x * (np.pi / 0.098))) ** 24
    white = 0.8 * gaps * (0.62 + 0.38 * ramp(below, 0.0, 0.035)) * (1 - 0.3 * along**2)
    tongue = 0.26 * min(shape.gap * 3, 1) * ramp(y - lines.lower_inner, -0.16, -0.03) * bell(along, 0, 0.4)
    dark = 0.05 + 0.03 * ramp(below, 0, 0.2) + tongue
    return np.asarray(dark + (white - dark) * teeth)


def _shadows(shape: Lips, lines: Lines, y: Array) -> Array:
    """What part of its light the mouth keeps: less where closed lips meet, in the corners and under the lower lip."""
    closed = ramp(lines.lower_inner - lines.upper_inner, 0.03, 0.0) * ramp(np.abs(lines.along), 1.01, 0.95)
    kept = 1 - 0.62 * ridge(y - lines.upper_inner, 0.012) * closed
    for corner_x, corner_y in (shape.left, shape.right):
        kept *= 1 - 0.35 * bell(y, corner_y, 0.025) * bell(lines.x, corner_x, 0.03)
    under = ridge(y - lines.lower_outer - 0.03, 0.03) * np.clip(1 - lines.along**2, 0, 1)
    return np.asarray(kept * (1 - 0.16 * under))
