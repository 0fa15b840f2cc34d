"""Same-expression pairs of one training part: each face once an anchor in an epoch, its partner drawn anew."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

VERSION = 2  # to be raised whenever other pairs come of the same faces; 2: names are numbered in their order
WORDS_AHEAD = 8  # epochs of random words that are made together: large arrays are of large pages
Fill = Callable[[NDArray[np.int32]], None]


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
    rows: NDArray[np.integer],
    expression: NDArray[np.integer],
    person: NDArray[np.integer],
    generator: np.random.Generator,
) -> tuple[NDArray[np.int32], Fill]:
    """Draw each anchor's partner, epoch after epoch, uniformly from the faces of its expression and of other people.

    Faces sorted by (expression, person) put a person's faces of one expression in a run inside the run of their
    class; a draw from the class without that run is a draw from a shorter range, moved past the run where it begins.
    Exact, without a rejected pair.

    Args:
        rows: (faces,) the number of each face, ascending.
        expression: (faces,) its class.
        person: (faces,) who it shows; give faces of an unknown person a number of their sequence's own.
        generator: the source of chance, fresh from `np.random.default_rng`; it is used up.

    Returns:
        The anchors' rows (anchors,), and what fills an array (epochs, anchors) with rows of partners: of the first
        epochs when it is called first, then of the next.
    """
    order = np.lexsort((person, expression)).astype(np.int32)
    e, p = expression[order], person[order]
    (start_class, size_class), (start_run, size_run) = _runs(e), _runs(e, p)
    paired = np.flatnonzero(size_class > size_run)
    start_class, size_class, start_run, size_run = (a[paired] for a in (start_class, size_class, start_run, size_run))
    back = np.argsort(order[paired], kind="stable")
    names, draws = rows[order].astype(np.int32), _bounded(size_class - size_run, generator)
    drawn, moved, is_past = np.empty_like(paired, np.int32), np.empty_like(paired), np.empty_like(paired, np.bool_)

    def fill(partners: NDArray[np.int32]) -> None:
        for epoch, places in zip(partners, draws, strict=False):  # where arrays are used again, pages are not cleared
            places += start_class
            np.greater_equal(places, start_run, out=is_past)
            np.multiply(is_past, size_run, out=moved)
            places += moved
            names.take(places, out=drawn, mode="clip")  # in the order of classes, whose faces stay in the cache
            drawn.take(back, out=epoch, mode="clip")

    return names[paired][back], fill


def _bounded(limits: NDArray[np.int32], generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield endless draws from 0 to each limit less one: what `generator.integers(0, limits)` gives.

    Of arrays of limits, numpy makes one draw at a time; here they are made together. All are yielded in one array,
    which the next draws are written to.

    Source:
        Lemire 2019, Fast random integer generation in an interval, Algorithm 5 (arXiv:1805.10941); of words of 32 bits,
        of which a limit of one takes none, as in numpy's random_bounded_uint64.
    """
    random = np.flatnonzero(limits > 1)
    factors = limits[random].astype(np.uint64)
    rejected_below = (np.uint64(1 << 32) % factors).astype(np.uint32)
    products, draws = np.empty(len(random), np.uint64), np.zeros(len(limits), np.int64)
    low = products.astype("<u8", copy=False).view("<u4")[::2]
    words = np.empty(0, np.uint32)
    while True:
        first = 0
        while first < len(products):
            if (missing := len(products) - first - len(words)) > 0:
                raw = generator.bit_generator.random_raw(WORDS_AHEAD * (missing // 2 + 1))
                words = np.concatenate([words, raw.astype("<u8", copy=False).view("<u4")])
            np.multiply(words[: len(products) - first], factors[first:], out=products[first:])
            rejected = np.less(low[first:], rejected_below[first:])
            accepted = int(rejected.argmax()) if rejected.any() else len(rejected)
            words, first = words[accepted + (accepted < len(rejected)) :], first + accepted
        products >>= np.uint64(32)
        if len(random) == len(limits):
            yield products.view(np.int64)
        else:
            draws.fill(0)  # whoever takes them may change them
            draws[random] = products
            yield draws


def _runs(*keys: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return where the run of equal keys begins that each sorted face is in, and how long it is."""
    starts = np.flatnonzero(np.r_[True, np.any([key[1:] != key[:-1] for key in keys], axis=0)]).astype(np.int32)
    sizes = np.diff(starts, append=np.int32(len(keys[0])))
    return np.repeat(starts, sizes), np.repeat(sizes, sizes)
