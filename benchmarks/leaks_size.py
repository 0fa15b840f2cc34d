"""Time and memory of an audit of as many faces as the largest sets have, on made-up data: run by leaks.py."""

import multiprocessing
import resource
import time
from typing import Any

import cv2
import embedder
import numpy as np
from numpy.typing import NDArray

from fertools.faces import near_copies
from fertools.folds.identities import clustering

Row = dict[str, Any]
PLANTED = 1000  # near copies
SIZES = (("near copies", 280_000, 0), ("strangers", 300_000, 128), ("ten faces a person", 300_000, 512))


def timed() -> list[Row]:
    """Each step in a process of its own, one thread."""
    rows = []
    for size in SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(_time, size))
        print(*(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    return rows


def _time(what: str, size: int, channels: int) -> Row:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    pictures = _thumbnails(size, rng) if what == "near copies" else None
    vectors = None if what == "near copies" else _vectors(what, size, channels, rng)
    wall, started = time.perf_counter(), time.process_time()
    if pictures is not None:
        copies = near_copies.near_copies(pictures, np.full(size, -1))
        found = int((copies.left + copies.right == size - 1).sum())
    else:
        assert vectors is not None
        found = int(clustering.group(vectors, clustering.choose_threshold(vectors, rng)).max()) + 1
    return {
        "what": what, "faces": size, "channels": channels, "found": found,
        "processor seconds": round(time.process_time() - started), "seconds": round(time.perf_counter() - wall),
        "peak GiB, data included": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }  # fmt: skip


def _vectors(what: str, size: int, channels: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Strangers all; or ten faces a person, two of which have a cosine of about 0.6."""
    vectors = rng.standard_normal((size, channels), np.float32)
    people = rng.standard_normal((size // 10, channels), np.float32) if what == "ten faces a person" else None
    for at in range(0, size, 10_000):
        part = vectors[at : at + 10_000]
        if people is not None:
            part *= 0.8
            part += people[rng.integers(0, len(people), len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def _thumbnails(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Mixtures of two drawn faces, with noise: as many different faces as are asked for.

    The last 1,000 are the first ones again, each mirrored, moved by up to half a pixel and turned by up to a degree.
    """
    drawn, made = (
        near_copies.thumbnails(embedder.crops(1, 500)),
        np.empty((size, near_copies.SIDE, near_copies.SIDE), np.uint8),
    )
    for at in range(0, size, 1000):
        num = min(1000, size - at)
        (left, right), weight = rng.integers(0, len(drawn), (2, num)), rng.uniform(0.2, 0.8, (num, 1, 1))
        noise = rng.normal(0, 4, (num, near_copies.SIDE, near_copies.SIDE))
        made[at : at + num] = (weight * drawn[left] + (1 - weight) * drawn[right] + noise).clip(0, 255)
    for place in range(1, PLANTED + 1):
        warp = cv2.getRotationMatrix2D(
            (near_copies.SIDE / 2, near_copies.SIDE / 2), rng.uniform(-1, 1), rng.uniform(0.99, 1.01)
        )
        warp[:, 2] += rng.uniform(-0.5, 0.5, 2)
        sides = np.ascontiguousarray(made[place - 1][:, ::-1])
        made[-place] = cv2.warpAffine(sides, warp, sides.shape, borderMode=cv2.BORDER_REPLICATE)
    return made
