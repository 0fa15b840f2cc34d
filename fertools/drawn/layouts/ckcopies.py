"""What people hold of a drawn CK+ in its place: CK+48, and ckextended.csv; both show the people of the drawn CK+."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np

from fertools.drawn.layouts import ckplus
from fertools.drawn.layouts.fer2013 import as_text
from fertools.drawn.layouts.photographs import aligned
from fertools.drawn.recording import (
    FINDER_FILE,
    PIECES,
    Bound,
    Image,
    Layout,
    Pieces,
    Pixels,
    Shot,
    encode,
)

NUM_SUBJECTS = 12
SIZE = 48
TEMPLATE = np.array([[13.5, 15.5], [34.5, 15.5], [24.0, 38.5]])  # of the eyes and the middle of the mouth, in px
FOLDERS = dict(
    anger="anger", contempt="contempt", disgust="disgust", fear="fear", happiness="happy", sadness="sadness",
    surprise="surprise",
)  # fmt: skip
LAST = 3  # frames
CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")  # of the table, from 0
TABLE = PurePosixPath("ckextended.csv")
USAGES = (("Training", 0.8), ("PublicTest", 0.9), ("PrivateTest", 1.0))  # and where in the table each ends


def _crop(shot: Shot) -> Pixels:
    """The face, 48 x 48 grey."""
    points = np.vstack([shot.landmarks[:2], shot.landmarks[3:].mean(0)])
    crop = aligned(shot, points, TEMPLATE, SIZE)
    return crop if crop.ndim == 2 else np.asarray(crop @ (0.299, 0.587, 0.114), np.uint8)


@dataclass(frozen=True)
class Last(ckplus.Sequence):
    """Crops of the last three frames of a labelled sequence."""

    @property
    def images(self) -> list[Image]:
        """The three."""
        folder = PurePosixPath("CK+48", FOLDERS[str(self.expression)])
        return [Image(folder / path.name, number, place) for path, number, place in super().images[-LAST:]]

    @property
    def files(self) -> list[PurePosixPath]:
        """The three."""
        return [image.path for image in self.images]

    @property
    def sequence(self) -> str:
        """Of the original."""
        return self.folder.name

    @property
    def taken(self) -> list[int]:
        """The three."""
        return [image.frame for image in self.images]

    def contents(self, shots: Iterable[Shot]) -> Iterator[bytes]:
        """The three."""
        for shot in shots:
            yield encode(_crop(shot), ".png")

    @property
    def beside(self) -> dict[PurePosixPath, bytes | None]:
        """The Mac's litter."""
        return {self.files[0].parent / ".DS_Store": FINDER_FILE} if self.subject_index % 7 == 1 else {}


@dataclass(frozen=True)
class Ends(ckplus.Sequence):
    """The first frame of a sequence as neutral and, where it is labelled, the last."""

    rows: tuple[int, ...]  # of the table, from 0

    blank_size: ClassVar[tuple[int, int]] = (SIZE, SIZE)

    @property
    def images(self) -> list[Image]:
        """One or two rows."""
        return [Image(TABLE, row, place) for row, place in zip(self.rows, (0, self.num_frames - 1), strict=False)]

    @property
    def files(self) -> list[PurePosixPath]:
        """What the rows are made of."""
        return [PIECES / f"{row:05d}.txt" for row in self.rows]

    @property
    def sequence(self) -> str:
        """Of the original."""
        return self.folder.name

    @property
    def taken(self) -> list[int]:
        """One or two."""
        return [image.frame for image in self.images]

    def contents(self, shots: Iterable[Shot]) -> Iterator[bytes]:
        """The grey values as text."""
        for shot in shots:
            yield as_text(_crop(shot))

    @property
    def beside(self) -> dict[PurePosixPath, bytes | None]:
        """Nothing."""
        return {}


def plan_last(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Last]:
    """The labelled sequences of a drawn CK+ of as many people."""
    return [Last(**vars(sequence)) for sequence in ckplus.plan(num_subjects, seed) if sequence.expression]


def plan_ends(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Ends]:
    """All sequences of a drawn CK+ of as many people, their images in random rows."""
    sequences = ckplus.plan(num_subjects, seed)
    counts = [1 if sequence.expression is None else 2 for sequence in sequences]
    rows = iter(np.random.default_rng([seed, 4]).permutation(sum(counts)).tolist())
    return [
        Ends(**vars(sequence), rows=tuple(next(rows) for _ in range(count)))
        for sequence, count in zip(sequences, counts, strict=True)
    ]


def bind(recordings: Sequence[Ends], pieces: Pieces) -> Bound:
    """The table."""
    yield TABLE, _lines(recordings, pieces)


def _lines(recordings: Sequence[Ends], pieces: Pieces) -> Iterator[bytes]:
    """Rows are in the order of their numbers; usages take their shares of it."""
    yield b"emotion,pixels,Usage\n"
    lines: dict[int, tuple[int, bytes]] = {}
    for recording in recordings:
        for image, values in zip(recording.images, pieces(recording), strict=True):
            lines[image.number] = (CODES.index(str(recording.expression) if image.frame else "neutral"), values)
    for row, (code, values) in sorted(lines.items()):
        usage = next(name for name, end in USAGES if row < end * len(lines))
        yield b"%d,%b,%b\n" % (code, values, usage.encode())


CKPLUS48 = Layout(plan_last, NUM_SUBJECTS, published=lambda seed: plan_last(ckplus.NUM_SUBJECTS, seed))
CKEXTENDED = Layout(plan_ends, NUM_SUBJECTS, published=lambda seed: plan_ends(ckplus.NUM_SUBJECTS, seed), bind=bind)
