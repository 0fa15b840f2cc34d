"""CK+ (Extended Cohn-Kanade): 593 posed sequences of 123 people, 327 of them labelled.

Sequences run from neutral to the peak; a label belongs to a sequence's last frame. Most images are 640 x 490 grey, some
640 x 480 or 720 x 480 colour. Lucey et al. 2010, doi:10.1109/CVPRW.2010.5543262; Kanade et al. 2000,
doi:10.1109/AFGR.2000.840611.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fertools.datasets.base import (
    Dataset,
    DatasetError,
    Quarantined,
    Release,
    Sample,
    files_below,
    find_folder,
    is_junk,
    refuse_folder,
)
from fertools.inputs.codes import CodesError, check, numbers
from fertools.inputs.links import is_followed
from fertools.inputs.table import encoding_of

NAME = re.compile(r"(?P<subject>S\d{3})_(?P<session>\d{3})_(?P<frame>\d{8})\.(?:png|jpe?g|tiff?|bmp)", re.IGNORECASE)
TEXT = re.compile(r"S\d{3}_\d{3}_(?P<frame>\d{8})_(?:emotion|facs|landmarks)\.txt", re.IGNORECASE)
COMPANIONS = re.compile(r"(^|/)(Emotion|FACS|Landmarks)/.*_(?:emotion|facs|landmarks)\.txt$", re.IGNORECASE)
MAX_GAP = 100  # frames that are named one by one; the longest labelled sequence has 71
LABELS = {
    "1": "anger",
    "2": "contempt",
    "3": "disgust",
    "4": "fear",
    "5": "happiness",
    "6": "sadness",
    "7": "surprise",
}

FREQUENCIES = {  # labelled sequences, as published
    "anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happiness": 69, "sadness": 28, "surprise": 83,
}  # fmt: skip


def samples(
    root: Path, labels: Path | None = None, recode: Mapping[str, str] | None = None
) -> Iterator[Sample | Quarantined]:
    """Yield every frame below root in path order, labelled with the code of its sequence; null where there is none.

    Args:
        root: the raw folder.
        labels: null.
        recode: label as written -> as published; null: as published.

    Raises:
        DatasetError: no CK+, or labels that are numbered otherwise than CK+'s.
    """
    assert labels is None, "CK+ has its own labels"
    if not root.is_dir() or not (images := find_folder(root, "cohn-kanade-images")):
        raise refuse_folder(root, DATASET)
    if not (emotion := find_folder(root, "Emotion")):
        raise refuse_folder(root, DATASET)
    codes: dict[str, str] = {}
    read = list(_labels(root, emotion))
    try:
        if not recode:
            check(numbers(item.code for item in read if isinstance(item, _Label)), LABELS, FREQUENCIES)
    except CodesError as error:
        raise DatasetError(f"{root / emotion}: {error}") from error
    code_of = recode or {code: code for code in LABELS}
    for found in read:
        if isinstance(found, Quarantined):
            yield found
        elif found.code not in code_of:
            yield Quarantined(found.path, f"the label {found.code!r} is not one of 1 to 7")
        else:
            codes[found.sequence] = code_of[found.code]
    yield from _empty_folders(root, images)
    yield from _frames_of(root, images, codes)


def _frames_of(root: Path, images: Path, codes: Mapping[str, str]) -> Iterator[Sample | Quarantined]:
    """Yield the frames, in path order; a converted one only where there is no original."""
    taken: dict[tuple[str, int], Path] = {}
    for path in sorted(files_below(root, images), key=_originals_first):
        if isinstance(path, Quarantined):
            yield path
        elif not (name := NAME.fullmatch(path.name)):
            yield Quarantined(path, "not the name of a CK+ frame, such as S005_001_00000011.png")
        else:
            sequence, number = f"{name['subject'].upper()}/{name['session']}", int(name["frame"])
            if (first := taken.setdefault((sequence, number), path)) != path:
                yield Quarantined(path, f"a second frame {number} of {sequence}; {first} is taken", "duplicate")
            else:
                yield Sample(path, codes.get(sequence), name["subject"].upper(), sequence, number)


def _originals_first(item: Path | Quarantined) -> tuple[str, bool, str]:
    """Order by path, but a PNG before other formats of the same frame."""
    path = item.path if isinstance(item, Quarantined) else item
    return path.with_suffix("").as_posix(), path.suffix.lower() != ".png", path.name


@dataclass(frozen=True, slots=True)
class _Label:
    """What a label file says."""

    path: Path
    sequence: str
    code: str


def _labels(root: Path, emotion: Path) -> Iterator[_Label | Quarantined]:
    """Yield every label; a sequence with two is quarantined, not guessed at."""
    of_folder = defaultdict(list)
    for path in files_below(root, emotion):
        if isinstance(path, Quarantined):
            yield path
        elif not path.name.lower().endswith("_emotion.txt"):
            yield Quarantined(path, "not the name of a label, such as S005_001_00000011_emotion.txt")
        else:
            of_folder[path.parent].append(path)
    for paths in of_folder.values():
        if len(paths) > 1:
            yield from (Quarantined(path, f"one of {len(paths)} label files; a sequence has one") for path in paths)
        else:
            yield _label(root, paths[0])


def _label(root: Path, path: Path) -> _Label | Quarantined:
    """Read one label: a number such as `   3.0000000e+00`; 0 is neutral, which CK+ never uses."""
    try:
        with (root / path).open("rb") as file:
            data = file.read(64)
        text = data.decode(encoding_of(data) or "utf-8", errors="replace").strip("\ufeff\0 \t\r\n")
        number = float(text)
    except OSError as error:
        return Quarantined(path, f"cannot be read: {error.strerror}")
    except ValueError:
        return Quarantined(path, f"the label {text[:20]!r} is not a number")
    return _Label(path, f"{path.parent.parent.name.upper()}/{path.parent.name}", f"{number:g}")


def _empty_folders(root: Path, images: Path) -> Iterator[Quarantined]:
    """Yield the sequence folders without a frame."""
    for folder, names in _sessions(root, images):
        if not any(map(NAME.fullmatch, names)):
            yield Quarantined(
                folder / "*.png" if any(not is_junk(name) for name in names) else folder,
                "a sequence folder without images",
            )


def _sessions(root: Path, top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder such as S005/001 of top and the names in it, in order; no link is followed."""
    for subject in sorted((root / top).iterdir()):
        if not is_followed(root, subject) or not subject.is_dir():
            continue
        for session in sorted(subject.iterdir()):
            if session.is_dir() and is_followed(root, session):
                yield session.relative_to(root), sorted(path.name for path in session.iterdir())


# --- what seems to be missing

Frames = dict[str, dict[int, Path]]  # sequence: number of frame: file


def doubts(root: Path) -> Iterator[Quarantined]:
    """Yield what seems to be missing: frames by their numbers, and what one of the four folders has and another lacks.

    These are doubts, as nobody publishes how many images there are: a number may never have been given.
    """
    frames = _frames(root, "cohn-kanade-images", NAME)
    texts = {name: _frames(root, name, TEXT) for name in ("Emotion", "FACS", "Landmarks")}
    images, landmarks = find_folder(root, "cohn-kanade-images"), find_folder(root, "Landmarks")
    for sequence in sorted({sequence for found in texts.values() for sequence in found} - frames.keys()):
        having = " and ".join(name for name, found in texts.items() if sequence in found)
        yield Quarantined((images or root) / sequence, f"a sequence that is not there, though {having} has it")
    for sequence, present in frames.items():
        if not present:
            continue
        told = {name: found.get(sequence, {}) for name, found in texts.items()}
        yield from _lacking(present, told)
        for name in ("Emotion", "FACS"):
            for number, path in told[name].items():
                if number in present and number < max(present):
                    yield Quarantined(path, f"is of frame {number}, and not of the last, {max(present)}")
        if landmarks:
            for number in sorted(present.keys() - told["Landmarks"].keys()):
                path = landmarks / sequence / f"{present[number].stem}_landmarks.txt"
                yield Quarantined(path, f"not there, though {present[number].name} is")


def _frames(root: Path, name: str, pattern: re.Pattern[str]) -> Frames:
    """Return what a folder holds of every sequence; nothing where there is no such folder."""
    found: Frames = {}
    top = find_folder(root, name)
    for folder, names in _sessions(root, top) if top else ():
        matches = (pattern.fullmatch(name) for name in names)
        found[f"{folder.parent.name.upper()}/{folder.name}"] = {int(m["frame"]): folder / m[0] for m in matches if m}
    return found


def _lacking(present: dict[int, Path], told: dict[str, dict[int, Path]]) -> Iterator[Quarantined]:
    """Yield the frames of one sequence that are not there, though a later one or a text about them is."""
    texts = {number: path for found in told.values() for number, path in found.items()}
    last = max(*present, *texts)
    some = present[min(present)]
    for number in sorted((texts.keys() | range(max(1, last - MAX_GAP), last)) - present.keys()):
        why = "a gap in the numbers of its sequence"
        if number in texts:
            why = f"{texts[number]} is of it"
        elif number < min(present):
            why = f"its sequence starts at {min(present)}"
        yield Quarantined(some.with_name(f"{some.stem[:-8]}{number:08d}.png"), f"not there: {why}")


COMPLETE = Release(
    name="2010", unit="sequences", subjects=123,
    counts={"all": {"1": 45, "2": 18, "3": 59, "4": 25, "5": 69, "6": 28, "7": 83, None: 266}},
)  # fmt: skip
DATASET = Dataset(
    name="ckplus", title="CK+", source="http://www.jeffcohn.net/Resources/",
    licence="signed agreement, non-commercial research; only some people may be shown in print",
    layout="cohn-kanade-images/S005/001/S005_001_00000001.png ... and Emotion/S005/001/S005_001_00000011_emotion.txt",
    labels=LABELS, samples=samples, drawable=True, releases=(COMPLETE,), doubts=doubts, codes=LABELS,
    companions=COMPANIONS,
    examples={  # by hand, one per label: this is the adapter's documentation and its test
        "cohn-kanade-images/S010/004/S010_004_00000019.png": ("anger", "S010"),
        "cohn-kanade-images/S138/008/S138_008_00000009.png": ("contempt", "S138"),
        "cohn-kanade-images/S005/001/S005_001_00000011.png": ("disgust", "S005"),
        "cohn-kanade-images/S011/003/S011_003_00000014.png": ("fear", "S011"),
        "cohn-kanade-images/S010/006/S010_006_00000015.png": ("happiness", "S010"),
        "cohn-kanade-images/S011/002/S011_002_00000022.png": ("sadness", "S011"),
        "cohn-kanade-images/S010/002/S010_002_00000014.png": ("surprise", "S010"),
    },
    example_texts={
        "Emotion/S010/004/S010_004_00000019_emotion.txt": "   1.0000000e+00\n",
        "Emotion/S138/008/S138_008_00000009_emotion.txt": "   2.0000000e+00\n",
        "Emotion/S005/001/S005_001_00000011_emotion.txt": "   3.0000000e+00\n",
        "Emotion/S011/003/S011_003_00000014_emotion.txt": "   4.0000000e+00\n",
        "Emotion/S010/006/S010_006_00000015_emotion.txt": "   5.0000000e+00\n",
        "Emotion/S011/002/S011_002_00000022_emotion.txt": "   6.0000000e+00\n",
        "Emotion/S010/002/S010_002_00000014_emotion.txt": "   7.0000000e+00\n",
    },
)  # fmt: skip
