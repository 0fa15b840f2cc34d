"""Near copies of a photograph of a face: saved again, mirrored, brightened, cut a little.

Another detection of the same face moves its crop by a pixel or two, so what finds a copy is tolerant of that, and what
confirms it undoes it. Three steps, each for what the one before it lets through: 64-bit hashes of all pairs; what of a
thumbnail is neither the other nor a small shift, turn or stretch of it (tangent distance); the correlation of the two
once they are registered. All look at the whole stored crop: another photograph of the same person has other
surroundings, hair and light.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 48  # px of a thumbnail
SMALL = 24  # px, for the tangent distance
# Chosen on the development corpus (drawn CK+ of seed 1): planted copies and other photographs of the same person.
MAX_DISTANCE = 20  # of 64 bits; 98 in 100 copies of every kind are nearer
MAX_CANDIDATES = 2_000_000  # pairs; of so many faces that more are within 20 bits by chance, the distance is lowered
MIN_LIKENESS = 0.9  # share of a thumbnail that the tangent plane of the other explains
MIN_CORRELATION = (
    0.993  # registered; copies have 0.995 and more, 1 in 400 pairs of one person's photographs more than 0.993
)
MIN_CONTRAST = 4.0  # grey levels of standard deviation; what is flatter shows nothing to compare
CHUNK = 512

Pictures = NDArray[np.uint8]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Copies:
    """Pairs of near copies, as places in what was compared, the lower one left, each pair once.

    Attributes:
        correlation: of the two, registered.
    """

    left: Integers
    right: Integers
    correlation: Floats


def thumbnails(crops: Pictures) -> Pictures:
    """Return grey crops, small: (faces, side, side) -> (faces, 48, 48)."""
    return _resized(crops, SIDE)


def _resized(pictures: Pictures, side: int) -> Pictures:
    resized = np.empty((len(pictures), side, side), np.uint8)
    for place, picture in enumerate(pictures):
        cv2.resize(picture, (side, side), resized[place], interpolation=cv2.INTER_AREA)
    return resized


def near_copies(pictures: Pictures, recordings: Integers, progress: Progress = lambda *_: None) -> Copies:
    """Return all pairs of thumbnails that show one photograph, perhaps changed a little or mirrored.

    Memory: the thumbnails (2.3 KB each), their hashes, and the pairs found.

    Args:
        pictures: (faces, 48, 48).
        recordings: number of each one's recording, negative where it has none; frames of one are not compared.
        progress: called with thumbnails compared and thumbnails in all.
    """
    shown = np.flatnonzero(np.array([picture.std() for picture in pictures]) >= MIN_CONTRAST)
    small = _resized(pictures, SMALL)
    found: dict[tuple[int, int], float] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV registers outside Python's lock
        for at, near in _candidates(hashes(pictures[shown])):
            progress(at, len(shown))
            likely = _likely(small, recordings, shown[at:], [[shown[part] for part in parts] for parts in near])
            ones = [pictures[left] for left, _, _ in likely]
            others = [pictures[right][:, :: -1 if mirrored else 1] for _, right, mirrored in likely]
            for (left, right, _), correlation in zip(likely, pool.map(registered, ones, others), strict=True):
                if correlation >= MIN_CORRELATION:
                    found[left, right] = max(correlation, found.get((left, right), 0.0))
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    return Copies(pairs[:, 0], pairs[:, 1], np.array([found[pair] for pair in sorted(found)], np.float32))


def _likely(
    small: Pictures, recordings: Integers, lefts: Integers, near: list[list[Integers]]
) -> list[tuple[int, int, bool]]:
    """Return the pairs in reach, upright or mirrored, of which one is nearly in the other's tangent plane."""
    likely = []
    planes = _tangent_planes(small[lefts[: len(near)]])
    for left, plane, parts in zip(lefts.tolist(), planes, near, strict=False):
        for mirrored, right in zip((False, True), parts, strict=True):
            right = right[(recordings[right] != recordings[left]) | (recordings[right] < 0)]
            explained = _explained(small[right][:, :, :: -1 if mirrored else 1], plane)
            likely += [(left, other, mirrored) for other in right[explained >= MIN_LIKENESS].tolist()]
    return likely


# --- hashes

ROWS, COLUMNS = (waves.ravel()[1:] for waves in np.mgrid[:8, :8])  # of the cosine transform, without the mean
ROWS, COLUMNS = np.r_[ROWS, 0], np.r_[COLUMNS, 8]
ODD = COLUMNS % 2 == 1  # waves that a mirror turns


def hashes(pictures: Pictures) -> NDArray[np.uint64]:
    """Return 64 bits a thumbnail: whether each of its slowest waves is above the median over all thumbnails.

    Waves that are odd across the picture are held against 0: a mirror image has those bits turned, and no others.
    """
    from scipy.fft import dctn

    if not len(pictures):
        return np.empty(0, np.uint64)
    steps = range(0, len(pictures), CHUNK)
    parts = [dctn(_standardised(pictures[at : at + CHUNK]), axes=(1, 2))[:, ROWS, COLUMNS] for at in steps]
    waves = np.concatenate(parts)
    above = waves > np.where(ODD, 0, np.median(waves, axis=0))
    return np.ascontiguousarray(np.packbits(above, axis=1)).view(np.uint64).ravel()


def _candidates(hashed: NDArray[np.uint64]) -> Iterator[tuple[int, list[tuple[Integers, Integers]]]]:
    """Yield, a chunk of hashes at a time, the place of its first and of each the later ones in reach, and mirrored."""
    import faiss

    reach = _reach(hashed)
    index = faiss.IndexBinaryFlat(64)
    index.add(hashed.view(np.uint8).reshape(-1, 8))
    for at in range(0, len(hashed), CHUNK):
        kinds = []
        for turned in (np.uint64(0), _turned()):
            sought = (hashed[at : at + CHUNK] ^ turned).view(np.uint8).reshape(-1, 8)
            ends, _, near = index.range_search(sought, reach + 1)  # it finds what is less far than that
            kinds.append(
                [part[part > at + row] for row, part in enumerate(np.split(near, ends[1:-1].astype(np.int64)))]
            )
        yield at, list(zip(*kinds, strict=True))


def _reach(hashed: NDArray[np.uint64]) -> int:
    """Return how many bits may differ: 20, or as many as leave 2 million pairs or fewer, by 1,500 of the faces."""
    few = hashed[:: max(1, len(hashed) // 1500)]
    left, right = np.triu_indices(len(few), 1)
    apart = [np.bitwise_count(few[left] ^ few[right] ^ turned) for turned in (np.uint64(0), _turned())]
    within = np.bincount(np.concatenate(apart), minlength=65).cumsum() * (len(hashed) / max(1, len(few))) ** 2
    return min(MAX_DISTANCE, max(int(np.searchsorted(within, MAX_CANDIDATES, "right")) - 1, 0))


def _turned() -> np.uint64:
    return np.uint64(np.packbits(ODD).view(np.uint64)[0])


# --- confirmation


def _tangent_planes(pictures: Pictures) -> Floats:
    """Return what small affine motions and changes of contrast make of each picture, as (8, pixels) orthonormal rows.

    Source:
        Simard et al. 1993, "Efficient pattern recognition using a new transformation distance".
    """
    faces = _standardised(pictures)
    place = np.linspace(-1, 1, faces.shape[1], dtype=np.float32)
    down, right = np.gradient(faces, axis=(1, 2))
    moved = [right, down, right * place, right * place[:, None], down * place, down * place[:, None], faces]
    spanned = np.stack([np.ones_like(faces), *moved], axis=-1).reshape(len(faces), -1, 8)
    return np.asarray(np.linalg.qr(spanned)[0].transpose(0, 2, 1), np.float32)


def _explained(pictures: Pictures, plane: Floats) -> Floats:
    """Return the share of each picture's variance that lies in a tangent plane."""
    faces = _standardised(pictures).reshape(len(pictures), plane.shape[1])
    return np.asarray(((faces @ plane.T) ** 2).sum(1) / plane.shape[1], np.float32)


def _standardised(pictures: Pictures) -> Floats:
    flat = pictures.reshape(len(pictures), pictures.shape[1] * pictures.shape[2]).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.maximum(np.sqrt((flat * flat).mean(1, keepdims=True)), 1e-3)
    return flat.reshape(pictures.shape)


def registered(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the correlation of two pictures once one is warped onto the other; 0 where no warp does.

    Source:
        Evangelidis & Psarakis 2008, doi:10.1109/TPAMI.2008.113; OpenCV's findTransformECC, affine.
    """
    still, moving = np.asarray(one, np.float32), np.ascontiguousarray(other, np.float32)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 3, 1e-4)  # copies converge in two steps
    start, everywhere = np.eye(2, 3, dtype=np.float32), np.ones_like(one)
    try:
        _, warp = cv2.findTransformECC(still, moving, start, cv2.MOTION_AFFINE, stop, everywhere, 3)
    except cv2.error:  # it does not converge: not alike
        return 0.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(moving, warp, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inner = slice(SIDE // 16, -(SIDE // 16))
    first, second = (cv2.GaussianBlur(image[inner, inner], (0, 0), 0.8).ravel() for image in (still, laid))
    return float(np.corrcoef(first, second)[0, 1]) if first.std() and second.std() else 0.0
