"""RAF-DB, its basic subset: 15,339 photographs from the internet, seven expressions; nobody is named.

The authors' crops of 100 x 100 are taken; the original photographs, with boxes and landmarks, where these alone are
there. Gender, race and age of either come from Annotation/manual, where that is. Version 1.1 added the boxes and
corrected some crops. A widely shared copy sorts the crops into class folders.
Li et al. 2017, doi:10.1109/CVPR.2017.277; Li and Deng 2019, doi:10.1109/TIP.2018.2868382.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

from fertools.datasets import rafdb_folders
from fertools.datasets.base import Dataset, DatasetError, Note, Quarantined, Release, Sample, files_below, refuse_folder
from fertools.datasets.rafdb_annotations import BOXES, ENDINGS, MANUAL, WHO, annotated, described
from fertools.datasets.rafdb_lists import ALIGNED, LABELS, Labels, fault, image_of, read_labels
from fertools.datasets.readers import raw_folder
from fertools.datasets.readers.copies import set_aside
from manifests.text import printable

LISTS = ("list_patition_label.txt", "list_partition_label.txt")  # the authors' spelling, and the dictionary's
IMAGES = {"aligned": ALIGNED, "original": ""}  # folders, the first that is there; what names add to their image's
DEPTH = 4  # of the folders that are looked for: two/wrappers/basic/EmoLabel
LEAVES = (*IMAGES, *ENDINGS, "auto")


def samples(
    root: Path, labels: Path | None = None, recode: Mapping[str, str] | None = None
) -> Iterator[Sample | Quarantined | Note]:
    """Yield every image below root, in path order, and what is missing.

    Args:
        root: the raw folder.
        labels: null.
        recode: label as written -> as published; null: as published.
    """
    assert labels is None, "RAF-DB has its own labels"
    tree = raw_folder.upper_folders(root, DEPTH, LEAVES)
    base, emolabel = _base(root, tree)
    if emolabel:
        yield from _from_list(root, tree, base, emolabel, recode)
    else:
        yield from rafdb_folders.samples(root, tree, base, recode)


def release(root: Path) -> str:
    """Return which release lies below root: class folders, or a version, which only the annotations tell."""
    tree = raw_folder.upper_folders(root, DEPTH, LEAVES)
    base, emolabel = _base(root, tree)
    if not emolabel:
        return CLASS_FOLDERS
    if "annotation" not in tree[base]:
        return EITHER_VERSION
    return "v1.1" if {BOXES, f"{BOXES}.zip"} & _shelf(tree, base, "annotation").keys() else "v1.0"


def _base(root: Path, tree: raw_folder.Tree) -> tuple[Path, Path | None]:
    """Return the folder that RAF-DB lies in, and that of its list; null where class folders say what that would."""
    holders = [folder for folder, names in tree.items() if any(name in names for name in LISTS)]
    found: list[tuple[Path, Path | None]] = [
        (folder.parent if folder.name.lower() == "emolabel" else folder, folder) for folder in holders
    ]
    found += [(folder, None) for folder in rafdb_folders.find(root, tree)]
    if not found:
        raise refuse_folder(root / raw_folder.still_packed(tree), DATASET)
    if len(found) > 1:
        raise DatasetError(f"{root}: RAF-DB is there twice, in {found[0][0]} and {found[1][0]}; --raw can name one")
    return found[0]


def _shelf(tree: raw_folder.Tree, base: Path, name: str) -> Mapping[str, Path]:
    """Return what one of the folders in base holds; nothing where it is missing."""
    return tree.get(tree[base].get(name, Path("nowhere")), {})


# --- the authors' layout


def _from_list(
    root: Path, tree: raw_folder.Tree, base: Path, emolabel: Path, recode: Mapping[str, str] | None
) -> Iterator[Sample | Quarantined | Note]:
    """Yield what the list names, and what else is among the images."""
    names = tree[emolabel]
    path, copies = set_aside(
        root, "the list", [(rank, names[name]) for rank, name in enumerate(LISTS) if name in names]
    )
    yield from copies
    labels = Labels(set)
    yield from read_labels(root, path, labels, recode=recode)
    folder, ending = _image_folder(root, tree, base)
    yield from _aside(tree, base, folder)
    taken: dict[str, Path] = {}
    yield from _with_annotations(
        root, _shelf(tree, base, "annotation"), ending, _images(root, folder, ending, labels, taken)
    )
    for image in sorted(labels.keys() - taken):
        yield Quarantined(folder / f"{image}{ending}.jpg", f"missing: {path.name} names it")


def _with_annotations(
    root: Path, shelf: Mapping[str, Path], ending: str, images: Iterable[Sample | Quarantined]
) -> Iterator[Sample | Quarantined | Note]:
    """Yield images with what is annotated; of crops with who is shown, and how many of them nothing is known of."""
    num_images = num_unknown = 0
    for item in images:
        if isinstance(item, Quarantined):
            yield item
            continue
        read = described(root, shelf, image_of(item.path) or "", item) if ending else annotated(root, shelf, item)
        for found in read:
            yield found
            num_images += isinstance(found, Sample)
            num_unknown += isinstance(found, Sample) and found.gender is None
    if num_unknown and MANUAL in shelf:
        where = printable(shelf[MANUAL])
        yield Note(f"{where}: {', '.join(WHO)} of {num_unknown} of {num_images} images are not read from it")


def _image_folder(root: Path, tree: raw_folder.Tree, base: Path) -> tuple[Path, str]:
    """Return the folder of the images to read, and what their names add to their image's."""
    for name, ending in IMAGES.items():
        folder = _shelf(tree, base, "image").get(name)
        if folder and (root / folder).is_dir() and any(map(_is_image, files_below(root, folder))):
            return folder, ending
    raise refuse_folder(root / tree[base].get("image", raw_folder.still_packed(tree)), DATASET)


def _is_image(path: Path | Quarantined) -> bool:
    return isinstance(path, Path) and image_of(path) is not None


def _aside(tree: raw_folder.Tree, base: Path, folder: Path) -> Iterator[Quarantined]:
    """Yield what is not read beside a folder of images, and why."""
    shelf = _shelf(tree, base, "image")
    for name, other in shelf.items():
        if Path(name).suffix == "" and name not in IMAGES:
            yield Quarantined(other, f"not one of the folders {' and '.join(IMAGES)}; not read")
    if folder != shelf.get("original"):
        if "original" in shelf:
            yield Quarantined(shelf["original"], f"the originals of {folder}, which is taken", "aside")
        return
    packed = [shelf.get("aligned.zip"), *(_shelf(tree, base, "annotation").get(f"{name}.zip") for name in ENDINGS)]
    for path in packed:
        if path and path.stem.lower() not in tree[path.parent]:
            yield Quarantined(path, "still packed; unpack it to have it read")


def _images(
    root: Path, folder: Path, ending: str, labels: Mapping[str, Set[str]], taken: dict[str, Path]
) -> Iterator[Sample | Quarantined]:
    """Yield the images of a folder, and note which are there."""
    for path in files_below(root, folder):
        if isinstance(path, Quarantined):
            yield path
        elif reason := fault(path, ending):
            yield Quarantined(path, reason)
        elif (image := image_of(path) or "") in taken:
            yield Quarantined(path, f"a second {image}; {taken[image]} is taken", "duplicate")
        else:
            taken[image] = path
            published = sorted(labels.get(image, ()))
            if len(published) == 1:
                yield Sample(path, published[0], split=image.partition("_")[0])
            else:
                yield Quarantined(path, f"the list gives it {' and '.join(published) or 'no label'}")


COMPANIONS = re.compile(
    r"(^|/)(list_patition_label|list_partition_label|(train|test)_labels)\.(txt|csv)$|"
    r"(^|/)annotation/(boundingbox|manual|auto)/[^/]*\.txt$",
    re.IGNORECASE,
)
COUNTS: Mapping[str, Mapping[str | None, int]] = {
    "train": {"1": 1290, "2": 281, "3": 717, "4": 4772, "5": 1982, "6": 705, "7": 2524},
    "test": {"1": 329, "2": 74, "3": 160, "4": 1185, "5": 478, "6": 162, "7": 680},
}
CLASS_FOLDERS, EITHER_VERSION = "class folders", "v1.0 or v1.1"
DATASET = Dataset(
    name="rafdb", title="RAF-DB", source="http://www.whdeng.cn/RAF/model1.html",
    licence="restricted to non-commercial research and educational purposes",
    layout="basic/EmoLabel/list_patition_label.txt with basic/Image/aligned/train_00001_aligned.jpg ... (or "
    "Image/original/train_00001.jpg ...); or DATASET/train/5/train_00001_aligned.jpg ... with train_labels.csv",
    labels=LABELS, samples=samples, drawable=True, release=release, codes=LABELS, companions=COMPANIONS,
    releases=tuple(Release(name=name, counts=COUNTS) for name in ("v1.1", "v1.0", EITHER_VERSION, CLASS_FOLDERS)),
    examples={  # by hand, one per label: this is the adapter's documentation and its test
        "basic/Image/aligned/test_0002_aligned.jpg": ("surprise", None),
        "basic/Image/aligned/train_00010_aligned.jpg": ("fear", None),
        "basic/Image/aligned/train_00030_aligned.jpg": ("disgust", None),
        "basic/Image/aligned/test_0017_aligned.jpg": ("happiness", None),
        "basic/Image/aligned/train_00001_aligned.jpg": ("sadness", None),
        "basic/Image/aligned/train_00050_aligned.jpg": ("anger", None),
        "basic/Image/aligned/test_3068_aligned.jpg": ("neutral", None),
    },
    example_texts={
        "basic/EmoLabel/list_patition_label.txt": "train_00001.jpg 5\ntrain_00010.jpg 2\ntrain_00030.jpg 3\n"
        "train_00050.jpg 6\ntest_0002.jpg 1\ntest_0017.jpg 4\ntest_3068.jpg 7\n",
    },
)  # fmt: skip
