"""Oulu-CASIA's layout and counts; faces are drawn in one light (Zhao et al. 2011, doi:10.1016/j.imavis.2011.07.002)."""

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from fertools.drawn.recording import THUMBNAILS, Frames, Layout, check_number

NUM_SUBJECTS = 80
MAX_SUBJECTS = 999  # a subject's name has three digits
LABELS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
CONDITIONS = ("VL/Strong", "VL/Weak", "VL/Dark", "NI/Strong", "NI/Weak", "NI/Dark")
FIRST_PERSON = 1000  # of those that a seed can draw; CK+ has those before
SHORTEST, LONGEST = 9, 11  # frames; the published sequences have 9 to 72


@dataclass(frozen=True)
class Sequence(Frames):
    """One recording; its folder is its label. A person's are numbered through all conditions."""

    @property
    def folder(self) -> PurePosixPath:
        """Where the images lie, below the root."""
        condition, label = divmod(self.number - 1, len(LABELS))
        return PurePosixPath("OriginalImg", CONDITIONS[condition], self.subject, LABELS[label])

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
    check_number(num_subjects, MAX_SUBJECTS)
    lengths = np.random.default_rng([seed, 0]).integers(SHORTEST, LONGEST + 1, (num_subjects, len(LABELS))).tolist()
    return [
        Sequence(
            FIRST_PERSON + index, f"P{index + 1:03d}", number, label.lower(), lengths[index][number - 1], 240, 320, True
        )
        for index in range(num_subjects)
        for number, label in enumerate(LABELS, start=1)
    ]


def published(seed: int) -> list[Sequence]:
    """480 sequences in each of the six conditions."""
    return [
        replace(sequence, number=condition * len(LABELS) + sequence.number)
        for condition in range(len(CONDITIONS))
        for sequence in plan(NUM_SUBJECTS, seed)
    ]


LAYOUT = Layout(plan, NUM_SUBJECTS, published)
