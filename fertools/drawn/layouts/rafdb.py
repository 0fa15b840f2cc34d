"""RAF-DB's layout, basic part, version 1.1, and its counts (Li et al. 2017, doi:10.1109/CVPR.2017.277)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from fertools.drawn.face.factors import Identity, Nuisance, person
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
LIGHT, DARK = 0.6, 0.5  # albedo of skin: what is above, and what is below
LEAST_AGES = (0.0, 0.05, 0.4, 0.8)  # lines of a face at which an age group begins; nobody drawn is younger than 4
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
    seed: int  # of its corpus

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
        who = "".join(f"{code}\n" for code in codes_of(person(self.seed, self.subject_index)))
        yield (_lines(shot.landmarks.tolist()) + who).encode()
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


def codes_of(identity: Identity) -> tuple[int, int, int]:
    """The set's codes of gender, race and age of a drawn person.

    A heavier skull stands for male. Drawn faces have no race: the tone of their skin stands in, light to dark 0, 2, 1.
    """
    race = 0 if identity.skin > LIGHT else 2 if identity.skin > DARK else 1
    return int(not identity.heavy), race, sum(identity.age >= least for least in LEAST_AGES)


def _lines(points: Sequence[Sequence[float]]) -> str:
    return "".join(f"{x:.3f}\t{y:.3f}\n" for x, y in points)


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Portrait]:
    """Eight photographs a person, three in four for training; most people are in training and test.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    return [_portrait(dealt, seed) for dealt in deal(num_subjects, ("train", "train", "train", "test"), LABELS, seed)]


def published(seed: int) -> list[Portrait]:
    """12,271 and 3,068 photographs."""
    return [_portrait(dealt, seed) for dealt in count_out(COUNTS, seed)]


def _portrait(dealt: Dealt, seed: int) -> Portrait:
    height, width = SIZES[(dealt.person + dealt.number) % len(SIZES)]
    who = FIRST_PERSON + dealt.person
    return Portrait(who, dealt.name, dealt.number, dealt.label, 1, height, width, True, dealt.split, dealt.place, seed)


def bind(recordings: Sequence[Portrait], _pieces: Pieces) -> Bound:
    """The list of labels, the training part first."""
    ordered = sorted(recordings, key=lambda portrait: (portrait.split != "train", portrait.place))
    yield LIST, (f"{item.stem}.jpg {LABELS.index(str(item.expression)) + 1}\n".encode() for item in ordered)


LAYOUT = Layout(plan, NUM_SUBJECTS, published, bind)
