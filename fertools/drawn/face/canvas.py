"""The canvas on which a head is drawn upright and from the front, and the few shapes it is drawn with.

Lengths are in units of half an average face's width (about 70 mm); x runs to the viewer's right, y down, z towards
the viewer; the origin lies midway between the eyes. Arrays are float32, as OpenCV is fastest with them.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

SCALE = 104.0  # pixels a unit
LEFT, TOP, WIDTH, HEIGHT = -1.75, -2.0, 364, 460  # the canvas ends at x = 1.75 and y = 2.42
COARSE = 4  # what is smooth, such as a field of movement, is computed on every 4th pixel
X: Array = (LEFT + np.arange(WIDTH, dtype=np.float32) / SCALE)[None, :]
Y: Array = (TOP + np.arange(HEIGHT, dtype=np.float32) / SCALE)[:, None]


class Patch(NamedTuple):
    """A rectangle of the canvas: which rows and columns, and their coordinates as a row x and a column y."""

    rows: slice
    columns: slice
    x: Array
    y: Array


class Stain(NamedTuple):
    """Something with a colour of its own: where on the canvas, its coverage, and what it is."""

    rows: slice
    columns: slice
    coverage: Array
    kind: str


def patch(x0: float, y0: float, x1: float, y1: float) -> Patch:
    """The part of the canvas between an upper and a lower corner, in units; what lies outside is cut off."""
    column0, column1 = sorted(int(np.clip((x - LEFT) * SCALE, 0, WIDTH)) for x in (x0, x1))
    row0, row1 = (int(np.clip((y - TOP) * SCALE, 0, HEIGHT)) for y in (y0, y1))
    rows, columns = slice(row0, row1), slice(column0, column1)
    return Patch(rows, columns, X[:, columns], Y[rows])


def pixels(x: Array, y: Array, step: int = 1) -> tuple[Array, Array]:
    """Columns and rows, on the canvas reduced `step` times, of places in units."""
    shift = (step - 1) / 2
    return ((x - LEFT) * SCALE - shift) / step, ((y - TOP) * SCALE - shift) / step


def bell(value: Array, centre: float, width: float) -> Array:
    """Gaussian of height 1; `width` is its standard deviation."""
    scaled = (value - centre) * (1 / width)
    return np.asarray(np.exp(-0.5 * scaled * scaled))


def ridge(distance: Array, width: float) -> Array:
    """1 where a distance is 0, falling to 1/e at `width` on either side: a soft line."""
    scaled = distance * (1 / width)
    return np.asarray(np.exp(-scaled * scaled))


def mound(x: Array, y: Array, centre: tuple[float, float], width: tuple[float, float]) -> Array:
    """Gaussian hill of height 1 over a row x and a column y."""
    return bell(y, centre[1], width[1]) * bell(x, centre[0], width[0])


def mounds(x: Array, y: Array, centre: tuple[float, float], width: tuple[float, float]) -> Array:
    """Two hills, the second mirrored at x = 0."""
    sides = bell(x, centre[0], width[0]) + bell(x, -centre[0], width[0])
    return bell(y, centre[1], width[1]) * sides


def ramp(value: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth between; with low > high it falls."""
    t = np.clip((value - low) * (1 / (high - low)), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def clouds(rng: np.random.Generator, shape: tuple[int, int], grain: tuple[float, float]) -> Array:
    """Smooth noise of about zero mean and unit deviation; `grain` is its size down and across in pixels."""
    height, width = shape
    small = rng.standard_normal((int(height / grain[0]) + 3, int(width / grain[1]) + 3), dtype=np.float32)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
