"""Temperature scaling: one number that makes probabilities as often right as they say."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.metrics.calibration import calibration

COOLEST, HOTTEST = 0.05, 20.0  # temperatures sought
TOLD = ("negative_log_likelihood", "calibration_error", "calibration_error_if_honest", "brier")


def calibrate(logits: NDArray[np.floating], truth: NDArray[Any], expressions: list[str]) -> dict[str, Any]:
    """Return the temperature that fits logits (faces, expressions) best, and what it does for these faces."""
    classes = np.array([expressions.index(name) for name in truth])
    temperature, right = fit_temperature(logits, classes), int((logits.argmax(1) == classes).sum())
    found = {"temperature": temperature, "faces": len(classes), "right": right}
    return found | compare(logits, truth, expressions, temperature)


def compare(
    logits: NDArray[np.floating], truth: NDArray[Any], expressions: list[str], temperature: float
) -> dict[str, dict[str, float]]:
    """Return how honest probabilities are before and after logits are divided by a temperature."""
    from scipy.special import softmax

    scores = {
        name: calibration(softmax(logits.astype(np.float64) / divisor, 1), truth, expressions)
        for name, divisor in (("before", 1.0), ("after", temperature))
    }
    return {name: {key: score[key] for key in TOLD} for name, score in scores.items()}


def fit_temperature(logits: NDArray[np.floating], classes: NDArray[np.integer[Any]]) -> float:
    """Return the temperature, from 0.05 to 20, at which the classes are most likely.

    It is 1 where every face is classified right: the lower the likelier then, without end.

    Args:
        logits: (faces, expressions).
        classes: (faces,) places among the expressions.

    Source:
        Guo et al. 2017, section 4.2 (arXiv:1706.04599).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    known = logits.astype(np.float64)
    if (known.argmax(1) == classes).all():
        return 1.0

    def loss(log_temperature: float) -> float:
        likelihood = log_softmax(known / np.exp(log_temperature), 1)
        return -float(likelihood[np.arange(len(classes)), classes].mean())

    bounds = (np.log(COOLEST), np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return float(np.clip(np.exp(found.x), COOLEST, HOTTEST))
