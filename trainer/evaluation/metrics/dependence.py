"""Do two codes of the same faces depend on each other, in any direction? No factor needs to be known."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.float32]  # (faces, dims)
Labels = NDArray[Any]  # (faces,)
Matrix = NDArray[np.float64]  # (observations, observations)
NUM_PERMUTATIONS = 1000


def dependence(expression: Codes, identity: Codes, sequences: Labels, seed: int = 0) -> dict[str, float]:
    """Return linear CKA, HSIC with its permutation p-value, and distance correlation between two codes.

    Frames of one sequence are near copies, which would pass for evidence: an observation is a sequence, by its mean
    codes. `cka` is biased upwards, to about dims / (dims + observations) for unrelated codes; `cka_debiased` and
    `distance_correlation` (squared, bias-corrected) are 0 on average there, and may be negative. A constant code
    depends on nothing: 0. With fewer than 4 sequences nothing is defined: nan.

    Source:
        CKA: Kornblith et al. 2019, Eq. 4 (arXiv:1905.00414). HSIC: see `unbiased_hsic`. Distance correlation: Szekely &
        Rizzo 2013 (doi:10.1016/j.jmva.2013.02.012); CKA without bias is the same ratio of linear kernels.
    """
    first, second = _sequence_means(expression, sequences), _sequence_means(identity, sequences)
    if len(first) < 4:
        names = ("cka", "cka_debiased", "distance_correlation", "hsic", "hsic_p")
        return dict.fromkeys(names, float("nan")) | {"observations": len(first)}
    inner = [codes @ codes.T for codes in (first, second)]
    hsic, p_value = hsic_test(rbf_kernel(first), rbf_kernel(second), np.random.default_rng(seed))
    return {
        "cka": linear_cka(first, second),
        "cka_debiased": _correlation(_u_centred(inner[0]), _u_centred(inner[1])),
        "distance_correlation": _correlation(_u_centred(_distances(first)), _u_centred(_distances(second))),
        "hsic": hsic, "hsic_p": p_value, "observations": len(first),
    }  # fmt: skip


def linear_cka(first: Matrix, second: Matrix) -> float:
    """Return linear CKA, 0 to 1: blind to rotation, shift and one scale of either code (Kornblith et al. 2019)."""
    first, second = first - first.mean(0), second - second.mean(0)
    return _correlation(first @ first.T, second @ second.T)


def rbf_kernel(codes: Matrix) -> Matrix:
    """Return exp(-d^2 / (2 m^2)), m the median distance of two observations (Gretton et al. 2012, section 8)."""
    from scipy.spatial.distance import squareform

    distances = _distances(codes)
    median = np.median(squareform(distances, checks=False))
    kernel: Matrix = np.exp(-((distances / max(median, 1e-12)) ** 2) / 2)
    return kernel


def unbiased_hsic(first: Matrix, second: Matrix) -> float:
    """Return the unbiased estimate of the Hilbert-Schmidt independence criterion; it may be negative.

    Args:
        first: a kernel matrix of at least 4 observations.
        second: a kernel matrix of the same observations.

    Source:
        Song et al. 2012 (JMLR 13, page 1393), as one inner product: Szekely & Rizzo 2014, Prop. 1 (arXiv:1310.2926).
    """
    num = len(first)
    return float((_u_centred(first) * _u_centred(second)).sum() / (num * (num - 3)))


def hsic_test(first: Matrix, second: Matrix, generator: np.random.Generator) -> tuple[float, float]:
    """Return unbiased HSIC, and the p-value among 1,000 permutations of the observations of one side (at least 1/1001).

    Centring is a projection, so that it is needed on one side only, and once.
    """
    num = len(first)
    centred = _u_centred(first) / (num * (num - 3))
    orders = (generator.permutation(num) for _ in range(NUM_PERMUTATIONS))
    by_chance = np.array([np.vdot(centred, second[order][:, order]) for order in orders])
    found = unbiased_hsic(first, second)
    as_high = (by_chance >= found - 1e-12).sum()  # a constant code's are all 0 but for rounding
    return found, float((1 + as_high) / (1 + NUM_PERMUTATIONS))


def _u_centred(matrix: Matrix) -> Matrix:
    """Return the matrix less the means of its rows and columns, diagonal left out (Szekely & Rizzo 2014, Def. 2)."""
    num = len(matrix)
    off = matrix - np.diag(np.diag(matrix))
    rows = off.sum(0) / (num - 2)
    centred: Matrix = off - rows - rows[:, None] + rows.sum() / (num - 1)
    np.fill_diagonal(centred, 0)
    return centred


def _correlation(first: Matrix, second: Matrix) -> float:
    """Return the cosine of two matrices; 0 where one is zero but for rounding."""
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.vdot(first, second) / norm) if norm > 1e-20 else 0.0


def _distances(codes: Matrix) -> Matrix:
    from scipy.spatial.distance import pdist, squareform

    distances: Matrix = squareform(pdist(codes))
    return distances


def _sequence_means(codes: Codes, sequences: Labels) -> Matrix:
    """Return the mean code of each sequence, (sequences, dims), less their mean."""
    names, member = np.unique(sequences, return_inverse=True)
    sums = np.zeros((len(names), codes.shape[1]))
    np.add.at(sums, member, codes)
    means = sums / np.bincount(member)[:, None]
    centred: Matrix = means - means.mean(0)
    return centred
