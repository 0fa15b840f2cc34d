"""What the sets have in common that are photographs from everywhere: who is on which, how faces are cut out of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fertools.drawn.face.factors import Nuisance
from fertools.drawn.recording import Pixels, Shot, reduced

PER_PERSON = 8  # photographs that there are of everyone
FINER = 3  # a crop is taken from the picture this many times finer, then reduced


class Dealt(NamedTuple):
    """A photograph of a set: whose, which of theirs, and where it is in the set."""

    person: int
    number: int
    split: str
    place: int  # in its split, from 1
    label: str

    @property
    def name(self) -> str:
        """Of the person, whom the set does not name."""
        return f"{self.person + 1:03d}"


def deal(num_subjects: int, splits: Sequence[str], labels: Sequence[str], seed: int) -> list[Dealt]:
    """Everyone's photographs, person by person, dealt by chance to splits and labels in turn: all are about as many.

    Splits do not ask who is on a photograph, so most people are in all of them, as in sets that publish no subject.
    """
    slots = np.random.default_rng([seed, 0]).permutation(num_subjects * PER_PERSON).tolist()
    places = _places([splits[slot % len(splits)] for slot in range(len(slots))])
    return [
        Dealt(
            index // PER_PERSON, index % PER_PERSON + 1, splits[slot % len(splits)], places[slot],
            labels[slot // len(splits) % len(labels)],
        )
        for index, slot in enumerate(slots)
    ]  # fmt: skip


def count_out(counts: Mapping[str, Mapping[str, int]], seed: int) -> list[Dealt]:
    """As many photographs as a set has, of as many people: split -> label -> how many, in random order."""
    rng = np.random.default_rng([seed, 0])
    slots = [
        (split, label)
        for split, of_label in counts.items()
        for label in rng.permutation([label for label, count in of_label.items() for _ in range(count)]).tolist()
    ]
    places = _places([split for split, _ in slots])
    return [Dealt(index, 1, split, places[index], label) for index, (split, label) in enumerate(slots)]


def _places(splits: Iterable[str]) -> list[int]:
    """How many of its split there are up to each one."""
    seen: dict[str, int] = {}
    places = []
    for split in splits:
        seen[split] = seen.get(split, 0) + 1
        places.append(seen[split])
    return places


def close_up(sampled: Nuisance) -> Nuisance:
    """A face that fills its picture, as where its box was cut out of a larger one."""
    return replace(
        sampled, scale=1.35 * sampled.scale, offset_x=0.5 * sampled.offset_x, offset_y=0.5 * sampled.offset_y - 0.06
    )


def at_large(sampled: Nuisance) -> Nuisance:
    """A head that is turned further than in a laboratory."""
    return replace(sampled, yaw=1.6 * sampled.yaw, pitch=1.3 * sampled.pitch, roll=1.3 * sampled.roll)


def fit(points: NDArray[np.float64], template: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 3) matrix of the similarity that best carries points (n, 2) onto a template (n, 2)."""
    (x, y), one, nought = points.T, np.ones(len(points)), np.zeros(len(points))
    rows = np.vstack([np.column_stack([x, -y, one, nought]), np.column_stack([y, x, nought, one])])
    cos, sin, right, down = np.linalg.lstsq(rows, template.T.ravel())[0].tolist()
    return np.array([[cos, -sin, right], [sin, cos, down]])


def aligned(shot: Shot, points: NDArray[np.float64], template: NDArray[np.float64], size: int) -> Pixels:
    """The square crop in which points of the picture lie on a template, in px; of a blank another blank."""
    if shot.blank:
        return np.asarray(255 - shot.image, np.uint8)
    finer = cv2.warpAffine(
        shot.image, fit(points, template) * FINER, (size * FINER, size * FINER),
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return reduced(np.asarray(finer, np.uint8), size)


def box(landmarks: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in px of a face, from brows to chin, by its landmarks."""
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    (x, y), side = (eyes + mouth) / 2, float(np.linalg.norm(mouth - eyes))
    return float(x - side), float(y - 1.1 * side), float(x + side), float(y + 1.2 * side)


def _ellipse(
    centre: tuple[float, float], radii: tuple[float, float], degrees: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points of an ellipse; 0 degrees is right, 90 down."""
    angles = np.radians(degrees)
    return np.column_stack([centre[0] + radii[0] * np.cos(angles), centre[1] + radii[1] * np.sin(angles)])


RING = np.array([180.0, 240, 300, 0, 60, 120])
MEAN_FACE = np.vstack([  # 68 points in the usual order, where the eyes are 2 apart and the mouth 2.2 below them
    _ellipse((0, 0.3), (1.9, 2.9), np.linspace(180, 0, 17)),
    *(np.column_stack([np.linspace(start, start + 1.2, 5), np.full(5, -0.7)]) for start in (-1.6, 0.4)),
    np.column_stack([np.zeros(4), np.linspace(0.1, 1.25, 4)]),
    np.column_stack([np.linspace(-0.5, 0.5, 5), np.full(5, 1.5)]),
    *(_ellipse((centre, 0), (0.35, 0.15), RING) for centre in (-1, 1)),
    _ellipse((0, 2.2), (0.8, 0.4), np.arange(180, 540, 30.0)),
    _ellipse((0, 2.2), (0.6, 0.15), np.arange(180, 540, 45.0)),
])  # fmt: skip
EYES, TIP, CORNERS = (slice(36, 42), slice(42, 48)), 30, [48, 54]


def sixty_eight(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """(68, 2) points about the five: the eyes' means, the nose tip and the corners of the mouth are those."""
    five = np.vstack([*(MEAN_FACE[eye].mean(0) for eye in EYES), MEAN_FACE[[TIP, *CORNERS]]])
    matrix = fit(five, landmarks)
    points = np.asarray(MEAN_FACE @ matrix[:, :2].T + matrix[:, 2])
    for eye, pupil in zip(EYES, landmarks[:2], strict=True):
        points[eye] += pupil - points[eye].mean(0)
    points[[TIP, *CORNERS]] = landmarks[2:]
    return points
