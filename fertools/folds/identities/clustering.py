"""Face embeddings to groups of one person: a graph of nearest neighbours, and average linkage in each of its parts.

Average linkage joins two groups while the mean cosine over all pairs of their faces reaches a threshold, nearest groups
first: a chain of look-alikes does not hold, as its ends are far apart. Groups that it joins have a pair above the
threshold, so no group reaches out of a connected part of the graph of such pairs, and each part is linked by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Integers = NDArray[np.int64]

# Expected strangers above the threshold for one face. Chosen on the development corpus (drawn CK+ of seed 1, embedder
# of benchmarks/leaks.py): of 1, 0.3, 0.1, ... 0.0001 the lowest of those with the best B-cubed F1.
STRANGERS = 0.03
NUM_PAIRS = 1_000_000  # drawn by chance, to see how alike strangers are
NUM_JUDGED = 500  # faces, evenly spaced, whose nearest other group is sought
NUM_NEIGHBOURS = 32  # that a face is linked to
EXACT_FACES, SEARCH_SIZE = 20_000, 128  # of more faces, neighbours are sought in so many dimensions only
CHUNK = 2048
MAX_PART = 4000  # faces that are linked at once: 64 MB; a larger part is cut at higher thresholds first


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """B-cubed: how well groups agree with people, as means over the faces (Bagga & Baldwin 1998)."""

    precision: float  # share of a face's group that shows its person
    recall: float  # share of its person's faces that are in its group
    f1: float


def choose_threshold(vectors: Vectors, generator: np.random.Generator, strangers: float = STRANGERS) -> float:
    """Return the cosine above which two faces are taken for one person's, from how alike strangers are.

    Pairs drawn by chance show strangers, nearly all, and what few show one person lie above: the median and the spread
    below it are those of strangers. The threshold lies so far out that a normal distribution of that median and spread
    leaves `strangers` above it, of as many as there are faces: the more faces, the higher.

    Args:
        vectors: (faces, size) of length 1.
        generator: the source of chance.
        strangers: expected number above the threshold, for one face.
    """
    from scipy.stats import norm

    median, spread = _strangers(vectors, generator)
    return float(min(1.0, median + norm.isf(strangers / len(vectors)) * spread))


def _strangers(vectors: Vectors, generator: np.random.Generator) -> tuple[float, float]:
    """Return the median cosine of pairs drawn by chance, and the spread below it as a standard deviation."""
    left, right = generator.integers(0, len(vectors), (2, NUM_PAIRS))
    left, right = left[left != right], right[left != right]
    if not len(left):
        return 1.0, 0.0
    steps = range(0, len(left), 65_536)
    cosines = [np.einsum("nd,nd->n", *(vectors[side[at : at + 65_536]] for side in (left, right))) for at in steps]
    low, median = np.quantile(np.concatenate(cosines), [0.158655, 0.5])  # one standard deviation below
    return float(median), float(median - low)


def group(vectors: Vectors, threshold: float) -> Integers:
    """Return which group each face is in, numbered from 0.

    Args:
        vectors: (faces, size) of length 1.
        threshold: lowest mean cosine that joins two groups.
    """
    labels = np.arange(len(vectors))
    for part in _parts(*links(vectors, threshold), len(vectors), threshold):
        labels[part] = part[_average_linkage(vectors[part], threshold)]
    return np.asarray(np.unique(labels, return_inverse=True)[1], np.int64)


def links(vectors: Vectors, threshold: float) -> tuple[Integers, Integers, NDArray[np.float32]]:
    """Return the pairs at or above a threshold, of each face with its nearest 32: left, right, cosine.

    Of more than 20,000 faces the nearest are found in the 128 dimensions that tell most, which may miss a few.
    """
    import faiss

    compared = vectors if len(vectors) <= EXACT_FACES else _narrowed(vectors)
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    for at in range(0, len(vectors), CHUNK):
        num = min(NUM_NEIGHBOURS + 1, len(vectors))
        _, near = faiss.knn(compared[at : at + CHUNK], compared, num, metric=faiss.METRIC_INNER_PRODUCT)
        cosine = np.einsum("nd,nkd->nk", vectors[at : at + CHUNK], vectors[near])
        rows, places = np.nonzero((cosine >= threshold) & (near != np.arange(at, at + len(near))[:, None]))
        found.append((rows + at, near[rows, places], cosine[rows, places]))
    left, right, cosines = (np.concatenate(column) for column in zip(*found, strict=True))
    return left, right, cosines


def _narrowed(vectors: Vectors) -> Vectors:
    """Return the vectors in the dimensions that keep most of their inner products."""
    if vectors.shape[1] <= SEARCH_SIZE:
        return vectors
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    return np.ascontiguousarray(vectors @ axes[:, -SEARCH_SIZE:])


def _parts(
    left: Integers, right: Integers, cosine: NDArray[np.float32], num_faces: int, threshold: float
) -> Iterator[Integers]:
    """Yield the connected parts of two faces and more; one that is too large falls apart at a higher threshold."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), np.int8), (left, right)), (num_faces, num_faces))
    part = connected_components(graph, directed=False)[1]
    sizes = np.bincount(part)
    order = np.argsort(part, kind="stable")
    for members in np.split(order, np.cumsum(sizes)[:-1]):
        if 1 < len(members) <= MAX_PART:
            yield members
        elif len(members) > MAX_PART and threshold > 0.999:  # copies of one picture
            yield from np.split(members, range(MAX_PART, len(members), MAX_PART))
    if threshold <= 0.999:
        higher = threshold + (1 - threshold) / 20
        held = (sizes[part[left]] > MAX_PART) & (cosine >= higher)
        if held.any():
            yield from _parts(left[held], right[held], cosine[held], num_faces, higher)


def _average_linkage(vectors: Vectors, threshold: float) -> Integers:
    """Return the place of the first face of each face's group."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distance = 1 - vectors.astype(np.float64) @ vectors.T
    tree = linkage(squareform(distance, checks=False), "average")
    _, first, group = np.unique(fcluster(tree, 1 - threshold, "distance"), return_index=True, return_inverse=True)
    return np.asarray(first[group], np.int64)


def purity(vectors: Vectors, groups: Integers, threshold: float) -> float:
    """Return an estimate of B-cubed precision from the embeddings alone: how far groups stand apart.

    The worse of two: the share of faces that are oddly unlike the rest of their group (more than four spreads below the
    median, the spread taken above it, where no stranger is; it fails where most groups are mixed), and the share of
    faces whose nearest other group would, by the lower half of such cosines, be expected above the threshold. On drawn
    faces it was 0.11 off at most, and not above the truth where that was 0.97 or more.
    """
    from scipy.stats import norm

    sizes, order = np.bincount(groups), np.argsort(groups, kind="stable")
    starts = np.r_[0, np.cumsum(sizes)]
    own = []
    for at in range(0, len(sizes), CHUNK):  # groups
        ends = starts[at : at + CHUNK + 1]
        part, mine = vectors[order[ends[0] : ends[-1]]], np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        sums, others = np.add.reduceat(part, ends[:-1] - ends[0]), sizes[at + mine] - 1
        own.append((np.einsum("nd,nd->n", part, sums[mine])[others > 0] - 1) / others[others > 0])
    median, high = np.quantile(np.concatenate(own), [0.5, 0.841345]) if sizes.max() > 1 else (1.0, 1.0)
    odd = float((np.concatenate(own) < median - 4 * (high - median)).sum() / len(vectors))
    if len(sizes) == 1:
        return 1 - odd
    nearest = []
    for face in range(0, len(vectors), max(1, len(vectors) // NUM_JUDGED)):
        means = np.add.reduceat((vectors @ vectors[face])[order], starts[:-1]) / sizes
        nearest.append(np.delete(means, groups[face]).max())
    low, median = np.quantile(nearest, [0.158655, 0.5])
    return 1 - max(odd, float(norm.sf(threshold, median, max(median - low, 1e-6))))


def agreement(groups: Integers, people: Integers) -> Agreement:
    """Return how well groups agree with people, one number a face each."""
    _, cell, size = np.unique(np.stack([groups, people]), axis=1, return_inverse=True, return_counts=True)
    shared = size[cell.ravel()]
    precision = float((shared / np.bincount(groups)[groups]).mean())
    recall = float((shared / np.bincount(people)[people]).mean())
    return Agreement(precision=precision, recall=recall, f1=2 * precision * recall / (precision + recall))
