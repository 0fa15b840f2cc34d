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
    order would reach, `chance` what a random one does.
    """
    similar = cosine_similarities(codes)
    admissible = excluded[:, None] != excluded[None]
    wanted = (target[:, None] == target[None]) & admissible
    asked = wanted.any(1)
    if not asked.any():
        return {"chance": float("nan")}
    order = np.argsort(np.where(admissible, -similar, np.inf)[asked], axis=1, kind="stable")
    ranked = np.take_along_axis(wanted[asked], order, axis=1)
    scores = {"chance": float((wanted[asked].sum(1) / admissible[asked].sum(1)).mean())}
    for k in ks:
        scores[f"precision@{k}"] = float(ranked[:, :k].mean())
        scores[f"ceiling@{k}"] = float(np.minimum(wanted[asked].sum(1) / k, 1).mean())
    return scores


def cosine_similarities(codes: Codes) -> NDArray[np.float64]:
    """Return the (faces, faces) cosines of mean-centred codes."""
    centred = codes.astype(np.float64) - codes.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    similarities: NDArray[np.float64] = centred @ centred.T
    return similarities
