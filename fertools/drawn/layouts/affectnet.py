"""AffectNet: the layout and counts of its crops in eight classes (Mollahosseini et al. 2019, arXiv:1708.03985)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fertools.drawn.face.factors import Nuisance
from fertools.drawn.layouts.photographs import Dealt, at_large, close_up, count_out, deal, sixty_eight
from fertools.drawn.recording import THUMBNAILS, Layout, Photograph, Shot, check_number, encode

NUM_SUBJECTS, MAX_SUBJECTS = 20, 999
FIRST_PERSON = 7000
LABELS = (
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
)  # in the order of the codes 0 to 7  # fmt: skip
COUNTS = {
    "train_set": dict(zip(LABELS, (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750), strict=True)),
    "val_set": dict(zip(LABELS, (500, 500, 500, 500, 500, 500, 500, 499), strict=True)),
}
MOODS = ((0, 0), (0.8, 0.3), (-0.7, -0.3), (0.2, 0.7), (-0.4, 0.7), (-0.6, 0.4), (-0.5, 0.6), (-0.5, 0.3))
SIZE = 224


@dataclass(frozen=True)
class Crop(Photograph):
    """One crop, and its expression, valence, arousal and landmarks in a file each."""

    split: str
    place: int  # in its split, from 1: a number may be in both

    @property
    def path(self) -> PurePosixPath:
        """The image's."""
        return PurePosixPath(self.split, "images", f"{self.place}.jpg")

    @property
    def files(self) -> list[PurePosixPath]:
        """The image, and four of annotation."""
        folder = PurePosixPath(self.split, "annotations")
        return [self.path, *(folder / f"{self.place}_{kind}.npy" for kind in ("exp", "val", "aro", "lnd"))]

    def contents(self, shots: Iterable[Shot]) -> Iterator[bytes]:
        """Arrays hold the class as text, the rest as numbers: readers have seen both."""
        (shot,) = shots
        yield encode(shot.image, ".jpg")
        code = LABELS.index(str(self.expression))
        yield array_file(np.array(str(code)))
        for mood in MOODS[code]:
            yield array_file(np.array(mood + 0.001 * (self.place % 100)))
        yield array_file(sixty_eight(shot.landmarks).ravel())

    @property
    def beside(self) -> Mapping[PurePosixPath, bytes | None]:
        """Thumbnails."""
        return {self.path.parent / "Thumbs.db": THUMBNAILS} if self.place == 1 else {}

    def circumstances(self, sampled: Nuisance) -> Nuisance:
        """A face cut out by its box."""
        return close_up(at_large(sampled))


def array_file(array: NDArray[np.generic]) -> bytes:
    """An .npy file."""
    return _header(array.dtype.str, array.shape) + array.tobytes()


@cache
def _header(kind: str, shape: tuple[int, ...]) -> bytes:
    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Crop]:
    """Eight photographs a person, three in four for training; most people are in training and validation.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    return [_crop(dealt) for dealt in deal(num_subjects, ("train_set",) * 3 + ("val_set",), LABELS, seed)]


def published(seed: int) -> list[Crop]:
    """287,651 and 3,999 photographs."""
    return [_crop(dealt) for dealt in count_out(COUNTS, seed)]


def _crop(dealt: Dealt) -> Crop:
    who = FIRST_PERSON + dealt.person
    return Crop(who, dealt.name, dealt.number, dealt.label, 1, SIZE, SIZE, True, dealt.split, dealt.place)


LAYOUT = Layout(plan, NUM_SUBJECTS, published)
