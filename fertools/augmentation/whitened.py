"""Faces as a fold's whitening makes them, which is how `trainer` shows them to a network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fertools.folds.whitening import Zca
from manifests import files

Whitener = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # (faces, 112, 112) to the same shape


def whitener(manifest: Path, fold: int, kind: str, faces: pa.Table) -> Whitener:
    """Return what whitens grey faces of 112 px.

    Raises:
        ManifestError: statistics that are missing, or of other faces.
    """
    if kind == "none":
        return lambda images: np.asarray(images / np.float32(127.5) - 1, np.float32)
    if kind == "standardize":
        return standardize
    mean, components, variance, about = files.read_whitening(manifest, fold, faces)
    return Zca(mean, components, variance, about["tail"], about["epsilon"]).apply


def standardize(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Subtract each image's mean and divide by its spread, which is at least that of one odd pixel."""
    levels = images / np.float32(255)
    centred = levels - levels.mean((1, 2), keepdims=True)
    spread = np.sqrt(np.square(centred).mean((1, 2), keepdims=True))
    return np.asarray(centred / np.maximum(spread, images[0].size ** -0.5), np.float32)
