"""A raw folder as its adapter reads it, and whatever else lies in it: nothing on the disk is unread and unnamed."""

import re
from collections.abc import Iterator, Mapping, Set
from functools import partial
from pathlib import Path

from fertools.datasets.base import Dataset, DatasetError, Note, Quarantined, Sample, files_below
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
    for item in dataset.samples(raw, labels, recode) if recode else dataset.samples(raw, labels):
        yield item
        if not isinstance(item, Note):
            claimed.add(hash(item.path.as_posix()))
    for found in files_below(raw, Path(), passed=partial(_is_known, dataset, claimed)):
        if isinstance(found, Quarantined):
            yield found
        elif labels is None or (raw / found).absolute() != labels.absolute():
            yield _unread(dataset, raw, found)


def _is_known(dataset: Dataset, claimed: Set[int], path: str) -> bool:
    """Whether a file is read, goes with the set, or is named already, itself or by its folder."""
    return hash(path) in claimed or (dataset.companions is not None and bool(dataset.companions.search(path)))


def _unread(dataset: Dataset, raw: Path, path: Path) -> Quarantined:
    if TEXTS.fullmatch(path.name):
        return Quarantined(path, "a text that goes with the set; not read", "aside")
    if path.suffix.lower() in ARCHIVES:
        if (raw / path).with_suffix("").is_dir():
            return Quarantined(path, "the archive of a folder that is there; not read", "aside")
        return Quarantined(path, "an archive, still packed; unpack it if it belongs to the set")
    return Quarantined(path, f"not read: it is not in the layout of {dataset.title}")


def labels_table(dataset: Dataset, root: Path, labels: Path | None = None) -> Path | None:
    """Return the table of labels of a raw folder: the one that is named, as it is or below it, else its labels.csv.

    Raises:
        DatasetError: the dataset has labels of its own.
    """
    if dataset.takes_labels:
        return next((path for path in (labels, root / (labels or "labels.csv")) if path and path.exists()), labels)
    if labels:
        raise DatasetError(f"{dataset.title} has labels of its own; --labels is for `fertools prepare folder`")
    return None


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
