"""What stands near what among codes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.float32]  # (faces, dims)
Labels = NDArray[Any]  # (faces,)


def retrieval(codes: Codes, target: Labels, excluded: Labels, ks: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Return precision@k: the share of a query's k nearest faces that share its target, averaged over queries.

    Nearest by cosine of mean-centred codes. Faces that share the query's `excluded` value (its subject, or its
    sequence) are not in its gallery. Queries without any face to find are left out. `ceiling@k` is what a perfect
    order would reach, `chance` what a random one does. `average_precision` (mAP, by its mean) looks at the whole
    order. Each score also stands as `macro_...`: the mean over targets of the mean over their queries.

    Args:
        excluded: (faces,), or (faces, values) where a face that shares any one of several values is not in the gallery.

    Source:
        A random order's average precision: Bestgen 2015 (Prague Bulletin of Mathematical Linguistics 103).
    """
    admissible = (excluded[:, None] != excluded[None]).reshape(len(codes), len(codes), -1).all(2)
    wanted = (target[:, None] == target[None]) & admissible
    asked = wanted.any(1)
    if not asked.any():
        return {"chance": float("nan")}
    order = np.argsort(np.where(admissible, -cosine_similarities(codes), np.inf)[asked], axis=1, kind="stable")
    ranked = np.take_along_axis(wanted[asked], order, axis=1)
    num_wanted, num_admissible = wanted[asked].sum(1), admissible[asked].sum(1)
    rank = np.arange(1, len(codes) + 1)
    scores = {  # one value a query
        "chance": num_wanted / num_admissible,
        "average_precision": (ranked * ranked.cumsum(1) / rank).sum(1) / num_wanted,
        "average_precision_chance": _random_average_precision(num_wanted, num_admissible),
    }
    for k in ks:
        scores[f"precision@{k}"] = ranked[:, :k].mean(1)
        scores[f"ceiling@{k}"] = np.minimum(num_wanted / k, 1)
    of_target = [target[asked] == value for value in np.unique(target[asked])]
    means = {name: float(values.mean()) for name, values in scores.items()}
    macro = {
        f"macro_{name}": float(np.mean([values[mine].mean() for mine in of_target])) for name, values in scores.items()
    }
    return means | macro


def cosine_similarities(codes: Codes) -> NDArray[np.float64]:
    """Return the (faces, faces) cosines of mean-centred codes."""
    centred = codes.astype(np.float64) - codes.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    similarities: NDArray[np.float64] = centred @ centred.T
    return similarities


def _random_average_precision(num_wanted: NDArray[np.int64], num_admissible: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the expected average precision of faces in random order: above the base rate, much so where few are."""
    harmonic = np.cumsum(1 / np.arange(1, num_admissible.max() + 1))[num_admissible - 1]
    others = (num_wanted - 1) / np.maximum(num_admissible - 1, 1)
    expected: NDArray[np.float64] = (others * (num_admissible - harmonic) + harmonic) / num_admissible
    return expected
