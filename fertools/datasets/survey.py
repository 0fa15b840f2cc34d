"""A raw folder as its adapter reads it, and whatever else lies in it: nothing on the disk is unread and unnamed."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fertools.datasets.base import Dataset, Note, Quarantined, Sample, files_below
from fertools.datasets.readers.raw_folder import ARCHIVES
from fertools.inputs import codes
from fertools.inputs.codes import CodesError

TEXTS = re.compile(
    r"(?:.*[ _-])?(?:read[ _-]?me|licen[cs]e|eula|citation|change[ _-]?log|agreement|terms|manual)[^/]*", re.IGNORECASE
)


def survey(
    dataset: Dataset, raw: Path, labels: Path | None = None, recode: Mapping[str, str] | None = None
) -> Iterator[Sample | Quarantined | Note]:
    """Yield what an adapter yields, then every other file below the raw folder as quarantined.

    Memory: a number a file.

    Args:
        dataset: whose adapter reads the folder.
        raw: the folder.
        labels: a table of labels, for adapters that take one.
        recode: class numbers or words -> what they mean, for adapters that take these.

    Raises:
        DatasetError: the raw folder is not what its adapter expects.
    """
    claimed: set[int] = set()  # hashes of paths: a path takes ten times as much
    folders: set[Path] = set()
    for item in dataset.samples(raw, labels, recode) if recode else dataset.samples(raw, labels):
        yield item
        if not isinstance(item, Note):
            claimed.add(hash(str(item.path)))
            if isinstance(item, Quarantined) and item.path != Path() and _is_folder(raw / item.path):
                folders.add(item.path)
    for found in files_below(raw, Path(), named=folders):
        path = found.path if isinstance(found, Quarantined) else found
        if hash(str(path)) in claimed:
            continue
        if isinstance(found, Quarantined):
            yield found
        elif not _is_read(dataset, raw, path, labels):
            yield _unread(dataset, raw, path)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name from a table that is too long, or no name
        return False


def _is_read(dataset: Dataset, raw: Path, path: Path, labels: Path | None) -> bool:
    """Whether a file is one of those that an adapter reads, or that belong to its set."""
    companion = dataset.companions is not None and dataset.companions.search(path.as_posix())
    return bool(companion) or (labels is not None and (raw / path).absolute() == labels.absolute())


def _unread(dataset: Dataset, raw: Path, path: Path) -> Quarantined:
    if TEXTS.fullmatch(path.name):
        return Quarantined(path, "a text that goes with the set; not read", "aside")
    if path.suffix.lower() in ARCHIVES:
        if (raw / path).with_suffix("").is_dir():
            return Quarantined(path, "the archive of a folder that is there; not read", "aside")
        return Quarantined(path, "an archive, still packed; unpack it if it belongs to the set")
    return Quarantined(path, f"not read: it is not in the layout of {dataset.title}")


def reading(dataset: Dataset, first: int | None, meant: Mapping[str, str]) -> dict[str, str] | None:
    """Return what labels as written are to be read as, for a dataset; null: as they are published.

    Args:
        dataset: whose labels.
        first: --labels-from: the number that a list counts from.
        meant: --map: label as written -> expression.

    Raises:
        CodesError: the dataset has no such labels, or both are given.
    """
    if first is None and not meant:
        return None
    if first is not None and (meant or dataset.codes is None):
        why = "--map says it already" if meant else f"the labels of {dataset.title} are no numbers"
        raise CodesError(f"--labels-from {first}: {why}; leave it out")
    if dataset.codes is not None:
        return codes.recode(first, meant, dataset.codes)
    if not dataset.takes_labels:
        raise CodesError(f"--map: the labels of {dataset.title} are words of its own; leave it out")
    return dict(meant)
