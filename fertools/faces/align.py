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
MAX_WARPED = 2304  # px, 16 x 144 or 8 x 288: faces up to about 1,800 px wide


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
        Umeyama 1991, Eqs. 38-43, doi:10.1109/34.88573.
    """
    points = np.asarray(landmarks, np.float64)
    if not np.isfinite(points).all():
        raise AlignmentError("a landmark is not a number")
    source_mean, target_mean = points.mean(0), target.mean(0)
    source, centred = points - source_mean, target - target_mean
    variance = (source**2).sum() / len(source)
    if variance < 1e-6:
        raise AlignmentError("all landmarks coincide")
    u, d, vt = np.linalg.svd(centred.T @ source / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / variance
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


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
    multiple of the crop's size and its pixels are averaged: a quarter of the error of a plain bilinear warp.

    Args:
        image: the source, (height, width) grey or (height, width, 3).
        matrix: (2, 3), crop_xy = matrix @ (source x, source y, 1), pixel centres at whole numbers.

        wanted: how the face is to be cut out; its colour is the image's.

    Returns:
        (144, 144) uint8, or as `wanted.shape` says.
    """
    shrink = 1 / math.sqrt(abs(np.linalg.det(matrix[:, :2])))  # source pixels a crop pixel
    factor = min(MAX_WARPED // wanted.stored, max(1, math.ceil(shrink)))
    fine = matrix * factor
    fine[:, 2] += (factor - 1) / 2  # the centre of a crop pixel is the centre of its factor x factor fine pixels
    size = wanted.stored * factor
    warped = cv2.warpAffine(image, fine, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if factor > 1:
        warped = cv2.resize(warped, (wanted.stored, wanted.stored), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, np.uint8)
