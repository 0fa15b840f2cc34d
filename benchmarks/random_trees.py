"""Is every file of a raw folder read or named, and none twice? Random trees of each dataset's layout, against the disk.

A tree is the examples of an adapter, less up to two, with up to six copies of them or strangers and up to two links, in
places that are likely, or are not. Each file and link on the disk must be one image that was found, one thing that was
quarantined (itself, or by its folder), a table of images, or else a companion that the layout knows: so what `fertools
prepare` counts as found = usable + outside + quarantined is all there is. A tree that the adapter refuses, as an image
is there twice or the list is gone, is counted as such, and another is drawn. tests/system/test_disk.py tries ten.

    python benchmarks/random_trees.py --trees 200
"""

import argparse
import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from fertools.datasets import DATASETS
from fertools.datasets.base import Dataset, DatasetError, Note, Quarantined, Sample, is_junk
from fertools.datasets.survey import survey

CODE = ("fertools/datasets", "fertools/inputs")
STRANGERS = (
    "notes.txt", "README.md", "more.zip", "photo.jpg", "photo.png", ".DS_Store", "._x.png", "list.csv", "noending",
)  # fmt: skip
FOLDERS = (
    "validation", "val", "Test", "train", "extra/deep", "happy", "2", "P001", "S005/001", "__MACOSX", "images",
)  # fmt: skip
MAX_LOST, MAX_EXTRA, MAX_LINKS = 2, 6, 2  # a tree


@dataclass(frozen=True)
class Tree:
    """What a raw folder is to hold."""

    files: Mapping[str, str]  # path -> text
    links: tuple[tuple[str, str], ...]  # folder, where a link in it leads


def random_tree(dataset: Dataset, seed: int) -> Tree:
    """Return a dataset's own files, less some, with copies of some and strangers among them."""
    rng = random.Random(f"{dataset.name} {seed}")
    own = {path.partition("@")[0]: "" for path in dataset.examples} | dict(dataset.example_texts)
    names = sorted(own)
    parents = sorted({str(parent) for name in names for parent in PurePosixPath(name).parents} | set(FOLDERS))
    lost = set(rng.choices(names, k=rng.randint(0, MAX_LOST)))
    files = {name: own[name] for name in names if name not in lost}
    for _ in range(rng.randint(0, MAX_EXTRA)):
        name = rng.choice([*STRANGERS, *(PurePosixPath(name).name for name in names)])
        path = str(PurePosixPath(rng.choice(parents), name))
        files.setdefault(path, own.get(path, ""))
    targets = [*names, *parents, "../outside", "nowhere"]
    links = tuple((rng.choice(parents), rng.choice(targets)) for _ in range(rng.randint(0, MAX_LINKS)))
    return Tree(files, links)


def build(root: Path, tree: Tree, video: bytes) -> None:
    """Write a tree; a file in the way of a folder stays, and the other is left out."""
    (root.parent / "outside").mkdir(parents=True)
    root.mkdir()
    for name, text in tree.files.items():
        path = root / name
        if any(parent.is_file() for parent in path.parents) or path.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(video if name.lower().endswith(".avi") else text.encode())
    for number, (folder, target) in enumerate(tree.links):
        if (root / folder).is_dir():
            (root / folder / f"link{number}.jpg").symlink_to(os.path.relpath(root / target, root / folder))


def on_disk(root: Path, folder: Path = Path()) -> Iterator[Path]:
    """Yield every file and link below root that is no junk, by its path; no link to a folder is followed."""
    for path in sorted((root / folder).iterdir()):
        if is_junk(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from on_disk(root, folder / path.name)
        else:
            yield folder / path.name


def faults(dataset: Dataset, disk: Iterable[Path], items: Iterable[Sample | Quarantined]) -> list[str]:
    """Return what is on the disk and neither read nor named, or is so twice; and what is read and not there."""
    found = list(items)
    tables = {item.path for item in found if isinstance(item, Sample) and item.place is not None}
    images = Counter(item.path for item in found if isinstance(item, Sample) and item.place is None)
    named = Counter(item.path for item in found if isinstance(item, Quarantined) and item.path not in {Path(), *tables})
    wrong = []
    for path in disk:
        above = sum(parent in named for parent in path.parents if parent != Path())
        times = images.pop(path, 0) + named[path] + above + (path in tables)
        is_companion = dataset.companions is not None and dataset.companions.search(path.as_posix())
        if times != 1 and not (times == 0 and is_companion):
            wrong.append(f"{path}: {times} times")
    return wrong + [f"{path}: read, and not on the disk" for path in images]


def examine(dataset: Dataset, tree: Tree, video: bytes) -> tuple[Counter[str], list[str]]:
    """Return counts of what an adapter makes of a tree, and what is wrong with that."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "work" / "raw"
        build(root, tree, video)
        try:
            items = [item for item in survey(dataset, root) if not isinstance(item, Note)]
        except DatasetError:
            return Counter(refused=1), []
        disk = list(on_disk(root))
    read = sum(isinstance(item, Sample) for item in items)
    counts = Counter(trees=1, on_disk=len(disk), images=read, quarantined=len(items) - read)
    return counts, faults(dataset, disk, items)


def try_trees(dataset: Dataset, num_trees: int, first: int, video: bytes) -> tuple[Counter[str], dict[int, list[str]]]:
    """Return counts of as many trees as an adapter is to read, and what is wrong, by seed.

    Args:
        dataset: whose adapter.
        num_trees: that are read, not refused.
        first: seed of the first tree.
        video: what a file with the ending of one holds.
    """
    counts, wrong, seed = Counter[str](), {}, first
    while counts["trees"] < num_trees:
        of_tree, told = examine(dataset, random_tree(dataset, seed), video)
        counts += of_tree
        wrong |= {seed: told} if told else {}
        seed += 1
    return counts, wrong


def one_frame() -> bytes:
    """Return a video of one grey frame."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.avi"
        writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter_fourcc(*"MJPG"), 24, (64, 48))
        writer.write(np.full((48, 64, 3), 20, np.uint8))
        writer.release()
        return path.read_bytes()


def main() -> None:
    """Try, print, write."""
    from trainer.runs.made_by import made_by

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", type=int, default=200, help="of each dataset")
    parser.add_argument("--first", type=int, default=1000, help="seed of the first; the tests begin at 0")
    parser.add_argument("--out", type=Path, default=Path("docs/results/random_trees.json"))
    arguments = parser.parse_args()
    made = made_by({"trees": arguments.trees, "first": arguments.first}, parts=CODE)  # before anybody changes it
    video = one_frame()
    found: dict[str, dict[str, object]] = {}
    for name, dataset in DATASETS.items():
        counts, wrong = try_trees(dataset, arguments.trees, arguments.first, video)
        found[name] = {key: counts[key] for key in ("trees", "refused", "on_disk", "images", "quarantined")}
        found[name]["wrong"] = wrong
        print(name, json.dumps(found[name]), flush=True)
    command = f"python benchmarks/random_trees.py --trees {arguments.trees} --first {arguments.first}"
    arguments.out.write_text(json.dumps({"made": made, "command": command, "datasets": found}, indent=1) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
