"""What the drawn sets share: recordings of people, the files that are made of their pictures, and a set's layout."""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from fertools.drawn.face.expressions import rise
from fertools.drawn.face.factors import Nuisance
from fertools.errors import FertoolsError

PIECES = PurePosixPath(".pieces")  # where what goes into a file of many is kept until all is there
FINDER_FILE = b"\0\0\0\1Bud1" + bytes(24)  # what copies carry along from a Mac
THUMBNAILS = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(24)  # and from Windows
# Noise leaves a PNG's search for repetitions nothing to find; entropy coding alone is three times as fast.
SETTINGS = {
    ".png": [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".bmp": [],
}

Pixels = NDArray[np.uint8]


class Shot(NamedTuple):
    """One picture as it was taken; a blank is noise and shows nobody."""

    image: Pixels  # (height, width) grey, or (height, width, 3) RGB
    landmarks: NDArray[np.float64]  # (5, 2) pupils, nose tip, mouth corners: x, y in px, left before right
    blank: bool = False


class Image(NamedTuple):
    """One published image: the file that shows it, its number there or in its sequence, and the frame it is of."""

    path: PurePosixPath  # below the root
    number: int
    frame: int  # place in the recording, from 0


@dataclass(frozen=True)
class Recording(ABC):
    """One recording: who, which of theirs, what it shows, and in what format it was taken."""

    subject_index: int  # which person of all that a seed can draw: no two sets share one
    subject: str
    number: int
    expression: str | None  # None: none of the known ones
    num_frames: int
    height: int
    width: int
    colour: bool

    blank_size: ClassVar[tuple[int, int]] = (8, 8)  # of a picture without a face: height, width

    @property
    @abstractmethod
    def images(self) -> Sequence[Image]:
        """All images that are made of it."""

    @property
    @abstractmethod
    def files(self) -> Sequence[PurePosixPath]:
        """Paths below the root of all files that are made of its pictures; in PIECES, what others are bound of."""

    @property
    def taken(self) -> Sequence[int]:
        """The frames, from 0, that pictures are needed of."""
        return range(self.num_frames)

    def contents(self, shots: Iterable[Shot]) -> Iterator[bytes]:
        """What these files hold, in their order, made of the pictures that are taken."""
        for path, shot in zip(self.files, shots, strict=True):
            yield encode(shot.image, path.suffix)

    @property
    def beside(self) -> Mapping[PurePosixPath, bytes | None]:
        """What else lies there, by path below the root: a file's content, or None for an empty folder."""
        return {}

    @property
    def sequence(self) -> str:
        """What tells it from others of the same person."""
        return self.images[0].path.parent.name

    def parts(self, rng: np.random.Generator) -> list[float]:
        """What part of its peak each frame shows: it rises from neutral."""
        return rise(self.num_frames, rng)

    def circumstances(self, sampled: Nuisance) -> Nuisance:
        """How it was taken, where that is not left to chance."""
        return sampled


@dataclass(frozen=True)
class Frames(Recording):
    """A recording that is kept as one file a frame."""

    @property
    @abstractmethod
    def frames(self) -> list[PurePosixPath]:
        """Paths of all images below the root, from neutral to peak; a name ends in the frame's number."""

    @property
    def images(self) -> list[Image]:
        """Every frame."""
        return [Image(path, int(path.stem.rpartition("_")[2]), place) for place, path in enumerate(self.frames)]

    @property
    def files(self) -> list[PurePosixPath]:
        """Every frame's."""
        return self.frames


@dataclass(frozen=True)
class Photograph(Recording):
    """A recording that is one picture, of the peak or of a neutral face."""

    @property
    @abstractmethod
    def path(self) -> PurePosixPath:
        """Where the image lies, below the root."""

    @property
    def images(self) -> list[Image]:
        """The one."""
        return [Image(self.path, self.number, 0)]

    @property
    def files(self) -> list[PurePosixPath]:
        """The one."""
        return [self.path]

    @property
    def sequence(self) -> str:
        """It is none."""
        return ""

    def parts(self, rng: np.random.Generator) -> list[float]:  # noqa: ARG002
        """All of the peak, or nothing."""
        return [0.0 if self.expression == "neutral" else 1.0]


Kind = TypeVar("Kind", bound=Recording)
Pieces = Callable[[Recording], Sequence[bytes]]  # what those of its files hold that are pieces
Bound = Iterator[tuple[PurePosixPath, Iterable[bytes]]]  # path below the root, what the file holds


def _nothing(_recordings: Sequence[Recording], _pieces: Pieces) -> Bound:
    yield from ()


@dataclass(frozen=True)
class Layout(Generic[Kind]):
    """A dataset that can be drawn."""

    plan: Callable[[int, int], Sequence[Kind]]  # number of people, seed
    num_subjects: int  # drawn by default
    published: Callable[[int], Sequence[Kind]] | str  # seed: as many as published; or why they are not drawn
    bind: Callable[[Sequence[Kind], Pieces], Bound] = _nothing  # files that are about all recordings


def is_piece(path: PurePosixPath) -> bool:
    """Whether it is bound into another file and does not stay."""
    return path.parent == PIECES


def check_number(num_subjects: int, most: int) -> None:
    """Refuse a number of people that a set cannot have.

    Raises:
        FertoolsError: fewer than two, or more than its names suffice for.
    """
    if not 2 <= num_subjects <= most:
        raise FertoolsError(f"{num_subjects} subjects cannot be drawn: ask for 2 to {most}")


def encode(image: Pixels, suffix: str) -> bytes:
    """An image file: PNG, JPEG or BMP; uncompressed TIFF or GIF."""
    if suffix in SETTINGS:
        picture = image if image.ndim == 2 else image[..., ::-1]
        return bytes(cv2.imencode(suffix, picture, SETTINGS[suffix])[1].tobytes())
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, {".tiff": "TIFF", ".gif": "GIF"}[suffix])
    return buffer.getvalue()


def reduced(image: Pixels, size: int) -> Pixels:
    """The image as a square of this size; each pixel is the mean of those it stands for."""
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
