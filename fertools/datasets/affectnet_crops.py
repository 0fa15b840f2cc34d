"""AffectNet as crops of single faces, each with annotations of its own.

The crops of 2021 have NumPy arrays beside them: 12_exp.npy (expression), 12_lnd.npy (68 landmarks, px of the crop).
AffectNet+ has one JSON file instead: 12.json, with human-label, landmark-68 and more.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fertools.datasets.affectnet_lists import CODES, LABELS, check_codes, five_points
from fertools.datasets.base import DatasetError, Landmarks, Quarantined, Sample, files_below
from fertools.datasets.readers import raw_folder
from fertools.datasets.readers.npy import read_numbers
from fertools.inputs.codes import numbers
from manifests.text import printable

SPLITS = {"train_set": "train", "val_set": "test", "valid_set": "test", "validation_set": "test"}
ARRAY, JSON = "_exp.npy", ".json"
LANDMARKS = "_lnd.npy"
IMAGES = (".jpg", ".jpeg", ".png")
MAX_JSON = 65_536  # bytes


def samples(
    root: Path, images: Path, annotations: Path, split: str, recode: Mapping[str, str] | None = None
) -> Iterator[Sample | Quarantined]:
    """Yield every crop of one part in path order, and what is annotated but not there.

    Raises:
        DatasetError: the classes are numbered otherwise than AffectNet's.
    """
    annotated: dict[str, str] = {}  # image, by its name without ending -> what its annotation's name adds
    yield from _annotated(root, annotations, annotated)
    items = list(_crops(root, images, annotations, annotated, split))
    if not recode:
        written = numbers(item.label or "" for item in items if isinstance(item, Sample))
        check_codes(root / images.parent, written, tuple(LABELS), split)
    code_of = recode or {code: code for code in CODES}
    for item in items:
        if isinstance(item, Quarantined):
            yield item
        elif (label := item.label or "") in code_of:
            yield replace(item, label=code_of[label]) if recode else item
        else:
            yield Quarantined(item.path, f"the expression {printable(label, 20)!r} is not one of 0 to 10")


def _crops(
    root: Path, images: Path, annotations: Path, annotated: dict[str, str], split: str
) -> Iterator[Sample | Quarantined]:
    """Yield the crops with their labels as written."""
    ending = ARRAY if ARRAY in annotated.values() else JSON
    last = None
    for path in files_below(root, images):
        if isinstance(path, Quarantined):
            yield path
        elif path.suffix.lower() not in IMAGES or path.parent != images:
            yield Quarantined(path, f"not an image in {images.name}/, such as 12.jpg")
        elif path.stem == last:  # files come sorted: 12.jpg, 12.png
            yield Quarantined(path, f"a second image {last}", "duplicate")
        elif not (found := annotated.pop(path.stem, None)):
            yield Quarantined(path, f"without a label: no {annotations.name}/{path.stem}{ending}")
        else:
            yield _crop(root, path, annotations / f"{path.stem}{found}", split)
            last = path.stem
    for name, found in sorted(annotated.items()):
        yield Quarantined(images / f"{name}.jpg", f"missing: {annotations.name}/{name}{found} labels it")


def _annotated(root: Path, annotations: Path, found: dict[str, str]) -> Iterator[Quarantined]:
    """Fill in which images have a label, and yield the links that are not followed."""
    with os.scandir(root / annotations) as entries:
        for entry in entries:
            ending = ARRAY if entry.name.endswith(ARRAY) else JSON
            if not entry.name.endswith(ending) or entry.name.startswith("."):
                continue
            if entry.is_symlink() and not raw_folder.is_file_below(root, annotations / entry.name):
                path = annotations / entry.name
                yield Quarantined(path, "a symbolic link that leaves the raw folder; it was not followed")
            elif found.get(name := entry.name.removesuffix(ending)) != ARRAY:
                found[name] = ending


def is_plus(annotations: Path) -> bool:
    """Whether annotations are those of AffectNet+; the first that is a label tells."""
    with os.scandir(annotations) as entries:
        endings = (entry.name for entry in entries if entry.name.endswith((ARRAY, JSON)))
        return next(endings, ARRAY).endswith(JSON)


def _crop(root: Path, path: Path, annotation: Path, split: str) -> Sample | Quarantined:
    """Read the label of one crop."""
    try:
        if annotation.name.endswith(ARRAY):
            numbers = read_numbers(root / annotation)
            label = f"{numbers[0]:g}" if len(numbers) == 1 else f"{len(numbers)} numbers"
        else:
            label = str(_read_json(root / annotation).get("human-label"))
    except DatasetError as error:
        return Quarantined(path, f"{annotation.name}: {error}")
    if not label.isdecimal() or len(label) > 2:
        return Quarantined(path, f"{annotation.name}: the expression {label[:20]!r} is not one of 0 to 10")
    return Sample(path, sys.intern(label), split=split)


def _read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file says.

    Raises:
        DatasetError: it cannot be read, is larger than 64 KiB, or no JSON object. The message is the reason.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON + 1)
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_JSON:
        raise DatasetError(f"larger than {MAX_JSON} bytes")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError("not a JSON object")
    return content


def landmarks(root: Path, sample: Sample) -> Landmarks | None:
    """Return the five points of a crop, from the 68 in its annotations; null where these give none."""
    part = sample.path.parent.parent
    for folder in (root / part).iterdir():
        if folder.name.lower() == "annotations":
            return _landmarks(root, part / folder.name, sample.path.stem)
    return None


def _landmarks(root: Path, annotations: Path, name: str) -> Landmarks | None:
    try:
        if raw_folder.is_file_below(root, path := annotations / f"{name}{LANDMARKS}"):
            return five_points(read_numbers(root / path))
        if raw_folder.is_file_below(root, path := annotations / f"{name}{JSON}"):
            return five_points(_flat(_read_json(root / path).get("meta-data", {}).get("landmark-68")))
    except (DatasetError, ValueError, TypeError, AttributeError):  # no 68 points, whatever stands there instead
        return None
    return None


def _flat(points: Any) -> list[float]:
    """Return x, y, x, y ... of points that are listed one by one or in pairs."""
    return [number for point in points for number in (point if isinstance(point, list) else [point])]
