"""Same-expression pairs of one training part: each face once an anchor in an epoch, its partner drawn anew."""

import numpy as np
from numpy.typing import NDArray


def has_partner(expression: NDArray[np.integer], person: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which faces have a partner: a face of the same expression and another person.

    A class with one person has none: its faces are no anchors.
    """
    order = np.lexsort((person, expression))
    (_, size_class), (_, size_run) = _runs(expression[order]), _runs(expression[order], person[order])
    partners = np.empty(len(order), np.bool_)
    partners[order] = size_class > size_run
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
    order = np.lexsort((person, expression)).astype(np.int32)
    e, p = expression[order], person[order]
    (start_class, size_class), (start_run, size_run) = _runs(e), _runs(e, p)
    anchors = np.flatnonzero(size_class > size_run)
    start_class, size_class, start_run, size_run = (a[anchors] for a in (start_class, size_class, start_run, size_run))
    others = size_class - size_run
    back = np.argsort(order[anchors], kind="stable")
    partners = np.empty((num_epochs, len(anchors)), np.int32)
    for epoch in partners:  # one at a time stays in the processor's cache
        draws = generator.integers(0, others).astype(np.int32)
        draws += start_class
        draws += (draws >= start_run) * size_run
        epoch[:] = order.take(draws.take(back))
    return order[anchors][back], partners


def _runs(*keys: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return where the run of equal keys begins that each sorted face is in, and how long it is."""
    starts = np.flatnonzero(np.r_[True, np.any([key[1:] != key[:-1] for key in keys], axis=0)]).astype(np.int32)
    sizes = np.diff(starts, append=np.int32(len(keys[0])))
    return np.repeat(starts, sizes), np.repeat(sizes, sizes)
