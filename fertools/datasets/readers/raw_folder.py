"""What several adapters ask of a raw folder: its upper folders, and its text files line by line."""

import os
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from fertools.datasets.base import DatasetError, is_junk
from fertools.inputs.links import is_allowed, is_followed
from fertools.inputs.table import encoding_of, not_a_table
from manifests.text import printable

MAX_LINE = 65_536  # characters; what is longer comes in pieces
ARCHIVES = (".zip", ".rar", ".tar", ".gz", ".7z")
Tree = Mapping[Path, Mapping[str, Path]]  # folder -> what it holds: lower-case name -> path; all below the raw folder


def upper_folders(root: Path, depth: int, leaves: Container[str]) -> Tree:
    """Return the folders at most depth below root with what they hold, nearest first; no link to a folder is followed.

    Args:
        root: the raw folder.
        depth: of the lowest; root itself has 0.
        leaves: names, in lower case, of folders that hold the many files: they are not listed, nor those that are
            called by a number.
    """
    tree: dict[Path, dict[str, Path]] = {}
    waiting = [Path()] if root.is_dir() else []
    for folder in waiting:
        tree[folder] = {}
        for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name):
            name, path = entry.name.lower(), folder / entry.name
            if is_junk(name) or not (is_followed(root, root / path) or is_file_below(root, path)):
                continue
            tree[folder][name] = path
            is_upper = not name.isdecimal() and name not in leaves
            if is_upper and len(path.parts) <= depth and entry.is_dir():
                waiting.append(path)
    return tree


def is_file_below(root: Path, path: Path) -> bool:
    """Whether root/path is a file that does not lie elsewhere through a link."""
    return is_allowed(root, root / path) and (root / path).is_file()


def still_packed(tree: Tree) -> Path:
    """Return the first folder that holds an archive, or the raw folder: where `refuse_folder` says what to unpack."""
    packed = (folder for folder, names in tree.items() if any(name.endswith(ARCHIVES) for name in names))
    return next(packed, Path())


def lines(root: Path, path: Path) -> Iterator[str]:
    """Yield the lines of a text file in UTF-8 or UTF-16 without their ends, whatever these are, and without a mark.

    Raises:
        DatasetError: the file cannot be read, is empty, packed, no text, or a web page saved under its name.
    """
    try:
        with (root / path).open("rb") as binary:
            start = binary.read(512)
        if reason := not_a_table(start):
            raise DatasetError(f"{printable(root / path)}: {reason}; download it again, and unpack it")
        encoding = encoding_of(start) or "utf-8"
        if b"\0" in start and not encoding.startswith(("utf-16", "utf-32")):
            raise DatasetError(f"{printable(root / path)}: not text in UTF-8; save it as that")
        with (root / path).open(encoding=encoding, errors="replace") as file:
            while line := file.readline(MAX_LINE):
                yield line.rstrip("\n")
    except OSError as error:
        raise DatasetError(f"{printable(root / path)}: cannot be read: {error.strerror}") from error
