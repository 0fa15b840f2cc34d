"""FER2013's table and its counts (Goodfellow et al. 2013, arXiv:1307.0414)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

from fertools.drawn.face.factors import Nuisance
from fertools.drawn.layouts.photographs import Dealt, at_large, close_up, count_out, deal
from fertools.drawn.recording import (
    PIECES,
    Bound,
    Image,
    Layout,
    Photograph,
    Pieces,
    Pixels,
    Shot,
    check_number,
    reduced,
)

NUM_SUBJECTS, MAX_SUBJECTS = 20, 999
FIRST_PERSON = 8000
LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # in the order of the codes 0 to 6
COUNTS = {
    "Training": dict(zip(LABELS, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
    "PublicTest": dict(zip(LABELS, (467, 56, 496, 895, 653, 415, 607), strict=True)),
    "PrivateTest": dict(zip(LABELS, (491, 55, 528, 879, 594, 416, 626), strict=True)),
}
TABLE = PurePosixPath("fer2013.csv")
SIZE = 48
TAKEN = 192  # px: a face is drawn larger, then reduced


@dataclass(frozen=True)
class Row(Photograph):
    """One row of the table."""

    split: str
    row: int  # from 0

    blank_size: ClassVar[tuple[int, int]] = (SIZE, SIZE)

    @property
    def code(self) -> int:
        """Its label in the table."""
        return LABELS.index(str(self.expression))

    @property
    def path(self) -> PurePosixPath:
        """The table's."""
        return TABLE

    @property
    def images(self) -> list[Image]:
        """The one, numbered as the row."""
        return [Image(TABLE, self.row, 0)]

    @property
    def files(self) -> list[PurePosixPath]:
        """What the row is made of."""
        return [PIECES / f"{self.row:05d}.txt"]

    def contents(self, shots: Iterable[Shot]) -> Iterator[bytes]:
        """The grey values as text."""
        for shot in shots:
            yield as_text(shot.image if shot.blank else reduced(shot.image, SIZE))

    def circumstances(self, sampled: Nuisance) -> Nuisance:
        """A face cut out by its box."""
        return close_up(at_large(sampled))


def as_text(image: Pixels) -> bytes:
    """Grey values, row by row."""
    return " ".join(map(str, image.ravel().tolist())).encode()


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Row]:
    """Eight photographs a person, half for training, a quarter for each test; most people are in all three.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    return _rows(deal(num_subjects, ("Training", "PublicTest", "Training", "PrivateTest"), LABELS, seed))


def published(seed: int) -> list[Row]:
    """35,887 rows."""
    return _rows(count_out(COUNTS, seed))


def _rows(dealt: Sequence[Dealt]) -> list[Row]:
    return [
        Row(FIRST_PERSON + one.person, one.name, one.number, one.label, 1, TAKEN, TAKEN, False, one.split, row)
        for one, row in zip(dealt, row_numbers(dealt), strict=True)
    ]


def row_numbers(dealt: Sequence[Dealt]) -> list[int]:
    """Where each stands in the table, from 0: usage by usage."""
    usages = list(COUNTS)
    order = sorted(range(len(dealt)), key=lambda at: (usages.index(dealt[at].split), dealt[at].place))
    rows = [0] * len(order)
    for row, at in enumerate(order):
        rows[at] = row
    return rows


def bind(recordings: Sequence[Row], pieces: Pieces) -> Bound:
    """The table."""
    yield TABLE, _lines(sorted(recordings, key=lambda row: row.row), pieces)


def _lines(rows: Sequence[Row], pieces: Pieces) -> Iterator[bytes]:
    yield b"emotion,pixels,Usage\n"
    for row in rows:
        (values,) = pieces(row)
        yield b"%d,%b,%b\n" % (row.code, values, row.split.encode())


LAYOUT = Layout(plan, NUM_SUBJECTS, published, bind)
