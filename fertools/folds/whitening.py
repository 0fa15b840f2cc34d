"""Whitening statistics, fitted on the training part of one fold and on nothing else."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fertools.errors import FertoolsError
from manifests.schema import DEFAULT_CROP

KINDS = ("zca", "standardize", "none")
MAX_FACES = 4096  # fewer faces leave the small components uncertain, more change little and cost much
MAX_RANK = 256
EPSILON = 0.1  # squared grey level; says how white it is, and is recorded


class WhiteningError(FertoolsError):
    """Statistics that cannot be fitted."""


@dataclass(frozen=True)
class Zca:
    """Truncated ZCA: W = U diag((variance + epsilon)^-1/2 - rest) U' + rest I, rest = (tail + epsilon)^-1/2.

    Attributes:
        mean: (pixels,) grey level, 0 to 1.
        components: (rank, pixels), orthonormal rows.
        variance: (rank,) along each component.
        tail: mean variance of what the components leave out.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variance: NDArray[np.float64]
    tail: float
    epsilon: float

    def apply(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return whitened faces: (faces, 112, 112) uint8 -> the same shape, float32."""
        centred = faces.reshape(len(faces), -1) / np.float32(255) - self.mean
        rest = (self.tail + self.epsilon) ** -0.5
        gain = ((self.variance + self.epsilon) ** -0.5 - rest).astype(np.float32)
        white = (centred @ self.components.T * gain) @ self.components + np.float32(rest) * centred
        return np.asarray(white.reshape(faces.shape), np.float32)


def fit_zca(faces: NDArray[np.uint8], rank: int = MAX_RANK, epsilon: float = EPSILON) -> Zca:
    """Fit ZCA in its truncated form: the covariance's leading components, the rest as one number.

    Args:
        faces: (faces, 112, 112), upright, of a training part; 4,096 are enough.
        rank: components to keep; at most faces - 1.
        epsilon: added to every variance.

    Source:
        Bell & Sejnowski 1997, doi:10.1016/S0042-6989(97)00121-1; components by Halko et al. 2011, arXiv:0909.4061.
    """
    from sklearn.utils.extmath import randomized_svd

    if len(faces) < 3:
        raise WhiteningError(f"{len(faces)} training faces; whitening needs at least 3")
    data = faces.reshape(len(faces), -1) / np.float32(255)
    mean = data.mean(0)
    data -= mean
    rank = min(rank, len(faces) - 1, data.shape[1])
    _, singular, components = randomized_svd(data, rank, n_iter=4, random_state=0)
    variance = singular.astype(np.float64) ** 2 / (len(faces) - 1)
    total = float(np.einsum("ij,ij", data, data, dtype=np.float64)) / (len(faces) - 1)  # in 64 bits, without a copy
    tail = max(0.0, total - variance.sum()) / max(1, data.shape[1] - rank)
    return Zca(mean, components.astype(np.float32), variance, tail, epsilon)


def centre(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the upright faces in the middle of crops of 128 px: (faces, 144, 144, ...) -> (faces, 112, 112, ...)."""
    margin = DEFAULT_CROP.margin
    return crops[:, margin:-margin, margin:-margin]
