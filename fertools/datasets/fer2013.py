"""FER2013: 35,887 faces from a web search, 48 x 48 grey, seven classes; nobody is named.

One table with a row an image and the challenge's three parts, or the folders that were made of it. Some faces stand in
more than one part. Goodfellow et al. 2013, arXiv:1307.0414.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from fertools.datasets.base import Dataset, Quarantined, Release, Sample, files_below, find_folder, refuse_folder
from fertools.datasets.readers import pixel_tables
from fertools.datasets.readers.copies import set_aside
from fertools.inputs.expressions import part_of
from fertools.inputs.links import is_allowed

TABLES = ("fer2013.csv", "icml_face_data.csv")  # the same rows
CODES = {
    "0": "anger",
    "1": "disgust",
    "2": "fear",
    "3": "happiness",
    "4": "sadness",
    "5": "surprise",
    "6": "neutral",
}
FOLDERS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprise": "surprise",
    "neutral": "neutral",
}
COUNTS = {"0": 4953, "1": 547, "2": 5121, "3": 8989, "4": 6077, "5": 4002, "6": 6198}  # of all parts
TRAIN = ("train", "training")  # a folder by whose side those of the other parts are
PARTS = ("train", "test")  # of the folders: PublicTest and PrivateTest are merged, but for the files' names
IMAGE = re.compile(r"(?:(?P<usage>Training|PublicTest|PrivateTest)_)?[^.].*\.(?:jpe?g|png)", re.IGNORECASE)
MERGED = "validation and test"
OF_USAGE = {usage.lower(): split for usage, split in pixel_tables.SPLITS.items()}


def samples(
    root: Path, labels: Path | None = None, recode: Mapping[str, str] | None = None
) -> Iterator[Sample | Quarantined]:
    """Yield every row of the table, in its order; where there is none, every image of the folders, in path order.

    Args:
        root: the raw folder.
        labels: null.
        recode: number as written -> as published; null: as published.
    """
    assert labels is None, "FER2013 has its own labels"
    copies = find_copies(root)
    if not copies:
        raise refuse_folder(root, DATASET)
    taken, others = set_aside(root, "FER2013", copies)
    yield from others
    if taken.suffix.lower() == ".csv":
        if not recode:
            pixel_tables.check_codes(root, taken, CODES, COUNTS)
        yield from pixel_tables.samples(root, taken, recode or {code: code for code in CODES})
        return
    of_folders = list(_from_folders(root))
    if not any(isinstance(item, Sample) for item in of_folders):
        raise refuse_folder(root, DATASET)
    yield from of_folders


def find_copies(root: Path) -> list[tuple[int, Path]]:
    """Return what there is of FER2013: a table, the other spelling of it, a folder; with its rank."""
    if not root.is_dir():
        return []
    found = pixel_tables.find_tables(root, *TABLES)
    folder = next((folder for folder, part in _part_folders(root) if part == PARTS[0]), None)
    return [*found, (len(TABLES), folder)] if folder else found


def _from_folders(root: Path) -> Iterator[Sample | Quarantined]:
    """Yield the images of train/ and test/, and of validation/ where there is one, whatever these are called."""
    folders = dict(_part_folders(root))
    for part in PARTS:
        if part not in folders.values():
            yield Quarantined(Path(part), "not there: the copy in folders has train and test")
    for folder, part in folders.items():
        for path in files_below(root, folder):
            if isinstance(path, Quarantined):
                yield path
            elif path.parent.parent != folder or path.parent.name.lower() not in FOLDERS:
                yield Quarantined(path, f"in no folder of an expression: {', '.join(FOLDERS)}")
            else:
                yield _image(path, part)


def _part_folders(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the folders of parts, beside each other, with their parts."""
    if train := next((folder for name in TRAIN if (folder := find_folder(root, name))), None):
        for path in sorted((root / train.parent).iterdir()):
            if path.is_dir() and is_allowed(root, path) and (part := part_of(path.name)):
                yield train.parent / path.name, part


def _image(path: Path, part: str) -> Sample | Quarantined:
    """Read an image's name and folders."""
    if not (name := IMAGE.fullmatch(path.name)):
        return Quarantined(path, "not the name of an image, such as PublicTest_10131363.jpg")
    split = OF_USAGE[name["usage"].lower()] if name["usage"] else part
    return Sample(path, path.parent.name.lower(), split=split)


def _misplaced(root: Path) -> Iterator[Quarantined]:
    """Yield what its name says to be of another part than its folder; the name is believed."""
    of_folder: dict[Path, list[Sample]] = defaultdict(list)
    for item in _from_folders(root) if _release(root) == "folders" else ():
        if isinstance(item, Sample):
            of_folder[item.path.parents[1]].append(item)
    for folder, images in of_folder.items():
        strange = [item for item in images if (item.split == "train") != (part_of(folder.name) == "train")]
        if len(strange) * 2 > len(images):
            reason = (
                f"{len(strange)} of {len(images)} images are of another part by their names: were folders exchanged?"
            )
            yield Quarantined(folder, reason)
            continue
        for item in strange:
            yield Quarantined(item.path, f"of {item.split} by its name, in the folder of another part")


def _part(sample: Sample) -> str:
    """Return the part that a sample is counted in: folders are published with validation and test as one."""
    split = sample.split or PARTS[0]
    return split if sample.place is not None or split == PARTS[0] else MERGED


def _release(root: Path) -> str:
    """Return which copy is read."""
    return "table" if any(rank < len(TABLES) for rank, _ in find_copies(root)) else "folders"


DATASET = Dataset(
    name="fer2013", title="FER2013",
    source="https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge",
    licence="none stated",
    layout="fer2013.csv or icml_face_data.csv with columns emotion, pixels, Usage; or the folders train/angry/*.jpg "
    "... test/surprise/*.jpg, where validation and test are one unless files are called PublicTest_*, PrivateTest_*",
    labels=CODES | FOLDERS, samples=samples, drawable=True, read=pixel_tables.read, codes=CODES,
    part=_part, release=_release, doubts=_misplaced,
    releases=(
        Release(
            name="table",
            counts={
                "train": {"0": 3995, "1": 436, "2": 4097, "3": 7215, "4": 4830, "5": 3171, "6": 4965},
                "validation": {"0": 467, "1": 56, "2": 496, "3": 895, "4": 653, "5": 415, "6": 607},
                "test": {"0": 491, "1": 55, "2": 528, "3": 879, "4": 594, "5": 416, "6": 626},
            },
        ),
        Release(
            name="folders",
            counts={
                "train": {"angry": 3995, "disgust": 436, "fear": 4097, "happy": 7215, "sad": 4830, "surprise": 3171,
                          "neutral": 4965},
                MERGED: {"angry": 958, "disgust": 111, "fear": 1024, "happy": 1774, "sad": 1247, "surprise": 831,
                         "neutral": 1233},
            },
        ),
    ),
    examples={  # by hand, one per label, of the folders: a table is one file
        "train/angry/Training_3908.jpg": ("anger", None),
        "test/disgust/PrivateTest_11895083.jpg": ("disgust", None),
        "test/fear/PrivateTest_134207.jpg": ("fear", None),
        "train/happy/Training_1206.jpg": ("happiness", None),
        "train/sad/Training_2913.jpg": ("sadness", None),
        "test/surprise/PrivateTest_12400594.jpg": ("surprise", None),
        "test/neutral/PrivateTest_12091739.jpg": ("neutral", None),
    },
    example_texts={},
)  # fmt: skip
