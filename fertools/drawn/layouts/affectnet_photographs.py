"""AffectNet of 2017: photographs of all formats and two lists, with its counts (arXiv:1708.03985)."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fertools.drawn.face.factors import Nuisance
from fertools.drawn.layouts.affectnet import LABELS, MOODS
from fertools.drawn.layouts.photographs import Dealt, at_large, box, count_out, deal, sixty_eight
from fertools.drawn.recording import PIECES, Bound, Layout, Photograph, Pieces, Shot, check_number, encode

NUM_SUBJECTS, MAX_SUBJECTS = 20, 999
FIRST_PERSON = 11000
NONE, UNCERTAIN, NO_FACE = "none", "uncertain", "no face"
CODES = (*LABELS, NONE, UNCERTAIN, NO_FACE)  # in the order of the codes 0 to 10
COUNTS = {
    "training": (74874, 134416, 25459, 14090, 6378, 3803, 24882, 3750, 33088, 11645, 82415),
    "validation": (500,) * len(CODES),
}
IMAGES = PurePosixPath("Manually_Annotated_Images")
NUM_FOLDERS = 97
SUFFIXES = (".jpg", ".JPG", ".png", ".jpg", ".bmp", ".BMP", ".jpg", ".tiff")
COLUMNS = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
SIZES = ((300, 400), (360, 300), (240, 320), (400, 400))  # height, width


@dataclass(frozen=True)
class Photo(Photograph):
    """One photograph and its row."""

    split: str
    place: int  # in its split, from 1
    label: str

    @property
    def path(self) -> PurePosixPath:
        """Where the image lies."""
        name = hashlib.blake2b(f"{self.split} {self.place}".encode(), digest_size=28).hexdigest()
        return IMAGES / str(self.place % NUM_FOLDERS + 1) / f"{name}{SUFFIXES[self.place % len(SUFFIXES)]}"

    @property
    def files(self) -> list[PurePosixPath]:
        """The image, and its row."""
        return [self.path, PIECES / f"{self.split}_{self.place:06d}.txt"]

    def contents(self, shots: Iterable[Shot]) -> Iterator[bytes]:
        """A row has box and landmarks, but where there is said to be no face."""
        (shot,) = shots
        yield encode(shot.image, self.path.suffix.lower())
        code, name = CODES.index(self.label), self.path.relative_to(IMAGES)
        valence, arousal = MOODS[code] if code < len(MOODS) else (-2, -2)
        if self.label == NO_FACE:
            yield f"{name},-1,-1,-1,-1,,{code},-2,-2\n".encode()
            return
        x0, y0, x1, y1 = box(shot.landmarks)
        points = ";".join(f"{value:.2f}" for value in sixty_eight(shot.landmarks).ravel())
        sides = f"{x0:.1f},{y0:.1f},{x1 - x0:.0f},{y1 - y0:.0f}"
        yield f"{name},{sides},{points},{code},{valence},{arousal}\n".encode()

    def circumstances(self, sampled: Nuisance) -> Nuisance:
        """Anywhere."""
        return at_large(sampled)


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Photo]:
    """Eight photographs a person, three in four for training; most people are in training and validation.

    They are other people than those of the drawn crops. All show a face.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    return [_photo(one) for one in deal(num_subjects, ("training",) * 3 + ("validation",), CODES[:-1], seed)]


def published(seed: int) -> list[Photo]:
    """414,800 and 5,500 photographs, a face each."""
    counts = {split: dict(zip(CODES, numbers, strict=True)) for split, numbers in COUNTS.items()}
    return [_photo(one) for one in count_out(counts, seed)]


def _photo(one: Dealt) -> Photo:
    height, width = SIZES[(one.person + one.number) % len(SIZES)]
    expression = one.label if one.label in LABELS else None
    who = FIRST_PERSON + one.person
    return Photo(who, one.name, one.number, expression, 1, height, width, True, one.split, one.place, one.label)


def bind(recordings: Sequence[Photo], pieces: Pieces) -> Bound:
    """The lists; that of the validation set has no header, as in some copies."""
    for split in COUNTS:
        rows = sorted((photo for photo in recordings if photo.split == split), key=lambda photo: photo.place)
        yield PurePosixPath(f"{split}.csv"), _lines(split, rows, pieces)


def _lines(split: str, rows: Sequence[Photo], pieces: Pieces) -> Iterator[bytes]:
    if split == "training":
        yield f"{COLUMNS}\n".encode()
    for row in rows:
        yield from pieces(row)


LAYOUT = Layout(plan, NUM_SUBJECTS, published, bind)
