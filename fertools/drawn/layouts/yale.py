"""Yale's layout and counts, with its two known slips (Belhumeur et al. 1997, doi:10.1109/34.598228)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from fertools.drawn.face.factors import Nuisance
from fertools.drawn.recording import THUMBNAILS, Layout, Photograph, Shot, check_number, encode

NUM_SUBJECTS = MAX_SUBJECTS = 15
FIRST_PERSON = 4000
CONDITIONS = {  # what each shows; None: none of the known expressions
    "centerlight": "neutral", "glasses": "neutral", "happy": "happiness", "leftlight": "neutral",
    "noglasses": "neutral", "normal": "neutral", "rightlight": "neutral", "sad": "sadness", "sleepy": None,
    "surprised": "surprise", "wink": None,
}  # fmt: skip
LIGHTS = {"centerlight": 0.0, "leftlight": -75.0, "rightlight": 75.0}  # azimuth, degrees
MISNAMED = {("01", "centerlight"): "subject01.gif"}
REPLACED = {("04", "sad"): "normal"}  # the file was damaged, and holds the other one
HEIGHT, WIDTH = 243, 320


@dataclass(frozen=True)
class Picture(Photograph):
    """One image, a GIF without an ending."""

    condition: str

    @property
    def path(self) -> PurePosixPath:
        """Person and condition."""
        name = f"subject{self.subject}.{self.condition}"
        return PurePosixPath("yalefaces", MISNAMED.get((self.subject, self.condition), name))

    def contents(self, shots: Iterable[Shot]) -> Iterator[bytes]:
        """The one."""
        for shot in shots:
            yield encode(shot.image, ".gif")

    @property
    def beside(self) -> Mapping[PurePosixPath, bytes | None]:
        """Thumbnails."""
        return {self.path.with_name("Thumbs.db"): THUMBNAILS} if self.subject_index == FIRST_PERSON else {}

    def circumstances(self, sampled: Nuisance) -> Nuisance:
        """Light and glasses are what the condition says."""
        light = LIGHTS.get(self.condition, sampled.light_azimuth)
        glasses = 0.03 if self.condition == "glasses" else 0.0
        return replace(sampled, light_azimuth=light, glasses=glasses)


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Picture]:  # noqa: ARG001
    """Eleven photographs a person, 165 of fifteen people.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    pictures = []
    for index in range(num_subjects):
        subject = f"{index + 1:02d}"
        for condition in CONDITIONS:
            shown = REPLACED.get((subject, condition), condition)
            number, expression = list(CONDITIONS).index(shown) + 1, CONDITIONS[shown]
            pictures.append(
                Picture(FIRST_PERSON + index, subject, number, expression, 1, HEIGHT, WIDTH, False, condition)
            )
    return pictures


LAYOUT = Layout(plan, NUM_SUBJECTS, published=lambda seed: plan(MAX_SUBJECTS, seed))
