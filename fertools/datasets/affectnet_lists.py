"""AffectNet of 2017: photographs of any size, and lists with a row a face: its box, 68 landmarks and expression."""

import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fertools.datasets.base import Box, DatasetError, Landmarks, Quarantined, Sample, files_below
from fertools.datasets.readers import raw_folder
from fertools.inputs import codes
from fertools.inputs.names import fold
from manifests.text import printable

SPLITS = {"training.csv": "train", "validation.csv": "test"}
COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
)
NUM_COLUMNS = 9  # valence and arousal, which are not read, are the last
LABELS = {  # 8 (none), 9 (uncertain) and 10 (no face) are labels of samples, and no expression
    "0": "neutral",
    "1": "happiness",
    "2": "sadness",
    "3": "surprise",
    "4": "fear",
    "5": "disgust",
    "6": "anger",
    "7": "contempt",
}
CODES = tuple(map(str, range(11)))
FREQUENCIES = {  # of the training part, as published
    "neutral": 74874, "happiness": 134416, "sadness": 25459, "surprise": 14090, "fear": 6378, "disgust": 3803,
    "anger": 24882, "contempt": 3750,
}  # fmt: skip
NUM_LANDMARKS = 68


def check_codes(where: Path, counts: Mapping[int, int], published: Sequence[str], split: str) -> None:
    """Refuse classes that are numbered otherwise than AffectNet's.

    Args:
        where: the list or folder, for the message.
        counts: number as written -> how many.
        published: the numbers that there are.
        split: train or test, in which all classes are equally frequent.

    Raises:
        DatasetError: they are; the message says how.
    """
    expressions = {code: num for code, num in counts.items() if str(code) in LABELS}
    try:
        codes.check(counts, {code: LABELS.get(code, "none") for code in published}, {})
        codes.check(expressions, LABELS, FREQUENCIES if split == "train" else {})
    except codes.CodesError as error:
        raise DatasetError(f"{printable(where)}: {error}") from error


def samples(
    root: Path, lists: Mapping[str, Path], images: Path, recode: Mapping[str, str] | None = None
) -> Iterator[Sample | Quarantined]:
    """Yield every row of the lists, in their order, then the images that none of them names.

    Args:
        root: the raw folder.
        lists: `training.csv`, `validation.csv` or both -> where it is.
        images: the folder of the images.
        recode: number as written -> as published; null: as published.

    Raises:
        DatasetError: not a list of AffectNet, or one that numbers its classes otherwise.
    """
    repeated, counts = _repeated(root, lists)
    for name, path in lists.items() if not recode else ():
        check_codes(root / path, codes.numbers(counts[name]), CODES, SPLITS[name])
    code_of = recode or {code: code for code in CODES}
    on_disk: dict[str, str] = {}
    yield from _list_images(root, images, on_disk)
    unlisted = set(on_disk)
    for name, split in SPLITS.items():
        if name not in lists:
            yield Quarantined(next(iter(lists.values())).with_name(name), f"missing: the {split} part is not read")
            continue
        for number, cells in _rows(root, lists[name]):
            where = f"{name}, line {number}"
            if isinstance(cells, str):
                yield Quarantined(lists[name], f"line {number}: {cells}")
            elif (key := fold(cells[0])) not in on_disk:
                inside = not cells[0].startswith("/") and ".." not in cells[0].split("/")
                path = images / cells[0] if inside else lists[name]
                yield Quarantined(path, f"{where}: {printable(cells[0], 100)!r} is not found")
            else:
                unlisted.discard(key)
                face = _face(images / on_disk[key], [*cells[:6], code_of.get(_code(cells[6]), cells[6])], split, where)
                box = ",".join(cells[1:5])
                yield _numbered(face, repeated[key], box, where) if key in repeated else face
    if len(lists) == len(SPLITS):
        for key in sorted(unlisted):
            yield Quarantined(images / on_disk[key], "named in no list")


def _list_images(root: Path, images: Path, on_disk: dict[str, str]) -> Iterator[Quarantined]:
    """Fill in the names below a folder, by their lower case, as some copies changed the case of endings."""
    for path in files_below(root, images):
        if isinstance(path, Quarantined):
            yield path
        elif (key := fold(name := path.as_posix().removeprefix(f"{images.as_posix()}/"))) in on_disk:
            yield Quarantined(path, f"differs from {on_disk[key]} in case only", "duplicate")
        else:
            on_disk[key] = key if name == key else name  # most are one string


@dataclass
class _Repeated:
    """An image that several rows name."""

    has_several: bool  # faces: the rows' boxes differ
    boxes: list[Box | None] = field(default_factory=list)  # of the rows read so far
    labels: dict[str, set[str]] = field(default_factory=dict)  # box as written -> its labels


def _repeated(root: Path, lists: Mapping[str, Path]) -> tuple[dict[str, _Repeated], dict[str, Counter[str]]]:
    """Return the images, by folded name, that several rows name, and how often each list has each label."""
    first: dict[str, tuple[str, str]] = {}  # box and label
    repeated: dict[str, _Repeated] = {}
    counts: dict[str, Counter[str]] = {name: Counter() for name in lists}
    for name, path in lists.items():
        for _, cells in _rows(root, path):
            if isinstance(cells, str):
                continue
            key, box, label = fold(cells[0]), ",".join(cells[1:5]), _code(cells[6])
            counts[name][label] += 1
            if key in first:
                if key not in repeated:
                    repeated[key] = _Repeated(has_several=False, labels={first[key][0]: {first[key][1]}})
                repeated[key].has_several |= box != first[key][0]
                repeated[key].labels.setdefault(box, set()).add(label)
            else:
                first[key] = (box, sys.intern(label))
    return repeated, counts


def _numbered(face: Sample | Quarantined, image: _Repeated, box: str, where: str) -> Sample | Quarantined:
    """Return a face, of a box as written, of an image that several rows name, with its number if they name several."""
    if isinstance(face, Quarantined):
        return face
    if len(labels := image.labels[box]) > 1:
        return Quarantined(face.path, f"{where}: the lists give this face the labels {' and '.join(sorted(labels))}")
    if face.box in image.boxes:
        return Quarantined(face.path, f"{where}: the same face again", "duplicate")
    image.boxes.append(face.box)
    return replace(face, face=len(image.boxes)) if image.has_several else face


def _rows(root: Path, path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """Yield line number and the cells of COLUMNS, or what is wrong with the line; there may be no header.

    Raises:
        DatasetError: not a list of AffectNet.
    """
    order: Sequence[int] = range(len(COLUMNS))
    num_columns, separator = NUM_COLUMNS, ","
    for number, line in enumerate(raw_folder.lines(root, path), 1):
        if number == 1 and line.count("\t") >= len(COLUMNS) - 1:
            separator = "\t"
        cells = [cell.strip(' "') for cell in line.split(separator)]
        if number == 1 and COLUMNS[0] in cells:
            if missing := [column for column in COLUMNS if column not in cells]:
                raise DatasetError(f"{root / path}: no column {' or '.join(missing)}; found {', '.join(cells)[:200]}")
            order, num_columns = [cells.index(column) for column in COLUMNS], len(cells)
        elif number == 1 and len(cells) != NUM_COLUMNS:
            raise DatasetError(
                f"{root / path}: its first line {line[:60]!r} is neither the header {COLUMNS[0]},... nor a row"
            )
        elif len(cells) == num_columns:
            yield number, [cells[order[0]].replace("\\", "/"), *(cells[column] for column in order[1:])]
        elif line.strip():
            yield number, f"{len(cells)} columns, not {num_columns}"


def _face(path: Path, cells: Sequence[str], split: str, where: str) -> Sample | Quarantined:
    """Read one row, of an image's path, the cells of COLUMNS, the list's split, and the row's place in words."""
    label = _code(cells[6])
    if label not in CODES:
        return Quarantined(path, f"{where}: the expression {label[:20]!r} is not one of 0 to 10")
    try:
        box = _box(cells[1:5])
        landmarks = five_points(cells[5].split(";")) if box and cells[5] else None
    except ValueError as error:
        return Quarantined(path, f"{where}: {error}")
    return Sample(path, CODES[int(label)], split=split, box=box, landmarks=landmarks)


def _code(cell: str) -> str:
    """Return a label as a number without fraction, as far as it is one."""
    return cell.removesuffix(".0")


def _box(cells: Sequence[str]) -> Box | None:
    """Return a box from x, y, width, height; null where these are negative: no face was marked."""
    x, y, width, height = map(_number, cells)
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def _number(text: str | float) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def five_points(numbers: Sequence[str] | Sequence[float]) -> Landmarks:
    """Return eye centres, nose tip and mouth corners from 68 landmarks x, y in the order of iBUG 300-W.

    An eye's centre is the mean of the six points around it.

    Raises:
        ValueError: not 68 points, or one that is no number.

    Source:
        Sagonas et al. 2013, Fig. 1, doi:10.1109/ICCVW.2013.59; there, points count from 1, here from 0.
    """
    if len(numbers) != 2 * NUM_LANDMARKS:
        raise ValueError(f"{len(numbers)} numbers for {NUM_LANDMARKS} landmarks")
    points = ((36, 42), (42, 48), (30, 31), (48, 49), (54, 55))  # first and after the last
    return tuple(
        sum(map(_number, numbers[2 * first + axis : 2 * end : 2])) / (end - first)
        for first, end in points
        for axis in (0, 1)
    )
