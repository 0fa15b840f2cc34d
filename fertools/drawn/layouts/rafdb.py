"""RAF-DB's layout, basic part, version 1.1, and its counts (Li et al. 2017, doi:10.1109/CVPR.2017.277)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from fertools.drawn.face.factors import Nuisance
from fertools.drawn.layouts.photographs import Dealt, aligned, at_large, box, count_out, deal, sixty_eight
from fertools.drawn.recording import (
    FINDER_FILE,
    THUMBNAILS,
    Bound,
    Image,
    Layout,
    Photograph,
    Pieces,
    Shot,
    check_number,
    encode,
)  # fmt: skip

NUM_SUBJECTS, MAX_SUBJECTS = 20, 999
FIRST_PERSON = 6000
LABELS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # in the order of the codes 1 to 7
COUNTS = {
    "train": dict(zip(LABELS, (1290, 281, 717, 4772, 1982, 705, 2524), strict=True)),
    "test": dict(zip(LABELS, (329, 74, 160, 1185, 478, 162, 680), strict=True)),
}
SIZES = ((300, 400), (360, 300), (240, 320), (400, 400))  # height, width of originals: they come from everywhere
DIGITS = {"train": 5, "test": 4}
ROOT = PurePosixPath("basic")
CROP_SIZE = 100
TEMPLATE = np.array([[30.0, 37.0], [70.0, 37.0], [50.0, 80.0]])  # of the eyes and the middle of the mouth in crops
LIST = ROOT / "EmoLabel/list_patition_label.txt"  # spelled so


@dataclass(frozen=True)
class Portrait(Photograph):
    """One original, its crop, and what is known of it."""

    split: str
    place: int  # in its split, from 1

    @property
    def stem(self) -> str:
        """The name of all of its files."""
        return f"{self.split}_{self.place:0{DIGITS[self.split]}d}"

    @property
    def path(self) -> PurePosixPath:
        """The original's."""
        return ROOT / f"Image/original/{self.stem}.jpg"

    @property
    def images(self) -> list[Image]:
        """The original and the crop."""
        return [Image(path, self.place, 0) for path in self.files[:2]]

    @property
    def files(self) -> list[PurePosixPath]:
        """Both, and three of annotation."""
        return [
            self.path,
            ROOT / f"Image/aligned/{self.stem}_aligned.jpg",
            ROOT / f"Annotation/manual/{self.stem}_manu_attri.txt",
            ROOT / f"Annotation/auto/{self.stem}_auto_attri.txt",
            ROOT / f"Annotation/boundingbox/{self.stem}_boundingbox.txt",
        ]

    def contents(self, shots: Iterable[Shot]) -> Iterator[bytes]:
        """Images, then points, sex, race and age, then 37 points, then the box."""
        (shot,) = shots
        yield encode(shot.image, ".jpg")
        points = np.vstack([shot.landmarks[:2], shot.landmarks[3:].mean(0)])
        yield encode(aligned(shot, points, TEMPLATE, CROP_SIZE), ".jpg")
        about = f"{self.subject_index % 2}\n{self.subject_index % 3}\n{self.subject_index % 5}\n"
        yield (_lines(shot.landmarks.tolist()) + about).encode()
        yield _lines(sixty_eight(shot.landmarks)[17:54].tolist()).encode()
        yield (" ".join(f"{side:.6f}" for side in box(shot.landmarks)) + " \n").encode()

    @property
    def beside(self) -> Mapping[PurePosixPath, bytes | None]:
        """Litter of two systems."""
        found: dict[PurePosixPath, bytes | None] = {}
        if self.place == 1:
            found[self.path.parent / ".DS_Store"] = FINDER_FILE
            found[self.files[1].parent / "Thumbs.db"] = THUMBNAILS
        return found

    def circumstances(self, sampled: Nuisance) -> Nuisance:
        """Anywhere."""
        return at_large(sampled)


def _lines(points: Sequence[Sequence[float]]) -> str:
    return "".join(f"{x:.3f}\t{y:.3f}\n" for x, y in points)


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Portrait]:
    """Eight photographs a person, three in four for training; most people are in training and test.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    return [_portrait(dealt) for dealt in deal(num_subjects, ("train", "train", "train", "test"), LABELS, seed)]


def published(seed: int) -> list[Portrait]:
    """12,271 and 3,068 photographs."""
    return [_portrait(dealt) for dealt in count_out(COUNTS, seed)]


def _portrait(dealt: Dealt) -> Portrait:
    height, width = SIZES[(dealt.person + dealt.number) % len(SIZES)]
    who = FIRST_PERSON + dealt.person
    return Portrait(who, dealt.name, dealt.number, dealt.label, 1, height, width, True, dealt.split, dealt.place)


def bind(recordings: Sequence[Portrait], _pieces: Pieces) -> Bound:
    """The list of labels, the training part first."""
    ordered = sorted(recordings, key=lambda portrait: (portrait.split != "train", portrait.place))
    yield LIST, (f"{item.stem}.jpg {LABELS.index(str(item.expression)) + 1}\n".encode() for item in ordered)


LAYOUT = Layout(plan, NUM_SUBJECTS, published, bind)
