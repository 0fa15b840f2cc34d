"""AffectNet of 2017: photographs of any size, and lists with a row a face: its box, 68 landmarks and expression."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fertools.datasets.base import Box, DatasetError, Landmarks, Quarantined, Sample, files_below
from fertools.datasets.readers import raw_folder

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
CODES = tuple(map(str, range(11)))  # 8 none, 9 uncertain, 10 no face: published labels, but no expression
NUM_LANDMARKS = 68


def samples(root: Path, lists: Mapping[str, Path], images: Path) -> Iterator[Sample | Quarantined]:
    """Yield every row of the lists, in their order, then the images that none of them names.

    Args:
        root: the raw folder.
        lists: `training.csv`, `validation.csv` or both -> where it is.
        images: the folder of the images.
    """
    repeated = _repeated(root, lists)
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
            elif (key := cells[0].lower()) not in on_disk:
                inside = not cells[0].startswith("/") and ".." not in cells[0].split("/")
                path = images / cells[0] if inside else lists[name]
                yield Quarantined(path, f"{where}: {cells[0][:100]!r} is not found")
            else:
                unlisted.discard(key)
                face = _face(images / on_disk[key], cells, split, where)
                yield _numbered(face, repeated[key], where) if key in repeated else face
    if len(lists) == len(SPLITS):
        for key in sorted(unlisted):
            yield Quarantined(images / on_disk[key], "named in no list")


def _list_images(root: Path, images: Path, on_disk: dict[str, str]) -> Iterator[Quarantined]:
    """Fill in the names below a folder, by their lower case, as some copies changed the case of endings."""
    for path in files_below(root, images):
        if isinstance(path, Quarantined):
            yield path
        elif (key := (name := path.as_posix().removeprefix(f"{images.as_posix()}/")).lower()) in on_disk:
            yield Quarantined(path, f"differs from {on_disk[key]} in case only", "duplicate")
        else:
            on_disk[key] = key if name == key else name  # most are one string


@dataclass
class _Repeated:
    """An image that several rows name."""

    has_several: bool  # faces: the rows' boxes differ
    boxes: list[Box | None] = field(default_factory=list)  # of the rows read so far


def _repeated(root: Path, lists: Mapping[str, Path]) -> dict[str, _Repeated]:
    """Return the images, in lower case, that several rows name."""
    box_of: dict[str, str] = {}
    repeated: dict[str, _Repeated] = {}
    for path in lists.values():
        for _, cells in _rows(root, path):
            if isinstance(cells, str):
                continue
            key, box = cells[0].lower(), ",".join(cells[1:5])
            if key in box_of:
                earlier = repeated.setdefault(key, _Repeated(has_several=False))
                earlier.has_several |= box != box_of[key]
            box_of[key] = box
    return repeated


def _numbered(face: Sample | Quarantined, image: _Repeated, where: str) -> Sample | Quarantined:
    """Return a face of an image that several rows name, with its number if they name several."""
    if isinstance(face, Quarantined):
        return face
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
    num_columns = NUM_COLUMNS
    for number, line in enumerate(raw_folder.lines(root, path), 1):
        cells = [cell.strip(' "') for cell in line.split(",")]
        if number == 1 and COLUMNS[0] in cells:
            if missing := [column for column in COLUMNS if column not in cells]:
                raise DatasetError(f"{root / path}: no column {' or '.join(missing)}; found {', '.join(cells)[:200]}")
            order, num_columns = [cells.index(column) for column in COLUMNS], len(cells)
        elif number == 1 and len(cells) != NUM_COLUMNS:
            raise DatasetError(
                f"{root / path}: its first line {line[:60]!r} is neither the header {COLUMNS[0]},... nor a row"
            )
        elif len(cells) == num_columns:
            yield number, [cells[column] for column in order]
        elif line.strip():
            yield number, f"{len(cells)} columns, not {num_columns}"


def _face(path: Path, cells: Sequence[str], split: str, where: str) -> Sample | Quarantined:
    """Read one row, of an image's path, the cells of COLUMNS, the list's split, and the row's place in words."""
    label = cells[6].removesuffix(".0")
    if label not in CODES:
        return Quarantined(path, f"{where}: the expression {label[:20]!r} is not one of 0 to 10")
    try:
        box = _box(cells[1:5])
        landmarks = five_points(cells[5].split(";")) if box and cells[5] else None
    except ValueError as error:
        return Quarantined(path, f"{where}: {error}")
    return Sample(path, CODES[int(label)], split=split, box=box, landmarks=landmarks)


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
