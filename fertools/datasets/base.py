"""What every dataset adapter is: facts about the collection, and one generator over a raw folder."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fertools.errors import FertoolsError
from fertools.inputs.links import is_allowed
from manifests.text import printable

JUNK = {  # what operating systems and version control leave behind, and `fertools draw` beside its images
    ".ds_store", "thumbs.db", "desktop.ini", "__macosx", "drawn.json", "factors.csv",
    ".git", ".gitattributes", ".gitignore", ".dvc", ".dvcignore", ".ipynb_checkpoints",
}  # fmt: skip
LEAVES = "a symbolic link that leaves the raw folder; it was not followed (--follow-links follows it)"

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
    gender: str | None = None  # of the person, in the authors' words, as are the next two
    age: str | None = None
    race: str | None = None
    turns: tuple[int, ...] = (0,)  # quarter turns, clockwise, of which one sets the image upright


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Something in the raw folder that cannot be used, and why."""

    path: Path  # below the raw folder
    reason: str
    kind: Literal["duplicate", "aside"] | None = None  # aside: published with the set, not used. Null: verify looks


@dataclass(frozen=True, slots=True)
class Note:
    """What a user should know of how a raw folder was read; it stands for no file."""

    text: str


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
    samples: Callable[..., Iterator["Sample | Quarantined | Note"]]  # raw folder, labels file or null, and `recode`
    examples: Mapping[str, tuple[str | None, str | None]]  # path -> (expression, subject), by hand
    example_texts: Mapping[str, str]  # files that the examples need beside the images
    takes_labels: bool = False  # reads a --labels file
    codes: Mapping[str, str] | None = None  # class numbers, whose origin may differ: `samples` takes a recode
    companions: re.Pattern[str] | None = None  # in paths of files that are read, or belong to the set, without a sample
    drawable: bool = False  # `fertools draw` makes a stand-in
    read: Callable[[Path, Sample], bytes] | None = None  # raw folder: the image of a sample with a place, as a file
    landmarks: Callable[[Path, Sample], Landmarks | None] = lambda _, sample: sample.landmarks  # raw folder: published
    releases: tuple[Release, ...] = ()
    release: Callable[[Path], str] | None = None  # raw folder: its release, by its layout; null: that of nearest counts
    part: Callable[[Sample], str] = lambda sample: sample.split or "all"  # that a release counts it in
    doubts: Callable[[Path], Iterable[Quarantined]] = lambda _: ()  # raw folder: what verify names and prepare bears


def is_junk(name: str) -> bool:
    """Whether a name is what systems leave behind."""
    return name.lower() in JUNK or name.startswith("._")


def files_below(
    root: Path, folder: Path, above: tuple[Path, ...] = (), passed: Callable[[str], bool] | None = None
) -> Iterator[Path | Quarantined]:
    """Yield every file below root/folder in path order, as a path below root; JUNK is passed over.

    A link to a file inside root is a file. A link out of root is followed where root is a FollowedFolder, and else
    quarantined, as is every link to a folder inside, whose files are read where they lie.

    Args:
        root: the raw folder.
        folder: below it.
        above: real paths of the linked folders that lead here: a link back to one of them is not followed.
        passed: whether to pass over a file or folder, by its path below root; null: none is.
    """
    try:
        entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Quarantined(folder, f"a folder that cannot be listed: {error.strerror}")
        return
    prefix = "" if folder == Path() else f"{folder.as_posix()}/"
    for entry in entries:
        if is_junk(entry.name) or (passed and passed(prefix + entry.name)):
            continue
        path = folder / entry.name
        if entry.is_symlink():
            yield from _beyond(root, path, above, passed)
        elif entry.is_dir():
            yield from files_below(root, path, above, passed)
        elif entry.is_file():
            yield path
        else:
            yield Quarantined(path, "neither a file nor a folder; not read")


def _beyond(
    root: Path, path: Path, above: tuple[Path, ...], passed: Callable[[str], bool] | None
) -> Iterator[Path | Quarantined]:
    """Yield what a link leads to: its file, the files of its folder, or why it is not followed."""
    try:
        target, real_root = Path((root / path).resolve()), Path(root.resolve())
    except (OSError, RuntimeError) as error:
        yield Quarantined(path, f"a symbolic link to no file: {error}")
        return
    inside = target.is_relative_to(real_root)
    if not is_allowed(root, root / path):
        yield Quarantined(path, LEAVES)
    elif not target.exists():
        yield Quarantined(
            path, "a symbolic link to no file; fetch its content (git annex get, dvc pull) or copy it again"
        )
    elif target.is_file():
        yield path
    elif inside:
        within = printable(target.relative_to(real_root))
        yield Quarantined(
            path, f"a symbolic link to the folder {within}, whose files are read there; it was not followed"
        )
    elif real_root.is_relative_to(target) or any(target == one or one.is_relative_to(target) for one in above):
        yield Quarantined(path, "a symbolic link that leads back to a folder above it; it was not followed")
    else:
        yield from files_below(root, path, (*above, target), passed)


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
    return path.is_dir() and is_allowed(root, path)


def refuse_folder(root: Path, dataset: Dataset) -> DatasetError:
    """Return the error for a raw folder that is missing or not what its adapter expects."""
    if not root.is_dir():
        found = f"{root}: no such folder" if not root.exists() else f"{root}: a file, not a folder"
    else:
        names = sorted(path.name for path in root.iterdir())
        zipped = [name for name in names if name.lower().endswith((".zip", ".rar", ".tar", ".gz"))]
        listed = ", ".join(printable(name, 60) for name in names[:8])
        found = f"{printable(root)}: holds {listed or 'nothing'}{' ...' if len(names) > 8 else ''}"
        found += f"; unpack {', '.join(zipped[:4])} first" if zipped else ""
    return DatasetError(
        f"{found}\nexpected: {dataset.layout}\n"
        f"{dataset.title} is requested at {dataset.source}"
        + (f"; `fertools draw {dataset.name}` draws a stand-in" if dataset.drawable else "")
    )
