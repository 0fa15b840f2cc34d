"""The layout and the counts of CK+ (Lucey et al. 2010, doi:10.1109/CVPRW.2010.5543262; Kanade et al. 2000)."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from fertools.drawn.face.expressions import EXPRESSIONS
from fertools.drawn.recording import FINDER_FILE, Frames, Layout, check_number

NUM_SUBJECTS, NUM_LABELLED, NUM_CONTEMPT_ONLY, NUM_UNLABELLED = 123, 118, 12, 266
NUM_SEQUENCES = dict(anger=45, contempt=18, disgust=59, fear=25, happiness=69, sadness=28, surprise=83)
MAX_SUBJECTS = 990  # a subject's name has three digits


@dataclass(frozen=True)
class Sequence(Frames):
    """One recording, with its label in a folder of its own."""

    label_folder: bool  # an unlabelled sequence has an empty folder, or none

    @property
    def folder(self) -> PurePosixPath:
        """Where the images lie, below the root."""
        return PurePosixPath("cohn-kanade-images", self.subject, f"{self.number:03d}")

    @property
    def frames(self) -> list[PurePosixPath]:
        """Paths of all images below the root, from neutral to peak; they are numbered from 1."""
        stem = f"{self.subject}_{self.number:03d}"
        return [self.folder / f"{stem}_{frame:08d}.png" for frame in range(1, self.num_frames + 1)]

    @property
    def label(self) -> tuple[PurePosixPath, str]:
        """The file that labels the last image: its path below the root, and its text, "" where there is no label."""
        path = PurePosixPath("Emotion", *self.folder.parts[1:], self.frames[-1].stem + "_emotion.txt")
        if self.expression is None:
            return path, ""
        return path, f"   {EXPRESSIONS.index(self.expression) + 1:.7e}\n"

    @property
    def beside(self) -> dict[PurePosixPath, bytes | None]:
        """The label, or an empty folder, or nothing; and the Mac's litter."""
        found: dict[PurePosixPath, bytes | None] = {}
        path, text = self.label
        if text:
            found[path] = text.encode()
        elif self.label_folder:
            found[path.parent] = None
        if (self.subject_index + self.number) % 9 == 1:
            found[self.folder / ".DS_Store"] = FINDER_FILE
        if self.subject_index % 7 == 1:
            found[self.folder.parent / ".DS_Store"] = FINDER_FILE
        return found


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Sequence]:
    """All sequences of a corpus, subject by subject.

    With 123 subjects it has the published counts: 593 sequences, of which 327 of 118 subjects are labelled, at most one
    a subject and expression; 12 subjects have contempt only. Other numbers of subjects are in proportion.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    rng = np.random.default_rng([seed, 0])
    return [
        _sequence(index, subject, number, expression, rng)
        for (index, subject), expressions in zip(enumerate(names(num_subjects)), _deal(num_subjects, rng), strict=True)
        for number, expression in enumerate(expressions, start=1)
    ]


def names(num_subjects: int) -> list[str]:
    """Ascending subject names with gaps, as the original's; up to 123 subjects, one keeps its name in any number."""
    stride = min(MAX_SUBJECTS // num_subjects, 8)
    gaps = np.random.default_rng(0).integers(0, stride, num_subjects)
    return [f"S{5 + stride * index + int(gap) * (index > 0):03d}" for index, gap in enumerate(gaps)]


def _sequence(index: int, subject: str, number: int, expression: str | None, rng: np.random.Generator) -> Sequence:
    """One recording; most are grey 640 x 490, those of some subjects colour 640 x 480, of one in 60 grey 720 x 480."""
    height, width, colour = 490, 640, False
    if index % 8 == 5:
        height, colour = 480, True
    elif index % 60 == 31:
        height, width = 480, 720
    num_frames, label_folder = int(rng.integers(6, 10)), expression is not None or bool(rng.uniform() < 0.5)
    return Sequence(index, subject, number, expression, num_frames, height, width, colour, label_folder)


def _deal(num_subjects: int, rng: np.random.Generator) -> list[list[str | None]]:
    """The expressions of every subject's sequences, None where unlabelled, in random order."""
    share = num_subjects / NUM_SUBJECTS
    labelled = rng.permutation(num_subjects)[: max(round(NUM_LABELLED * share), 2)].tolist()
    num_contempt_only = round(NUM_CONTEMPT_ONLY * share)
    contempt_only, others = labelled[:num_contempt_only], labelled[num_contempt_only:]
    counts = {name: min(max(round(count * share), 1), len(others)) for name, count in NUM_SEQUENCES.items()}
    counts["contempt"] = max(round(NUM_SEQUENCES["contempt"] * share) - num_contempt_only, 0 if contempt_only else 1)
    dealt: list[list[str | None]] = [
        ["contempt"] if subject in contempt_only else [] for subject in range(num_subjects)
    ]
    first = [name for name in EXPRESSIONS if name != "contempt" for _ in range(counts[name])]
    for subject, name in zip(others, rng.permutation(first).tolist(), strict=False):  # everyone gets one of the six
        dealt[subject].append(name)
        counts[name] -= 1
    for name, count in counts.items():
        free = [subject for subject in others if name not in dealt[subject]]
        for subject in rng.permutation(free)[:count].tolist():
            dealt[subject].append(name)
    unlabelled = [subject for subject in range(num_subjects) if not dealt[subject]] * 2
    unlabelled += rng.integers(0, num_subjects, round(NUM_UNLABELLED * share) - len(unlabelled)).tolist()
    for subject in unlabelled:
        dealt[subject].append(None)
    return [[expressions[place] for place in rng.permutation(len(expressions)).tolist()] for expressions in dealt]


LAYOUT = Layout(plan, NUM_SUBJECTS, published=lambda seed: plan(NUM_SUBJECTS, seed))
