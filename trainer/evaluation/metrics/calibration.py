"""Are predicted probabilities as often right as they say?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]  # (faces,)
NUM_BINS, NUM_DRAWS = 10, 200
LEAST = 1e-12  # a probability that float32 lost to zero would make the mean log likelihood of all faces infinite


def calibration(
    probabilities: NDArray[np.floating], truth: Labels, expressions: list[str], seed: int = 0
) -> dict[str, Any]:
    """Score predicted probabilities; the log likelihood is in nats, the Brier score between 0 and 2.

    The expected calibration error is the gap between confidence (the highest probability) and accuracy, averaged over
    10 bins of equal mass: bins of equal width leave nearly all faces of a confident classifier in one. Faces of equal
    confidence share a bin. With few faces it is not 0 even for honest probabilities: `calibration_error_if_honest` is
    its mean when right and wrong are drawn, 200 times, with the stated confidence. The chance values are of a uniform
    forecast.

    Args:
        probabilities: (faces, expressions), each row sums to 1.
        truth: names among the expressions.

    Source:
        Guo et al. 2017, Eq. 3 (arXiv:1706.04599); equal mass: Nixon et al. 2019 (arXiv:1904.01685); draws:
        Broecker & Smith 2007, doi:10.1175/WAF993.1; Brier 1950.
    """
    forecast = probabilities.astype(np.float64)
    classes = np.array([expressions.index(name) for name in truth])
    confidence, right = forecast.max(1), forecast.argmax(1) == classes
    member = _bins(confidence)
    honest = np.random.default_rng(seed).random((NUM_DRAWS, len(classes))) < confidence
    outcome = np.eye(len(expressions))[classes]
    num = len(expressions)
    return {
        "calibration_error": float(_errors(confidence, right[None], member)[0]),
        "calibration_error_if_honest": float(_errors(confidence, honest, member).mean()),
        "overconfidence": float(confidence.mean() - right.mean()),
        "negative_log_likelihood": float(-np.log(np.maximum(forecast[outcome == 1], LEAST)).mean()),
        "negative_log_likelihood_chance": float(np.log(num)),
        "brier": float(((forecast - outcome) ** 2).sum(1).mean()), "brier_chance": (num - 1) / num,
        "reliability": [
            {"confidence": float(confidence[bin].mean()), "accuracy": float(right[bin].mean()), "faces": int(bin.sum())}
            for bin in member.T
        ],
    }  # fmt: skip


def _bins(confidence: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which face is in which bin, (faces, bins); no bin is empty."""
    edges = np.quantile(confidence, np.arange(1, NUM_BINS) / NUM_BINS)
    place = np.digitize(confidence, edges, right=True)
    member: NDArray[np.bool_] = place[:, None] == np.unique(place)
    return member


def _errors(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], member: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the calibration error of each row of outcomes, (rows, faces)."""
    errors: NDArray[np.float64] = np.abs((confidence - right) @ member).sum(-1) / len(confidence)
    return errors
