"""What every dataset adapter is: facts about the collection, and one generator over a raw folder."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fertools.errors import FertoolsError

JUNK = {  # what operating systems leave behind, and `fertools draw` beside its images
    ".ds_store", "thumbs.db", "desktop.ini", "__macosx", "drawn.json", "factors.csv",
}  # fmt: skip


Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in px of the image
Landmarks = tuple[float, ...]  # ten: x, y of the eyes, nose tip and mouth corners, left before right, in px


class DatasetError(FertoolsError):
    """A raw folder is not what its adapter expects; the message names what was found and what to do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One published image: label is the authors' own code, everything else null where it is not published."""

    path: Path  # below the raw folder
    label: str | None
    subject: str | None = None
    sequence: str | None = None
    frame: int | None = None  # number in its sequence, as published
    split: str | None = None  # official: train, validation, test
    place: int | None = None  # in its file: a table's or pack's byte, a video's frame; null: the file is the image
    face: int | None = None  # which of the faces that are labelled in this image, from 1; null: there is but one
    apex: int | None = None  # frame of its sequence at which the expression is strongest; null: the last
    box: Box | None = None
    landmarks: Landmarks | None = None
    profile_beside: bool = False  # the image shows the same face in profile, too, in a mirror or by a second camera
    turns: tuple[int, ...] = (0,)  # quarter turns, clockwise, of which one sets the image upright


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Something in the raw folder that cannot be used, and why."""

    path: Path  # below the raw folder
    reason: str
    kind: Literal["duplicate", "aside"] | None = None  # aside: published with the set, not used. Null: verify looks


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a complete copy of one release holds, as published."""

    name: str
    counts: Mapping[str, Mapping[str | None, int]]  # part -> published label (null: unlabelled) -> how many
    unit: str = "images"  # that are counted: images or sequences
    subjects: int | None = None  # people, where they are published
    all_parts: bool = True  # false: a copy may lack parts (conditions of recording) and be complete


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One collection: how to read it, what a complete copy looks like, and a hand-checked example."""

    name: str
    title: str
    source: str  # where it is requested
    licence: str
    layout: str  # what a raw folder holds, for the message when it does not
    labels: Mapping[str, str]  # published code -> canonical expression
    samples: Callable[[Path, Path | None], Iterator[Sample | Quarantined]]  # raw folder, labels file
    examples: Mapping[str, tuple[str | None, str | None]]  # path -> (expression, subject), by hand
    example_texts: Mapping[str, str]  # files that the examples need beside the images
    takes_labels: bool = False  # reads a --labels file
    drawable: bool = False  # `fertools draw` makes a stand-in
    read: Callable[[Path, Sample], bytes] | None = None  # raw folder: the image of a sample with a place, as a file
    landmarks: Callable[[Path, Sample], Landmarks | None] = lambda _, sample: sample.landmarks  # raw folder: published
    releases: tuple[Release, ...] = ()
    release: Callable[[Path], str] | None = None  # raw folder: its release, by its layout; null: that of nearest counts
    part: Callable[[Sample], str] = lambda sample: sample.split or "all"  # that a release counts it in
    doubts: Callable[[Path], Iterable[Quarantined]] = lambda _: ()  # raw folder: what verify names and prepare bears


def files_below(root: Path, folder: Path) -> Iterator[Path | Quarantined]:
    """Yield every file below root/folder in path order, as a path below root; no link out of root is followed.

    A link to a file inside root is a file. A link that leaves root, and any link to a folder, is quarantined.
    JUNK is passed over.
    """
    real_root = root.resolve()
    for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if entry.name.lower() in JUNK or entry.name.startswith("._"):
            continue
        if entry.is_symlink():
            target = (root / path).resolve()
            if not target.is_relative_to(real_root):
                yield Quarantined(path, "a symbolic link that leaves the raw folder; it was not followed")
            elif not target.is_file():
                yield Quarantined(path, "a symbolic link to no file; it was not followed")
            else:
                yield path
        elif entry.is_dir():
            yield from files_below(root, path)
        else:
            yield path


def find_folder(root: Path, name: str) -> Path | None:
    """Return the folder called name, in any case, in root or in one of its folders; null where there is none.

    Archives are unpacked side by side, often with one wrapper folder; a link is not followed out of root.
    """
    shelves = [Path(), *(Path(path.name) for path in sorted(root.iterdir()) if _is_folder_of(path, root))]
    for shelf in shelves:
        for path in sorted((root / shelf).iterdir()):
            if path.name.lower() == name.lower() and _is_folder_of(path, root):
                return shelf / path.name
    return None


def _is_folder_of(path: Path, root: Path) -> bool:
    return path.is_dir() and path.resolve().is_relative_to(root.resolve())


def refuse_folder(root: Path, dataset: Dataset) -> DatasetError:
    """Return the error for a raw folder that is missing or not what its adapter expects."""
    if not root.is_dir():
        found = f"{root}: no such folder" if not root.exists() else f"{root}: a file, not a folder"
    else:
        names = sorted(path.name for path in root.iterdir())
        zipped = [name for name in names if name.lower().endswith((".zip", ".rar", ".tar", ".gz"))]
        found = f"{root}: holds {', '.join(names[:8]) or 'nothing'}{' ...' if len(names) > 8 else ''}"
        found += f"; unpack {', '.join(zipped[:4])} first" if zipped else ""
    return DatasetError(
        f"{found}\nexpected: {dataset.layout}\n"
        f"{dataset.title} is requested at {dataset.source}"
        + (f"; `fertools draw {dataset.name}` draws a stand-in" if dataset.drawable else "")
    )
