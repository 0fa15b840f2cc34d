"""FER+: the images of FER2013 with ten new votes each, eight classes; nobody is named.

A label is the majority of the votes, by the authors' rule. An image without one is unlabelled. Barsoum et al. 2016,
arXiv:1608.01041.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from fertools.datasets import fer2013
from fertools.datasets.base import (
    Dataset,
    DatasetError,
    Quarantined,
    Release,
    Sample,
    files_below,
    find_folder,
    refuse_folder,
)
from fertools.datasets.readers import pixel_tables
from fertools.datasets.readers.copies import set_aside
from fertools.inputs.table import not_a_table

IMAGES, VOTES = "fer2013.csv", "fer2013new.csv"  # row by row; no other table of FER2013 is known to keep its order
USAGE, NAME = "Usage", "Image name"
VOTED = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
LABELS = {name: name for name in VOTED[:8]}
FOLDERS = {"FER2013Train": "train", "FER2013Valid": "validation", "FER2013Test": "test"}
LIST = "label.csv"  # in each folder: name, the whole image as a box in some copies, ten votes


def majority(votes: Mapping[str, int]) -> str | None:
    """Return the expression that more than half of the votes are for; null where there is none.

    Args:
        votes: for each of eight expressions, unknown and NF (no face).

    Source:
        Barsoum et al. 2016, section 3, and the authors' code: an expression with one vote is taken for a slip.
    """
    kept = {name: count for name, count in votes.items() if count > 1}
    top = max(kept, key=kept.__getitem__, default=None)
    return top if top in LABELS and kept[top] > sum(kept.values()) / 2 else None


def samples(root: Path, labels: Path | None = None) -> Iterator[Sample | Quarantined]:
    """Yield every row of the tables, in their order; where these are not both there, every image of the folders."""
    assert labels is None, "FER+ has its own labels"
    tables = [pixel_tables.find_tables(root, name) if root.is_dir() else [] for name in (IMAGES, VOTES)]
    folders = {name: folder for name in FOLDERS if root.is_dir() and (folder := find_folder(root, name))}
    if all(tables):
        images, _ = set_aside(root, IMAGES, tables[0])
        votes, _ = set_aside(root, VOTES, tables[1])
        for folder in folders.values():
            yield Quarantined(folder, f"a copy of {images}, which is taken", "duplicate")
        yield from _from_tables(root, images, votes)
        return
    of_folders = [item for name, folder in folders.items() for item in _from_folder(root, folder, FOLDERS[name])]
    if not any(isinstance(item, Sample) for item in of_folders):
        raise refuse_folder(root, DATASET)
    yield from of_folders
    for name, split in FOLDERS.items():
        if name not in folders:
            yield Quarantined(Path(name), f"not there: it holds the {split} part")


def _from_tables(root: Path, images: Path, votes: Path) -> Iterator[Sample | Quarantined]:
    """Yield the rows of the images, labelled with those of the votes."""
    num_nameless = 0
    both = zip_longest(
        pixel_tables.samples(root, images, {code: code for code in fer2013.CODES}),
        pixel_tables.rows(root, votes, (USAGE, NAME, *VOTED)),
    )
    for number, (image, row) in enumerate(both, 1):
        if image is None or row is None:
            longer, shorter = (votes, images) if image is None else (images, votes)
            raise DatasetError(
                f"{root / shorter} ends at row {number - 1}, {longer} goes on: they are paired row by row; "
                "take both as they were published"
            )
        usage = row.cells and row.cells[USAGE].decode(errors="replace")
        if isinstance(image, Sample) and usage and pixel_tables.SPLITS.get(usage) != image.split:
            raise DatasetError(
                f"{root / votes}: row {number} is of another part than row {number} of {images}: they are paired row "
                "by row; take both as they were published"
            )
        if row.cells and not row.cells[NAME]:
            num_nameless += 1
        elif isinstance(image, Quarantined):
            yield image
        elif counts := _counts([row.cells[name].decode(errors="replace") for name in VOTED] if row.cells else []):
            yield replace(image, label=majority(counts))
        else:
            yield Quarantined(votes, f"row {number}: not ten counts of votes")
    if num_nameless:
        yield Quarantined(votes, f"{num_nameless} rows without the name of an image: nobody saw a face there", "aside")


def _counts(cells: Sequence[str]) -> dict[str, int] | None:
    """Return the votes of a row; null where it does not hold ten counts."""
    if len(cells) != len(VOTED) or not all(re.fullmatch(r"\s*[0-9]{1,3}\s*", cell) for cell in cells):
        return None
    return dict(zip(VOTED, map(int, cells), strict=True))


def _from_folder(root: Path, folder: Path, split: str) -> Iterator[Sample | Quarantined]:
    """Yield the images that a folder's list names, and what it does not name."""
    unnamed: dict[Path, None] = {}
    for item in files_below(root, folder):
        if isinstance(item, Quarantined):
            yield item
        else:
            unnamed[item] = None
    named: set[Path] = set()
    if folder / LIST not in unnamed:
        yield Quarantined(folder / LIST, f"not there: it holds the votes for the images of {folder}")
    else:
        del unnamed[folder / LIST]
        for name, votes in _listed(root / folder / LIST):
            path = folder / name
            if path in named:
                yield Quarantined(path, f"named twice in {LIST}", "duplicate")
            elif path not in unnamed:
                yield Quarantined(path, f"named in {LIST}, not found")
            elif votes is None:
                yield Quarantined(path, f"{LIST} does not hold ten counts of votes for it")
            else:
                yield Sample(path, majority(votes), split=split)
            named.add(path)
    for path in unnamed:
        if path not in named:
            yield Quarantined(path, f"not named in {folder / LIST}")


def _listed(path: Path) -> Iterator[tuple[str, dict[str, int] | None]]:
    """Yield the names of a list, each with its votes.

    Raises:
        DatasetError: it is no table.
    """
    with path.open("rb") as file:
        for number, (_, line) in enumerate(pixel_tables.lines(file)):
            if number == 0 and (reason := not_a_table(line)):
                raise DatasetError(f"{path}: {reason}; download or unpack it again")
            cells = line.decode(errors="replace").split(",")  # a box, which is quoted, becomes four that nobody needs
            yield cells[0].strip(), _counts(cells[-len(VOTED) :])


DATASET = Dataset(
    name="ferplus", title="FER+", source="https://github.com/microsoft/FERPlus",
    licence="labels: MIT; images: none stated",
    layout="fer2013.csv of FER2013 and fer2013new.csv; or the folders FER2013Train, FER2013Valid, FER2013Test that "
    "the authors' script makes of them, each with label.csv and fer0000000.png ...",
    labels=LABELS, samples=samples, drawable=True, read=pixel_tables.read,
    companions=re.compile(r"(^|/)(fer2013(new)?\.csv|FER2013(Train|Valid|Test)/label\.csv)$", re.IGNORECASE),
    releases=(
        Release(
            name="FER+",
            counts={  # null: votes without a majority, or one for unknown or no face
                "train": {"neutral": 8740, "happiness": 7287, "surprise": 3149, "sadness": 3014, "anger": 2100,
                          "disgust": 119, "fear": 532, "contempt": 119, None: 3501},
                "validation": {"neutral": 1182, "happiness": 865, "surprise": 415, "sadness": 351, "anger": 287,
                               "disgust": 24, "fear": 62, "contempt": 13, None: 380},
                "test": {"neutral": 1090, "happiness": 893, "surprise": 396, "sadness": 384, "anger": 273,
                         "disgust": 18, "fear": 83, "contempt": 16, None: 421},
            },
        ),
    ),
    examples={  # of the folders: tables are one file. Train as published, the others by hand
        "FER2013Train/fer0000001.png": ("neutral", None),
        "FER2013Train/fer0000007.png": ("happiness", None),
        "FER2013Train/fer0000009.png": ("surprise", None),
        "FER2013Train/fer0000006.png": ("sadness", None),
        "FER2013Train/fer0000010.png": ("anger", None),
        "FER2013Valid/fer0028640.png": ("disgust", None),
        "FER2013Train/fer0000095.png": ("fear", None),
        "FER2013Test/fer0032230.png": ("contempt", None),
    },
    example_texts={
        "FER2013Train/label.csv": (
            "fer0000001.png,6,0,1,1,0,0,0,0,2,0\nfer0000006.png,2,0,0,8,0,0,0,0,0,0\n"
            "fer0000007.png,0,10,0,0,0,0,0,0,0,0\nfer0000009.png,0,0,6,0,0,0,4,0,0,0\n"
            "fer0000010.png,2,0,0,0,8,0,0,0,0,0\nfer0000095.png,0,0,2,0,0,0,8,0,0,0\n"
        ),
        "FER2013Valid/label.csv": 'fer0028640.png,"(0, 0, 48, 48)",0,0,0,0,1,6,1,1,1,0\n',
        "FER2013Test/label.csv": "fer0032230.png,2,0,0,0,0,0,0,8,0,0\n",
    },
)  # fmt: skip
