"""Do predictions hold when a face is turned and flipped?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]  # (faces,)


def robustness(predicted: NDArray[Any], truth: Labels, variants: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """Score predictions of the same faces in every variant.

    Who always says the same is consistent, whatever is shown: `always_right` is the share of faces that are recognised
    in every variant.

    Args:
        predicted: (variants, faces).
        variants: of each row the angle in degrees, and whether the face is flipped.
    """
    right = predicted == truth
    accuracies = right.mean(1).tolist()
    return {
        "variants": [
            {"angle": angle, "flipped": flipped, "accuracy": accuracy}
            for (angle, flipped), accuracy in zip(variants, accuracies, strict=True)
        ],
        "mean": float(np.mean(accuracies)), "worst": min(accuracies),
        "consistency": float((predicted == predicted[0]).all(0).mean()), "always_right": float(right.all(0).mean()),
    }  # fmt: skip
