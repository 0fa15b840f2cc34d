"""CASIA-WebFace's folders, and the InsightFace pack of it (Yi et al. 2014, arXiv:1411.7923; arXiv:1801.07698)."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from fertools.datasets.readers import recordio
from fertools.drawn.layouts.photographs import PER_PERSON, aligned
from fertools.drawn.recording import (
    FINDER_FILE,
    PIECES,
    Bound,
    Image,
    Layout,
    Photograph,
    Pieces,
    Shot,
    check_number,
    encode,
)

NUM_SUBJECTS, MAX_SUBJECTS = 20, 999
FIRST_PERSON = 9000
FIRST_NAME, NAMES_APART = 45, 137  # identities are called by numbers of seven digits, with gaps
SIZE = 250
FOLDER = PurePosixPath("CASIA-WebFace")
PACK = PurePosixPath("faces_webface_112x112")
PACK_SIZE = 112
TEMPLATE = np.array(  # of ArcFace: eyes, nose tip, mouth corners in px
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
TOO_MANY = "494,414 files; none of its images has an expression to count by"


@dataclass(frozen=True)
class Photo(Photograph):
    """One image in the folder of who it shows."""

    @property
    def path(self) -> PurePosixPath:
        """Identity and number; of a packed one, what it was called."""
        return FOLDER / self.subject / f"{self.number:03d}.jpg"

    @property
    def beside(self) -> Mapping[PurePosixPath, bytes | None]:
        """The Mac's litter."""
        is_littered = self.number == 1 and (self.subject_index - FIRST_PERSON) % 7 == 1
        return {self.path.with_name(".DS_Store"): FINDER_FILE} if is_littered else {}


@dataclass(frozen=True)
class Packed(Photo):
    """One image in the pack."""

    key: int  # from 1
    label: int  # the pack's own number of who it shows, from 0

    @property
    def images(self) -> list[Image]:
        """The one, by its key."""
        return [Image(PACK / "train.rec", self.key, 0)]

    @property
    def files(self) -> list[PurePosixPath]:
        """What its record holds."""
        return [PIECES / f"{self.key:05d}.jpg"]

    def contents(self, shots: Iterable[Shot]) -> Iterator[bytes]:
        """The aligned face."""
        for shot in shots:
            yield encode(aligned(shot, shot.landmarks, TEMPLATE, PACK_SIZE), ".jpg")

    @property
    def beside(self) -> Mapping[PurePosixPath, bytes | None]:
        """Nothing."""
        return {}


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Photo]:  # noqa: ARG001
    """Eight photographs a person, of any expression.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    return [
        Photo(FIRST_PERSON + index, f"{FIRST_NAME + NAMES_APART * index:07d}", number, None, 1, SIZE, SIZE, True)
        for index in range(num_subjects)
        for number in range(1, PER_PERSON + 1)
    ]


def plan_pack(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Packed]:
    """The same photographs."""
    return [
        Packed(**vars(photo), key=key, label=photo.subject_index - FIRST_PERSON)
        for key, photo in enumerate(plan(num_subjects, seed), start=1)
    ]


def bind(recordings: Sequence[Packed], pieces: Pieces) -> Bound:
    """The records, where each starts, what each was, and the pack's size."""
    num_identities = recordings[-1].label + 1
    yield PACK / "train.rec", (record for record, _ in _records(recordings, pieces))
    yield PACK / "train.idx", _index(recordings, pieces)
    yield PACK / "train.lst", (f"1\t/data/{photo.path}\t{photo.label}\n".encode() for photo in recordings)
    yield PACK / "property", [f"{num_identities},{PACK_SIZE},{PACK_SIZE}".encode()]


def _records(recordings: Sequence[Packed], pieces: Pieces) -> Iterator[tuple[bytes, int]]:
    """Records and keys: where images and identities end, then images, then the keys of each identity's images."""
    of_label = [list(group) for _, group in itertools.groupby(recordings, lambda photo: photo.label)]
    end = len(recordings) + 1
    yield _labels(0, end, end + len(of_label)), 0
    for photo in recordings:
        header = recordio.HEADER.pack(0, photo.label, photo.key, 0)
        yield recordio.encode(header + pieces(photo)[0]), photo.key
    for key, photos in enumerate(of_label, start=end):
        yield _labels(key, photos[0].key, photos[-1].key + 1), key


def _labels(key: int, *numbers: int) -> bytes:
    """A record of labels alone."""
    return recordio.encode(recordio.HEADER.pack(len(numbers), 0, key, 0) + np.array(numbers, "<f4").tobytes())


def _index(recordings: Sequence[Packed], pieces: Pieces) -> Iterator[bytes]:
    start = 0
    for record, key in _records(recordings, pieces):
        yield b"%d\t%d\n" % (key, start)
        start += len(record)


LAYOUT = Layout(plan, NUM_SUBJECTS, published=TOO_MANY)
PACK_LAYOUT = Layout(plan_pack, NUM_SUBJECTS, published=TOO_MANY, bind=bind)
