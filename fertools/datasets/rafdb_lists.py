"""What RAF-DB's copies share: the names of its images, and lists with an image and its label a line."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fertools.datasets.base import DatasetError, Quarantined
from fertools.datasets.readers import raw_folder
from fertools.inputs import codes
from manifests.text import printable

FREQUENCIES = {  # of both parts, as published
    "surprise": 1619, "fear": 355, "disgust": 877, "happiness": 5957, "sadness": 2460, "anger": 867, "neutral": 3204,
}  # fmt: skip
LABELS = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happiness",
    "5": "sadness",
    "6": "anger",
    "7": "neutral",
}
IMAGE = re.compile(
    r"(?P<image>(?P<split>train|test)_(?P<number>\d{3,5}))(?P<ending>_aligned)?\.(?:jpe?g|png)", re.IGNORECASE
)
COPY = re.compile(r"(?P<split>train|test)_\d{3,5}(?!\d)", re.IGNORECASE)
LAST = {"train": "12271", "test": "3068"}  # numbers start at 1 and are as long as these
ALIGNED = "_aligned"  # what a crop's name adds to its image's
Labels = defaultdict[str, set[str]]  # image, such as train_00001 -> its published labels; there should be one


def image_of(path: Path) -> str | None:
    """Return the image that a file is by its name, such as train_00001; null where that is none."""
    name = IMAGE.fullmatch(path.name)
    return name["image"].lower() if name else None


def fault(path: Path, ending: str, split: str | None = None) -> str | None:
    """Return what is wrong with a file, by its name; null: nothing.

    Args:
        path: of the file.
        ending: what its name should add to its image's: ALIGNED, or nothing.
        split: of the folder it is in, if that is one of a split.
    """
    if not (name := IMAGE.fullmatch(path.name)):
        if not (copy := COPY.search(path.name)):
            return "not the name of a RAF-DB image, such as train_00001_aligned.jpg"
        whose = copy["split"].lower()
        leak = f"; it shows a {whose} image to the {split} part" if split not in (None, whose) else ""
        return f"not a published name but a copy of {copy[0]}, augmented or edited{leak}"
    own, number = name["split"].lower(), name["number"]
    if len(number) != len(LAST[own]):
        return f"a {own} image has {len(LAST[own])} digits; this is the name of another set, such as the compound one"
    if not 1 <= int(number) <= int(LAST[own]):
        return f"no published image: the {own} images are 1 to {LAST[own]}"
    if split not in (None, own):
        return f"an image of the {own} part, among those of {split}"
    if (name["ending"] or "").lower() != ending:
        return "an original image among aligned ones" if ending else "an aligned image among originals"
    return None


def check_codes(root: Path, path: Path, written: Iterable[str]) -> None:
    """Refuse labels that are numbered otherwise than RAF-DB's.

    Raises:
        DatasetError: they are; the message says how.
    """
    try:
        codes.check(codes.numbers(written), LABELS, FREQUENCIES)
    except codes.CodesError as error:
        raise DatasetError(f"{printable(root / path)}: {error}") from error


def read_labels(
    root: Path, path: Path, labels: Labels, split: str | None = None, recode: Mapping[str, str] | None = None
) -> Iterator[Quarantined]:
    """Add the labels of a list, which names images of one split or of all, and yield the lines that are wrong.

    A line is `train_00001.jpg 5` or `train_00001_aligned.jpg,5`; further columns are not read.

    Raises:
        DatasetError: the file is no list, one of the compound subset, or one that numbers its labels otherwise.
    """
    if not recode:
        check_codes(root, path, (label for _, _, _, label in _entries(root, path)))
    for number, line, file, label in _entries(root, path):
        code = recode.get(label, "") if recode else label
        name = IMAGE.fullmatch(file)
        if name is None or not code.isdecimal():
            yield Quarantined(path, f"line {number}: {line[:40]!r} is not an image and its label")
            continue
        own, image = name["split"].lower(), name["image"].lower()
        if len(name["number"]) < len(LAST[own]) or int(code[:9]) > len(LABELS):
            raise DatasetError(
                f"{root / path}: line {number}, {line[:40]!r}, is of the compound subset (labels 1 to 11, train_0001, "
                "test_001), which is not read; --raw names the folder of the basic one"
            )
        if code not in LABELS:
            yield Quarantined(path, f"line {number}: the label {label} of {file} is not one of 1 to 7")
        elif split not in (None, own):
            yield Quarantined(path, f"line {number}: {file} is an image of the {own} part")
        elif code in labels[image]:
            yield Quarantined(path, f"line {number}: {file} again", "duplicate")
        else:
            labels[image].add(code)


def _entries(root: Path, path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield line number, line, file and label of every line of a list that is not blank and no header."""
    for number, line in enumerate(raw_folder.lines(root, path), 1):
        file, label, *_ = [*re.split(r"[\s,;]+", line.strip().replace('"', ""), maxsplit=2), "", ""]
        if line.strip() and not (number == 1 and file.lower() == "image"):
            yield number, line, file.replace("\\", "/").rpartition("/")[2], label
