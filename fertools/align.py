"""Align faces: five landmarks to one upright grey crop, in one resampling."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from fertools.errors import FertoolsError
from manifests.schema import CROP_SIZE, FACE_SIZE

TEMPLATE = np.array(  # ArcFace's five points in a 112 x 112 px face (Deng et al. 2019, arXiv:1801.07698)
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
MAX_OVERSAMPLING = 16  # warped at up to 16 x 144 = 2304 px: faces up to about 1,800 px wide


class AlignmentError(FertoolsError):
    """Landmarks from which no crop can be cut."""


def similarity(landmarks: NDArray[np.floating], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares similarity that carries landmarks onto a target.

    Args:
        landmarks: (5, 2) x, y in source pixels: eyes, nose tip, mouth corners; each pair left to right.
        target: (5, 2) where they shall lie, in pixels.

    Returns:
        (2, 3) matrix M with target_xy = M @ (x, y, 1). It never mirrors.

    Raises:
        AlignmentError: a landmark is not a number, or all five coincide, so no scale is defined.

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
        raise AlignmentError("all five landmarks coincide")
    u, d, vt = np.linalg.svd(centred.T @ source / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / variance
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def crop_matrix(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the (2, 3) matrix that carries a source image onto its stored crop, a face with a margin of 16 px."""
    return similarity(landmarks, TEMPLATE + (CROP_SIZE - FACE_SIZE) / 2)


def crop(grey: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Cut the stored crop out of an image; what lies outside repeats the nearest edge.

    A shrinking warp would skip pixels (OpenCV ignores INTER_AREA in warps without a word), so it is done at a whole
    multiple of the crop's size and its pixels are averaged: a quarter of the error of a plain bilinear warp.

    Args:
        grey: (height, width) of the source image.
        matrix: (2, 3), crop_xy = matrix @ (source x, source y, 1), pixel centres at whole numbers.

    Returns:
        (144, 144) uint8.
    """
    shrink = 1 / math.sqrt(abs(np.linalg.det(matrix[:, :2])))  # source pixels a crop pixel
    factor = min(MAX_OVERSAMPLING, max(1, math.ceil(shrink)))
    fine = matrix * factor
    fine[:, 2] += (factor - 1) / 2  # the centre of a crop pixel is the centre of its factor x factor fine pixels
    size = CROP_SIZE * factor
    warped = cv2.warpAffine(grey, fine, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if factor > 1:
        warped = cv2.resize(warped, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, np.uint8)
