"""The copy of RAF-DB that is widely shared: aligned images in class folders, and a table of them for each part."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from fertools.datasets.base import Quarantined, Sample, files_below
from fertools.datasets.rafdb_lists import ALIGNED, COPY, LABELS, LAST, Labels, check_codes, fault, image_of, read_labels
from fertools.datasets.readers import raw_folder

SPLITS = ("train", "test")
Found = Mapping[str, list[Path]]  # image -> files


def find(root: Path, tree: raw_folder.Tree) -> list[Path]:
    """Return the folders that hold train/ or test/ with class folders of RAF-DB's images."""
    return [
        folder
        for folder, names in tree.items()
        if any(_holds_images(root, tree, names[split]) for split in SPLITS if split in names)
    ]


def _holds_images(root: Path, tree: raw_folder.Tree, part: Path) -> bool:
    """Whether a class folder of a part has a file that is called like an image."""
    for code, folder in tree.get(part, {}).items():
        if code in LABELS and (root / folder).is_dir():
            with os.scandir(root / folder) as entries:
                if any(COPY.search(entry.name) for entry in entries):
                    return True
    return False


def samples(
    root: Path, tree: raw_folder.Tree, base: Path, recode: Mapping[str, str] | None = None
) -> Iterator[Sample | Quarantined]:
    """Yield every image of both parts, in path order; recode says what the numbers of folders and tables mean."""
    for split in SPLITS:
        if (folder := tree[base].get(split, base)) == base:
            yield Quarantined(base / split, f"missing: the {split} part is not read")
            continue
        name = f"{split}_labels.csv"
        yield from _part(root, folder, split, tree[base].get(name) or tree[base.parent].get(name), recode)


def _part(
    root: Path, folder: Path, split: str, table: Path | None, recode: Mapping[str, str] | None
) -> Iterator[Sample | Quarantined]:
    labels = Labels(set)
    if table:
        yield from read_labels(root, table, labels, split, recode)
    elif not recode:
        files = (path for path in files_below(root, folder) if isinstance(path, Path) and path.parent.parent == folder)
        check_codes(root, folder, (path.parent.name for path in files if image_of(path)))
    code_of = recode or {code: code for code in LABELS}
    of_image: defaultdict[str, list[Path]] = defaultdict(list)
    present: set[str] = set()
    for path in files_below(root, folder):
        if isinstance(path, Quarantined):
            yield path
            continue
        image = image_of(path) or ""
        present.add(image)
        if path.parent.parent != folder or path.parent.name not in code_of:
            yield Quarantined(path, f"not in one of the folders {', '.join(code_of)} in {folder}")
        elif reason := fault(path, ALIGNED, split):
            yield Quarantined(path, reason)
        else:
            of_image[image].append(path)
    if not table:
        for image, paths in of_image.items():
            labels[image].update(code_of[path.parent.name] for path in paths)
        yield from _gaps(folder, split, present)
    yield from _images(of_image, labels, split, table.name if table else "its folders", code_of)
    for image in sorted(labels.keys() - present):
        yield Quarantined(folder / min(labels[image]) / f"{image}{ALIGNED}.jpg", "missing: the table names it")


def _images(
    of_image: Found, labels: Labels, split: str, source: str, code_of: Mapping[str, str]
) -> Iterator[Sample | Quarantined]:
    """Yield the images whose folder is their label and that are there once."""
    for image, paths in of_image.items():
        published = " and ".join(sorted(labels.get(image, ())))
        matching = [path for path in paths if code_of[path.parent.name] == published]
        for path in paths:
            if not published:
                yield Quarantined(path, f"not named in {source}")
            elif published != code_of[path.parent.name]:
                yield Quarantined(path, f"in the folder of {path.parent.name}, but labelled {published} by {source}")
            elif path != matching[0]:
                yield Quarantined(path, f"a second {image}; {matching[0]} is taken", "duplicate")
            else:
                yield Sample(path, published, split=split)


def _gaps(folder: Path, split: str, present: Set[str]) -> Iterator[Quarantined]:
    """Yield the images that are missing below the highest number, where no table says which there should be."""
    of_split = {image for image in present if image.startswith(split)}
    highest = max((int(image.partition("_")[2]) for image in of_split), default=0)
    for number in range(1, highest):
        if (image := f"{split}_{number:0{len(LAST[split])}}") not in of_split:
            yield Quarantined(folder / f"{image}{ALIGNED}.jpg", "missing: in no class folder; higher numbers are there")
