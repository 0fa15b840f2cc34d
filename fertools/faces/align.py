"""Align faces: landmarks to one upright crop, in one resampling."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from fertools.errors import FertoolsError
from manifests.schema import DEFAULT_CROP, Crop

TEMPLATE = np.array(  # ArcFace's five points in a 112 x 112 px face (Deng et al. 2019, arXiv:1801.07698)
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
TEMPLATE_SIZE = 112  # px
ALIGNED = {"five-points": slice(0, 5), "eyes-nose": slice(0, 3)}  # the landmarks that count
BLOCKS = 3  # means of blocks that at least make a pixel of the crop, along a side: coarser ones blur
MAX_FACTOR = 2 * BLOCKS


class AlignmentError(FertoolsError):
    """Landmarks from which no crop can be cut."""


def similarity(landmarks: NDArray[np.floating], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares similarity that carries landmarks onto a target.

    Args:
        landmarks: (points, 2) x, y in source pixels.
        target: (points, 2) where they shall lie, in pixels.

    Returns:
        (2, 3) matrix M with target_xy = M @ (x, y, 1). It never mirrors.

    Raises:
        AlignmentError: a landmark is not a number, or all coincide, so no scale is defined.

    Source:
        Umeyama 1991, Eqs. 38-43, doi:10.1109/34.88573; of the plane, without mirroring, in closed form.
    """
    points = np.asarray(landmarks, np.float64)
    if not np.isfinite(points).all():
        raise AlignmentError("a landmark is not a number")
    source_mean, target_mean = points.mean(0), target.mean(0)
    (x, y), (to_x, to_y) = (points - source_mean).T, (target - target_mean).T
    squares = float(x @ x + y @ y)
    if squares < 1e-6 * len(points):
        raise AlignmentError("all landmarks coincide")
    # in the plane the rotation times the scale is one complex number: a quotient of sums, no SVD
    along, across = float(x @ to_x + y @ to_y) / squares, float(x @ to_y - y @ to_x) / squares
    turn = np.array([[along, -across], [across, along]])
    return np.column_stack([turn, target_mean - turn @ source_mean])


def crop_matrix(landmarks: NDArray[np.floating], wanted: Crop = DEFAULT_CROP) -> NDArray[np.float64]:
    """Return the (2, 3) matrix that carries a source image onto its stored crop, a face with a margin.

    Args:
        landmarks: (5, 2) x, y in source pixels: eyes, nose tip, mouth corners; each pair left to right.
        wanted: how the face is to be cut out.
    """
    counting, scale = ALIGNED[wanted.align], wanted.face / TEMPLATE_SIZE
    target = (TEMPLATE + 0.5) * scale - 0.5 + wanted.margin  # the first pixel's centre is at 0, its edge at -0.5
    return similarity(landmarks[counting], target[counting])


def crop(image: NDArray[np.uint8], matrix: NDArray[np.float64], wanted: Crop = DEFAULT_CROP) -> NDArray[np.uint8]:
    """Cut the stored crop out of an image; what lies outside repeats the nearest edge.

    A shrinking warp would skip pixels (OpenCV ignores INTER_AREA in warps without a word), so it is done at a whole
    multiple of the crop's size and its pixels are averaged: a quarter of the error of a plain bilinear warp. Where a
    face shrinks a lot, whole blocks of source pixels are averaged first, down to three or more a crop pixel.

    Args:
        image: the source, (height, width) grey or (height, width, 3).
        matrix: (2, 3), crop_xy = matrix @ (source x, source y, 1), pixel centres at whole numbers.
        wanted: how the face is to be cut out; its colour is the image's.

    Returns:
        (144, 144) uint8, or as `wanted.shape` says.
    """
    part, matrix, inside = _part(image, matrix, wanted.stored)
    part, matrix = _blocks(part, matrix, int(_shrink(matrix) / BLOCKS))
    factor = min(MAX_FACTOR, max(1, math.ceil(_shrink(matrix))))
    fine = matrix * factor
    fine[:, 2] += (factor - 1) / 2  # the centre of a crop pixel is the centre of its factor x factor fine pixels
    size = wanted.stored * factor
    border = cv2.BORDER_CONSTANT if inside else cv2.BORDER_REPLICATE  # of which the first is faster, where none is seen
    warped = cv2.warpAffine(part, fine, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
    if factor > 1:
        warped = cv2.resize(warped, (wanted.stored, wanted.stored), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, np.uint8)


def _shrink(matrix: NDArray[np.float64]) -> float:
    """Return how many source pixels, along a side, become a pixel of the crop."""
    return 1 / math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))


def _part(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64], bool]:
    """Return the part of an image that a crop is made of, its matrix, and whether that lies in the image."""
    height, width = image.shape[:2]
    ends = np.array([[-0.5, -0.5], [size, -0.5], [-0.5, size], [size, size]]) - matrix[:, 2]
    corners = ends @ np.linalg.inv(matrix[:, :2]).T
    margin = 2 + 2 * _shrink(matrix) / BLOCKS  # pixels of blocks that the warp looks at beside the corners
    left, top = np.floor(corners.min(0) - margin)
    right, bottom = np.ceil(corners.max(0) + margin)
    inside = bool(left >= 0 and top >= 0 and right <= width and bottom <= height)
    x, y = int(np.clip(left, 0, width - 1)), int(np.clip(top, 0, height - 1))
    part = image[y : int(np.clip(bottom, y + 1, height)), x : int(np.clip(right, x + 1, width))]
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (x, y)
    return np.ascontiguousarray(part), moved, inside


def _blocks(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the means of an image's blocks, and their matrix; the last ones are filled up with the nearest edge."""
    side = min(side, *image.shape[:2])
    if side < 2:
        return image, matrix
    height, width = image.shape[:2]
    filled = cv2.copyMakeBorder(image, 0, -height % side, 0, -width % side, cv2.BORDER_REPLICATE)
    means = cv2.resize(filled, (-(-width // side), -(-height // side)), interpolation=cv2.INTER_AREA)
    reduced = matrix.copy()
    reduced[:, :2] *= side
    reduced[:, 2] += matrix[:, :2] @ np.full(2, (side - 1) / 2)
    return np.asarray(means, np.uint8), reduced
