"""How sure a score is, and whether two differ."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]  # (faces,)


def subject_bootstrap(correct: NDArray[np.bool_], subjects: Labels) -> list[float]:
    """Return the 2.5th and 97.5th percentile of the accuracy when people are drawn anew."""
    _, person = np.unique(subjects, return_inverse=True)
    hits, sizes = np.bincount(person, correct), np.bincount(person)
    drawn = np.random.default_rng(0).integers(0, len(sizes), (2000, len(sizes)))
    accuracies = hits[drawn].sum(1) / sizes[drawn].sum(1)
    return [float(value) for value in np.percentile(accuracies, [2.5, 97.5])]
