"""Oulu-CASIA's layout and counts in visible strong light (Zhao et al. 2011, doi:10.1016/j.imavis.2011.07.002)."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from fertools.drawn.recording import Recording
from fertools.errors import FertoolsError

NUM_SUBJECTS = 80
MAX_SUBJECTS = 999  # a subject's name has three digits
LABELS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
FIRST_PERSON = 1000  # of those that a seed can draw; CK+ has those before
SHORTEST, LONGEST = 9, 11  # frames; the published sequences have 9 to 72
THUMBNAILS = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(24)  # what copies carry along from Windows


@dataclass(frozen=True)
class Sequence(Recording):
    """One recording; its label is its folder."""

    @property
    def folder(self) -> PurePosixPath:
        """Where the images lie, below the root."""
        return PurePosixPath("OriginalImg/VL/Strong", self.subject, LABELS[self.number - 1])

    @property
    def frames(self) -> list[PurePosixPath]:
        """Paths of all images below the root, from neutral to peak; they are numbered from 0."""
        return [self.folder / f"{frame:03d}.jpeg" for frame in range(self.num_frames)]

    @property
    def beside(self) -> dict[PurePosixPath, bytes | None]:
        """Thumbnails, here and there."""
        return {self.folder / "Thumbs.db": THUMBNAILS} if (self.subject_index + self.number) % 9 == 4 else {}


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Sequence]:
    """All sequences of a corpus, subject by subject: six a subject, 480 of 80 subjects as published.

    They are other people than those of a drawn CK+ of the same seed.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    if not 2 <= num_subjects <= MAX_SUBJECTS:
        raise FertoolsError(f"{num_subjects} subjects cannot be drawn: ask for 2 to {MAX_SUBJECTS}")
    lengths = np.random.default_rng([seed, 0]).integers(SHORTEST, LONGEST + 1, (num_subjects, len(LABELS))).tolist()
    return [
        Sequence(
            FIRST_PERSON + index, f"P{index + 1:03d}", number, label.lower(), lengths[index][number - 1], 240, 320, True
        )
        for index in range(num_subjects)
        for number, label in enumerate(LABELS, start=1)
    ]
