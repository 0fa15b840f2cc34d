"""Names of files in a user's table, and the files that they mean: whatever system, spelling or script wrote them."""

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from manifests.text import SourceIndex as SourceIndex
from manifests.text import fold as fold
from manifests.text import printable

DRIVE = re.compile(r"[A-Za-z]:/|//")  # a path of Windows, once its back slashes are turned


class FileIndex:
    """The files below a folder, by name. It counts how many names were found only by another spelling."""

    def __init__(self, root: Path, paths: Iterable[Path]) -> None:
        """Take the folder, and its files as paths below it."""
        self.root = root
        self.exact = {path.as_posix(): path for path in paths}
        self.num_folded = 0

    @cached_property
    def _folded(self) -> dict[str, list[Path]]:
        folded: dict[str, list[Path]] = defaultdict(list)
        for name, path in self.exact.items():
            for spelling in {fold(name), fold(_as_windows(name))}:
                folded[spelling].append(path)
        return folded

    def find(self, written: str) -> Path | str:
        """Return the file that a name means; where there is none, why, in words."""
        if written in self.exact:
            return self.exact[written]
        name = self._below(written)
        if name is None:
            return "points out of the raw folder; it was not followed"
        for spelling in (name, name.removeprefix(f"{self.root.name}/")):
            if spelling in self.exact:
                return self.exact[spelling]
            if len(found := self._folded.get(fold(spelling), [])) == 1:
                self.num_folded += 1
                return found[0]
            if found:
                either = " or ".join(printable(path) for path in found[:2])
                return f"may be {either}, which differ in case, blanks or Unicode form only"
        return "not found in the raw folder"

    def _below(self, written: str) -> str | None:
        """Return a name as a path below the root, in its shortest form; null where it leads out."""
        name = written.strip().replace("\\", "/")
        for root in {self.root.absolute().as_posix(), self.root.resolve().as_posix()}:
            name = name.removeprefix(f"{root}/")
        if DRIVE.match(name):
            return None
        name = posixpath.normpath(name)
        return None if name.startswith("/") or name.split("/")[0] == ".." else name


def _as_windows(name: str) -> str:
    """Return a name that is no UTF-8 as Windows in western Europe would have it."""
    return name if name.isascii() or _is_text(name) else os.fsencode(name).decode("cp1252", "replace")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
