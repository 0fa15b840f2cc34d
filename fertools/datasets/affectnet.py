"""AffectNet: 420,300 faces from the internet, labelled by hand with eight expressions or none; nobody is named.

It has a training and a validation set. Its test set was never published, so the validation set is what all results
are reported on: its split is test here. There are three layouts: photographs with lists (2017), crops (2021), and
AffectNet+, the crops with more annotations. Mollahosseini et al. 2019, doi:10.1109/TAFFC.2017.2740923; AffectNet+:
arXiv:2410.22506.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fertools.datasets import affectnet_crops, affectnet_lists
from fertools.datasets.affectnet_lists import LABELS
from fertools.datasets.base import Dataset, DatasetError, Landmarks, Quarantined, Release, Sample, refuse_folder
from fertools.datasets.readers import raw_folder

IMAGES = "manually_annotated_images"
ASIDE = ("automatically_annotated.csv", "automatically_annotated_images", "no_human_annotated")
DEPTH = 4  # of the folders that are looked for: wrapper/AffectNet+/human_annotated/train_set
LEAVES = ("images", "annotations")
DERIVED = {*"01234567", "happy", "happiness"}  # some folders of copies that are sorted by class


def samples(
    root: Path, labels: Path | None = None, recode: Mapping[str, str] | None = None
) -> Iterator[Sample | Quarantined]:
    """Yield every labelled face below root: in the order of the lists, or crops in path order.

    Args:
        root: the raw folder.
        labels: null.
        recode: number as written -> as published; null: as published.

    Raises:
        DatasetError: no AffectNet, two layouts of it, or one that numbers its classes otherwise.
    """
    assert labels is None, "AffectNet has its own labels"
    tree = raw_folder.upper_folders(root, DEPTH, LEAVES)
    lists, parts = _lists(root, tree), _parts(root, tree)
    if lists and parts:
        one, other = next(iter(lists.values())), next(iter(parts.values()))
        raise DatasetError(
            f"{root}: photographs ({one}) and crops ({other}) are both there; --raw can name one's folder"
        )
    if not lists and not parts:
        raise _refusal(root, tree)
    for path in (names[name] for names in tree.values() for name in ASIDE if name in names):
        yield Quarantined(path, "labelled by a network, not by people; not read", "aside")
    if lists:
        if not (images := _only(root, tree, IMAGES)):
            raise refuse_folder(root / raw_folder.still_packed(tree), DATASET)
        yield from affectnet_lists.samples(root, lists, images, recode)
    else:
        yield from _crops(root, tree, parts, recode)


def _only(root: Path, tree: raw_folder.Tree, *names: str) -> Path | None:
    """Return the only thing of these names below root; null where there is none."""
    found = [folder[name] for folder in tree.values() for name in names if name in folder]
    if len(found) > 1:
        raise DatasetError(f"{root}: there are both {found[0]} and {found[1]}; --raw can name one's folder")
    return found[0] if found else None


def _lists(root: Path, tree: raw_folder.Tree) -> dict[str, Path]:
    """Return which of the two lists is where."""
    return {name: path for name in affectnet_lists.SPLITS if (path := _only(root, tree, name))}


def _parts(root: Path, tree: raw_folder.Tree) -> dict[str, Path]:
    """Return which parts of the crops, train or test, are where."""
    names = affectnet_crops.SPLITS
    parts = {split: _only(root, tree, *(name for name in names if names[name] == split)) for split in names.values()}
    return {split: part for split, part in parts.items() if part and part in tree}


def _crops(
    root: Path, tree: raw_folder.Tree, parts: Mapping[str, Path], recode: Mapping[str, str] | None
) -> Iterator[Sample | Quarantined]:
    for name, split in (("train_set", "train"), ("val_set", "test")):
        if split not in parts:
            yield Quarantined(next(iter(parts.values())).with_name(name), f"missing: the {split} part is not read")
            continue
        names = tree[parts[split]]
        if lacking := [folder for folder in ("images", "annotations") if folder not in names]:
            yield Quarantined(parts[split], f"holds no folder {' or '.join(lacking)}; unpack it whole")
        else:
            yield from affectnet_crops.samples(root, names["images"], names["annotations"], split, recode)


def _refusal(root: Path, tree: raw_folder.Tree) -> DatasetError:
    """Return the error for a folder that is not AffectNet; a copy that is sorted by class is told what to do."""
    for folder, names in tree.items():
        if len(classes := sorted(DERIVED & set(names))) > 1:
            return DatasetError(
                f"{root / folder}: class folders {', '.join(classes)}: a derived copy, in which the same number may "
                "mean another expression than AffectNet's; say what yours mean in a CSV with columns path, expression, "
                f"and read it with: fertools prepare folder --raw {root} --labels CSV"
            )
    return refuse_folder(root / raw_folder.still_packed(tree), DATASET)


def landmarks(root: Path, sample: Sample) -> Landmarks | None:
    """Return the five points of a face: of a list's row, or of the files beside a crop."""
    return sample.landmarks if sample.box else affectnet_crops.landmarks(root, sample)


def release(root: Path) -> str:
    """Return which layout lies below root: photographs, crops, or AffectNet+."""
    tree = raw_folder.upper_folders(root, DEPTH, LEAVES)
    if _lists(root, tree):
        return "photographs"
    for part in _parts(root, tree).values():
        if (annotations := tree[part].get("annotations")) and affectnet_crops.is_plus(root / annotations):
            return "AffectNet+"
    return "crops"


HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
DATASET = Dataset(
    name="affectnet", title="AffectNet", source="http://mohammadmahoor.com/pages/databases/affectnet/",
    licence="signed by a faculty member, research only",
    layout="Manually_Annotated_Images/689/<hash>.jpg ... with training.csv and validation.csv; or the crops "
    "train_set/images/12.jpg ... with train_set/annotations/12_exp.npy (AffectNet+: 12.json) ..., and val_set likewise",
    labels=LABELS, samples=samples, drawable=True, landmarks=landmarks, release=release, codes=LABELS,
    companions=re.compile(r"(^|/)((training|validation)\.csv|annotations/[^/]*\.(npy|json))$", re.IGNORECASE),
    releases=(
        Release(
            name="photographs",
            counts={
                "train": {"0": 74874, "1": 134416, "2": 25459, "3": 14090, "4": 6378, "5": 3803, "6": 24882, "7": 3750,
                          "8": 33088, "9": 11645, "10": 82415},
                "test": {code: 500 for code in affectnet_lists.CODES},
            },
            unit="faces",
        ),
        Release(
            name="crops",
            counts={
                "train": {"0": 74874, "1": 134415, "2": 25459, "3": 14090, "4": 6378, "5": 3803, "6": 24882, "7": 3750},
                "test": {"0": 500, "1": 500, "2": 500, "3": 500, "4": 500, "5": 500, "6": 500, "7": 499},
            },
        ),
    ),
    examples={  # by hand, one per label: this is the adapter's documentation and its test
        "Manually_Annotated_Images/1/0a.jpg": ("neutral", None),
        "Manually_Annotated_Images/1/0b.JPG": ("happiness", None),
        "Manually_Annotated_Images/2/0c.png": ("sadness", None),
        "Manually_Annotated_Images/2/0d.bmp": ("surprise", None),
        "Manually_Annotated_Images/689/0e.jpg": ("fear", None),
        "Manually_Annotated_Images/689/0f.tiff": ("disgust", None),
        "Manually_Annotated_Images/1500/1a.jpg": ("anger", None),
        "Manually_Annotated_Images/1500/1b.jpeg": ("contempt", None),
    },
    example_texts={  # with no landmarks here, which are 136 numbers
        "training.csv": HEADER
        + "1/0a.jpg,134.0,134.0,899,899,,0,-0.08,0.03\n"
        + "1/0b.JPG,20.0,25.5,400,400,,1,0.8,0.2\n"
        + "2/0c.png,0.0,0.0,224,224,,2,-0.5,-0.2\n"
        + "2/0d.bmp,11.0,11.0,180,180,,3,0.1,0.7\n"
        + "689/0e.jpg,40.0,61.0,512,512,,4,-0.2,0.8\n",
        "validation.csv": "689/0f.tiff,61,61,362,362,,5,-0.7,0.4\n"
        + "1500/1a.jpg,87,87,518,518,,6,-0.5,0.6\n"
        + "1500/1b.jpeg,26,26,159,159,,7,-0.5,0.3\n",
    },
)  # fmt: skip
