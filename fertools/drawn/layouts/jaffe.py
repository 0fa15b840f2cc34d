"""JAFFE's layout, and its counts by person and by label (Lyons et al. 1998, doi:10.1109/AFGR.1998.670949)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import PurePosixPath

from fertools.drawn.recording import FINDER_FILE, Layout, Photograph, check_number

NUM_SUBJECTS = MAX_SUBJECTS = 10
FIRST_PERSON = 3000
PEOPLE = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")
CODES = dict(anger="AN", disgust="DI", fear="FE", happiness="HA", neutral="NE", sadness="SA", surprise="SU")
TAKES = 3  # of an expression by a person, but for these: the published sums by person and by label are kept
OTHER_TAKES = {
    ("KA", "FE"): 4, ("KA", "HA"): 4, ("KL", "FE"): 4, ("KM", "SA"): 4, ("YM", "DI"): 4,
    ("KR", "DI"): 2, ("NM", "DI"): 2,
}  # fmt: skip
NUMBERS_LEFT_OUT = {8, 12, 21, 76, 108, 183}
SIZE = 256


@dataclass(frozen=True)
class Picture(Photograph):
    """One image."""

    take: int

    @property
    def path(self) -> PurePosixPath:
        """Person, expression, take and number in the set."""
        return PurePosixPath("jaffe", f"{self.subject}.{CODES[str(self.expression)]}{self.take}.{self.number}.tiff")

    @property
    def beside(self) -> Mapping[PurePosixPath, bytes | None]:
        """The Mac's litter."""
        return {self.path.parent / ".DS_Store": FINDER_FILE} if self.number == 1 else {}


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Picture]:  # noqa: ARG001
    """The photographs of the first people of ten, 213 of all.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    numbers = (number for number in count(1) if number not in NUMBERS_LEFT_OUT)
    return [
        Picture(FIRST_PERSON + index, subject, next(numbers), expression, 1, SIZE, SIZE, False, take)
        for index, subject in enumerate(PEOPLE[:num_subjects])
        for expression, code in CODES.items()
        for take in range(1, OTHER_TAKES.get((subject, code), TAKES) + 1)
    ]


LAYOUT = Layout(plan, NUM_SUBJECTS, published=lambda seed: plan(MAX_SUBJECTS, seed))
