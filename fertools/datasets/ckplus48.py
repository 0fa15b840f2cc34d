"""CK+48: a copy of CK+ that is handed around: 981 images, the last three frames of its 327 labelled sequences.

Cropped to the face, 48 x 48 grey. Subject and sequence stand in the names, so folds by subject can be made. It cannot
give what it left out: the neutral first frames, the 266 sequences without a label, the rest of the face, and detail
beyond 48 px. It has no official split. Lucey et al. 2010, doi:10.1109/CVPRW.2010.5543262.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fertools.datasets.base import Dataset, Quarantined, Release, Sample, files_below, refuse_folder
from fertools.datasets.ckplus import NAME
from fertools.datasets.readers.copies import set_aside

LABELS = {
    "anger": "anger",
    "contempt": "contempt",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sadness": "sadness",
    "surprise": "surprise",
}
NUM_FRAMES = 3  # of a sequence, consecutive


def samples(root: Path, labels: Path | None = None) -> Iterator[Sample | Quarantined]:
    """Yield every image of the expression folders, sequence by sequence, labelled with its folder."""
    assert labels is None, "CK+48 has its own labels"
    unknown: list[Quarantined] = []
    of_sequence: dict[str, dict[int, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in files_below(root, Path()) if root.is_dir() else ():
        if isinstance(path, Quarantined):
            unknown.append(path)
        elif path.parent.name.lower() not in LABELS:
            unknown.append(Quarantined(path, f"in none of the folders {', '.join(LABELS)}"))
        elif not (name := NAME.fullmatch(path.name)):
            unknown.append(Quarantined(path, "not the name of a CK+ frame, such as S010_004_00000017.png"))
        else:
            of_sequence[f"{name['subject'].upper()}/{name['session']}"][int(name["frame"])].append(path)
    if not of_sequence:
        raise refuse_folder(root, DATASET)
    yield from unknown
    for sequence, frames in of_sequence.items():
        yield from _sequence(root, sequence, frames)


def _sequence(root: Path, sequence: str, frames: dict[int, list[Path]]) -> Iterator[Sample | Quarantined]:
    """Yield the frames of one sequence, unless nobody can say which expression it shows."""
    paths = [path for found in frames.values() for path in found]
    if len(expressions := sorted({path.parent.name.lower() for path in paths})) > 1:
        for path in paths:
            yield Quarantined(path, f"{sequence} is in {' and in '.join(expressions)}; a sequence has one expression")
        return
    for frame, found in sorted(frames.items()):
        copies = [(path.suffix.lower() != ".png", path) for path in found]
        taken, others = set_aside(root, f"frame {frame} of {sequence}", copies)
        yield from others
        yield Sample(taken, expressions[0], sequence.partition("/")[0], sequence, frame)


def _gaps(root: Path) -> Iterator[Quarantined]:
    """Yield the sequences that do not have three consecutive frames."""
    of_sequence: dict[str, list[Sample]] = defaultdict(list)
    for item in samples(root):
        if isinstance(item, Sample) and item.sequence:
            of_sequence[item.sequence].append(item)
    for sequence, found in of_sequence.items():
        numbers = [item.frame or 0 for item in found]
        if numbers != list(range(numbers[-1] - NUM_FRAMES + 1, numbers[-1] + 1)):
            path = found[0].path.parent / f"{sequence.replace('/', '_')}_*.png"
            there = ", ".join(map(str, numbers))
            yield Quarantined(path, f"not {NUM_FRAMES} consecutive frames, but these: {there}")


DATASET = Dataset(
    name="ckplus48", title="CK+48", source="http://www.jeffcohn.net/Resources/ (as CK+, whose copy this is)",
    licence="CK+'s: signed agreement, non-commercial research; only some people may be shown in print",
    layout="CK+48/anger/S010_004_00000017.png ... and contempt, disgust, fear, happy, sadness, surprise; there is no "
    "neutral, and images are 48 x 48: prepare ckplus where you have the original",
    labels=LABELS, samples=samples, drawable=True, doubts=_gaps,
    releases=(
        Release(
            name="CK+48", subjects=118,
            counts={"all": {"anger": 135, "contempt": 54, "disgust": 177, "fear": 75, "happy": 207, "sadness": 84,
                            "surprise": 249}},
        ),
    ),
    examples={  # by hand, one per label: this is the adapter's documentation and its test
        "CK+48/anger/S010_004_00000019.png": ("anger", "S010"),
        "CK+48/contempt/S138_008_00000009.png": ("contempt", "S138"),
        "CK+48/disgust/S005_001_00000011.png": ("disgust", "S005"),
        "CK+48/fear/S011_003_00000014.png": ("fear", "S011"),
        "CK+48/happy/S010_006_00000015.png": ("happiness", "S010"),
        "CK+48/sadness/S011_002_00000022.png": ("sadness", "S011"),
        "CK+48/surprise/S010_002_00000014.png": ("surprise", "S010"),
    },
    example_texts={},
)  # fmt: skip
