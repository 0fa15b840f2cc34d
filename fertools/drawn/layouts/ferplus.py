"""FER+: a table as FER2013's, and the votes beside it, with its counts (Barsoum et al. 2016, arXiv:1608.01041)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fertools.drawn.layouts import fer2013
from fertools.drawn.layouts.photographs import Dealt, count_out, deal
from fertools.drawn.recording import Bound, Layout, Pieces, check_number

NUM_SUBJECTS, MAX_SUBJECTS = 20, 999
FIRST_PERSON = 10000
EIGHT = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
UNDECIDED, NO_FACE = "undecided", "NF"  # no majority; ten votes for no face: such a row's image has no name
VOTED = (*EIGHT, "unknown", NO_FACE)
COUNTS = {  # by the authors' rule of majority
    "Training": (8740, 7287, 3149, 3014, 2100, 119, 532, 119, 3501, 148),
    "PublicTest": (1182, 865, 415, 351, 287, 24, 62, 13, 380, 10),
    "PrivateTest": (1090, 893, 396, 384, 273, 18, 83, 16, 421, 15),
}
VOTES = PurePosixPath("fer2013new.csv")
OTHER_CODE = fer2013.LABELS.index("neutral")  # of what FER2013 has no label for


@dataclass(frozen=True)
class Voted(fer2013.Row):
    """One row of both tables."""

    label: str  # an expression, UNDECIDED or NO_FACE

    @property
    def code(self) -> int:
        """Its label in FER2013's table."""
        return fer2013.LABELS.index(self.label) if self.label in fer2013.LABELS else OTHER_CODE

    @property
    def vote(self) -> str:
        """Its row of the other table: most votes for the label, or half of them for each of two."""
        counts = dict.fromkeys(VOTED, 0)
        if self.label == UNDECIDED:
            counts |= {"sadness": 5, "neutral": 5}
        elif self.label == NO_FACE:
            counts[NO_FACE] = 10
        else:
            counts |= {"unknown": 1, self.label: 9}
        name = "" if self.label == NO_FACE else f"fer{self.row:07d}.png"
        return ",".join(map(str, (self.split, name, *counts.values())))


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Voted]:
    """Eight photographs a person, half for training, a quarter for each test; most people are in all three.

    They are other people than those of the drawn FER2013.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    splits = ("Training", "PublicTest", "Training", "PrivateTest")
    return _rows(deal(num_subjects, splits, (*EIGHT, UNDECIDED), seed))


def published(seed: int) -> list[Voted]:
    """35,887 rows, 31,412 of them with a majority."""
    labels = (*EIGHT, UNDECIDED, NO_FACE)
    return _rows(count_out({split: dict(zip(labels, counts, strict=True)) for split, counts in COUNTS.items()}, seed))


def _rows(dealt: Sequence[Dealt]) -> list[Voted]:
    size = fer2013.TAKEN
    return [
        Voted(
            FIRST_PERSON + one.person, one.name, one.number, one.label if one.label in EIGHT else None, 1,
            size, size, False, one.split, row, one.label,
        )
        for one, row in zip(dealt, fer2013.row_numbers(dealt), strict=True)
    ]  # fmt: skip


def bind(recordings: Sequence[Voted], pieces: Pieces) -> Bound:
    """Both tables."""
    yield from fer2013.bind(recordings, pieces)
    yield VOTES, _lines(sorted(recordings, key=lambda row: row.row))


def _lines(rows: Sequence[Voted]) -> Iterator[bytes]:
    yield f"Usage,Image name,{','.join(VOTED)}\n".encode()
    for row in rows:
        yield f"{row.vote}\n".encode()


LAYOUT = Layout(plan, NUM_SUBJECTS, published, bind)
