"""RAF-DB's annotations of an original: the face's box, five landmarks, and who is shown, as its readme codes them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fertools.datasets.base import Quarantined, Sample
from fertools.datasets.readers import raw_folder

BOXES, MANUAL = "boundingbox", "manual"  # folders
ENDINGS = {BOXES: "_boundingbox.txt", MANUAL: "_manu_attri.txt"}  # what the names of files add to their image's
WHO = {  # column: what the codes 0, 1, ... of its line mean; one line each, in this order, below the landmarks
    "gender": ("male", "female", "unsure"),
    "race": ("Caucasian", "African-American", "Asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70+"),
}
NUM_LANDMARKS = 5
MAX_BYTES = 4096
Shelf = Mapping[str, Path]  # folder of annotations, in lower case -> where it lies


def annotated(root: Path, shelf: Shelf, sample: Sample) -> Iterator[Sample | Quarantined]:
    """Yield an original with all that is annotated, and what is wrong with it."""
    known: dict[str, Any] = {}
    for folder, ending in ENDINGS.items():
        if folder not in shelf:
            continue
        path = shelf[folder] / f"{sample.path.stem}{ending}"
        try:
            lines = _lines(root, path)
            if folder == BOXES:
                known["box"] = _numbers(lines, 1, 4)
            else:
                known["landmarks"] = _numbers(lines, NUM_LANDMARKS, 2)
                known |= _who(lines)
        except (OSError, ValueError) as error:
            yield Quarantined(path, f"not read: {error}")
    yield replace(sample, **known)


def described(root: Path, shelf: Shelf, image: str, sample: Sample) -> Iterator[Sample | Quarantined]:
    """Yield a crop with who is shown, where a file says it; boxes and landmarks are of its original.

    Args:
        root: the raw folder.
        shelf: folders of annotations.
        image: such as train_00001.
        sample: the crop.
    """
    path = shelf.get(MANUAL, Path()) / f"{image}{ENDINGS[MANUAL]}"
    if MANUAL in shelf and (root / path).exists():
        try:
            sample = replace(sample, **_who(_lines(root, path)))
        except (OSError, ValueError) as error:
            yield Quarantined(path, f"not read: {error}")
    yield sample


def _lines(root: Path, path: Path) -> list[str]:
    """Return the lines of an annotation.

    Raises:
        ValueError: it is missing or lies elsewhere; the message is the reason.
        OSError: it cannot be read.
    """
    if not raw_folder.is_file_below(root, path):
        raise ValueError("missing, or a link that leaves the raw folder")
    with (root / path).open("rb") as file:
        return file.read(MAX_BYTES).decode("utf-8-sig", "replace").splitlines()


def _numbers(lines: Sequence[str], num_lines: int, each: int) -> tuple[float, ...]:
    """Return the numbers in the first lines of an annotation.

    Raises:
        ValueError: there are others than expected; the message is the reason.
    """
    cells = [line.split() for line in lines[:num_lines]]
    if [len(line) for line in cells] != [each] * num_lines:
        raise ValueError(
            f"it starts with {' '.join(lines[:num_lines])[:40]!r}, not with {num_lines} lines of {each} numbers"
        )
    numbers = tuple(float(cell) for line in cells for cell in line)
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a number is not finite")
    return numbers


def _who(lines: Sequence[str]) -> dict[str, Any]:
    """Return gender, race and age of who is shown, by the lines below the landmarks.

    Raises:
        ValueError: they hold other codes than the published ones; the message is the reason.
    """
    written = [line.strip() for line in lines[NUM_LANDMARKS : NUM_LANDMARKS + len(WHO)]]
    meant = [dict(zip(map(str, range(len(words))), words, strict=True)) for words in WHO.values()]
    if len(written) < len(WHO) or any(code not in words for code, words in zip(written, meant, strict=True)):
        expected = ", ".join(f"{name} 0 to {len(words) - 1}" for name, words in WHO.items())
        raise ValueError(f"below the landmarks it has {' '.join(written)[:40]!r}, not {expected}, a line each")
    return {name: words[code] for name, code, words in zip(WHO, written, meant, strict=True)}
