"""BU-3DFE's layout and counts: frontal textures, and stubs of the scans (Yin et al. 2006, doi:10.1109/FGR.2006.6)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from fertools.drawn.face.factors import Nuisance
from fertools.drawn.layouts.photographs import close_up
from fertools.drawn.recording import THUMBNAILS, Image, Layout, Recording, check_number

NUM_SUBJECTS, MAX_SUBJECTS = 4, 100
FIRST_PERSON = 2000
CODES = dict(neutral="NE", anger="AN", disgust="DI", fear="FE", happiness="HA", sadness="SA", surprise="SU")
LEVELS = (0.4, 0.6, 0.8, 1.0)  # of the peak
NUM_WOMEN, NUM_MEN = 56, 44
RACES = ("WH", "AE", "AM", "BL", "IN", "LA")
SIZE = 256  # px; that of the original textures is not known here


@dataclass(frozen=True)
class Scans(Recording):
    """One expression of a person in four intensities, or the neutral face."""

    @property
    def images(self) -> list[Image]:
        """The frontal textures."""
        folder, race = PurePosixPath("Subjects", self.subject), RACES[self.subject_index % len(RACES)]
        code, first = CODES[str(self.expression)], int(self.expression != "neutral")
        return [
            Image(folder / f"{self.subject}_{code}{first + place:02d}{race}_F2D.bmp", first + place, place)
            for place in range(self.num_frames)
        ]

    @property
    def files(self) -> list[PurePosixPath]:
        """The frontal textures."""
        return [image.path for image in self.images]

    @property
    def beside(self) -> Mapping[PurePosixPath, bytes | None]:
        """Stubs of the neutral scan's models, of the first person; and thumbnails."""
        if self.expression != "neutral" or self.subject_index != FIRST_PERSON:
            return {}
        path = self.files[0]
        stem = path.stem.removesuffix("_F2D")
        models = {
            f"{stem}_F3D.wrl": b"#VRML V2.0 utf8\n",
            f"{stem}_F3D.bnd": b"",
            f"{stem}_RAW.wrl": b"#VRML V2.0 utf8\n",
        }
        return {path.with_name(name): text for name, text in models.items()} | {path.with_name("Thumbs.db"): THUMBNAILS}

    @property
    def sequence(self) -> str:
        """The expression's code."""
        return CODES[str(self.expression)]

    def parts(self, rng: np.random.Generator) -> list[float]:  # noqa: ARG002
        """The four intensities."""
        return [0.0] if self.expression == "neutral" else list(LEVELS)

    def circumstances(self, sampled: Nuisance) -> Nuisance:
        """From the front, before nothing."""
        return replace(
            close_up(sampled), yaw=0.3 * sampled.yaw, roll=0.3 * sampled.roll,
            pitch=0.3 * sampled.pitch, scenery="plain", scenery_tone=0.02, glasses=0.0,
        )  # fmt: skip


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Scans]:  # noqa: ARG001
    """25 textures a person, 2,500 of 100 people as published; women and men in turn.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    pairs = [name for number in range(1, NUM_MEN + 1) for name in (f"F{number:04d}", f"M{number:04d}")]
    names = pairs + [f"F{number:04d}" for number in range(NUM_MEN + 1, NUM_WOMEN + 1)]
    return [
        Scans(
            FIRST_PERSON + index, subject, number, expression, 1 if expression == "neutral" else len(LEVELS),
            SIZE, SIZE, True,
        )
        for index, subject in enumerate(names[:num_subjects])
        for number, expression in enumerate(CODES, start=1)
    ]  # fmt: skip


LAYOUT = Layout(plan, NUM_SUBJECTS, published=lambda seed: plan(MAX_SUBJECTS, seed))
