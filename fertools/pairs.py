"""Same-expression pairs of one training part: each face once an anchor in an epoch, its partner drawn anew."""

import numpy as np
from numpy.typing import NDArray


def has_partner(expression: NDArray[np.integer], person: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which faces have a partner: a face of the same expression and another person.

    A class with one person has none: its faces are no anchors.
    """
    _, cell, size_of_cell = np.unique(np.stack([expression, person]), axis=1, return_inverse=True, return_counts=True)
    _, klass, size_of_class = np.unique(expression, return_inverse=True, return_counts=True)
    partners: NDArray[np.bool_] = size_of_class[klass] > size_of_cell[cell.ravel()]
    return partners


def draw(
    expression: NDArray[np.integer],
    person: NDArray[np.integer],
    num_epochs: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Draw each anchor's partner for every epoch, uniformly from the faces of its expression and of other people.

    Faces sorted by (expression, person) put a person's faces of one expression in a run inside the run of their
    class; a draw from the class without that run is a draw from a shorter range, moved past the run where it begins.
    Exact, without rejection.

    Args:
        expression: (faces,) class of each face.
        person: (faces,) who it shows; give faces of an unknown person a number of their sequence's own.
        num_epochs: how many draws.
        generator: the source of chance.

    Returns:
        anchors (anchors,) and partners (num_epochs, anchors), as positions in the arguments.
    """
    order = np.lexsort((person, expression))
    e, p = expression[order], person[order]
    starts_class = np.flatnonzero(np.r_[True, e[1:] != e[:-1]])
    starts_run = np.flatnonzero(np.r_[True, (e[1:] != e[:-1]) | (p[1:] != p[:-1])])
    size_class, size_run = np.diff(np.r_[starts_class, len(e)]), np.diff(np.r_[starts_run, len(e)])
    klass, run = (
        np.repeat(np.arange(len(size_class)), size_class),
        np.repeat(np.arange(len(size_run)), size_run),
    )
    others = size_class[klass] - size_run[run]
    anchors = np.flatnonzero(others > 0)
    draws = generator.integers(0, others[anchors], (num_epochs, len(anchors)))
    draws += starts_class[klass[anchors]]
    draws += np.where(draws >= starts_run[run[anchors]], size_run[run[anchors]], 0)
    back = np.argsort(order[anchors], kind="stable")
    return order[anchors][back].astype(np.int32), order[draws][:, back].astype(np.int32)
