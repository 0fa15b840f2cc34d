"""Text of others - paths, labels, messages - as it is stored and as it is shown: one function for each."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePath

SHOWN = 200  # characters of one name or path that a message shows


def storable(text: str | PurePath) -> str:
    r"""Return text as UTF-8 can hold it: bytes of a file's name that are no UTF-8 become `\xNN`.

    Source:
        PEP 383: Python holds such a byte as a lone surrogate, which no file in UTF-8 can.
    """
    text = text.as_posix() if isinstance(text, PurePath) else text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _as_bytes(text).decode("utf-8", "backslashreplace")
    return text


def _as_bytes(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "backslashreplace")


def printable(text: object, limit: int = SHOWN) -> str:
    r"""Return text as a terminal may show it: on one line, nothing invisible, no longer than limit characters.

    Control characters and those that turn the direction of writing are shown as `\n`, `\x1b`, `\u202e`; of what is
    longer, start and end are shown.

    Args:
        text: a path, or what `str` makes text of.
        limit: characters, at least 16.
    """
    text = storable(text if isinstance(text, PurePath) else str(text))
    shown = "".join(map(_visible, text)) if not text.isprintable() else text
    if len(shown) <= limit:
        return shown
    start = (limit - 5) * 2 // 3
    return f"{shown[:start]} ... {shown[len(shown) - (limit - 5 - start) :]}"


def printable_lines(text: object) -> str:
    """Return a message of several lines with each as `printable` shows it; lines are not shortened."""
    lines = str(text).split("\n")
    return "\n".join(printable(line, max(len(line) * 10, 16)) for line in lines)


def cell(value: object) -> object:
    """Return a value as a table for people may hold it: text that a spreadsheet would run as a formula is quoted.

    Source:
        OWASP, CSV Injection: text that begins with =, +, -, @, a tab or a carriage return.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


# --- names of files, in whatever spelling a table of others has them


def fold(name: str) -> str:
    """Return a path without case, Unicode form, and blanks around its parts."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return "/".join(part.strip() for part in text.split("/"))


class SourceIndex:
    """The paths that a manifest's faces are from: a list may name one by the end that no other has."""

    def __init__(self, sources: Iterable[str]) -> None:
        """Take the paths below the raw folder, each once or as often as it has faces."""
        self.exact = set(sources)
        self.by_name: dict[str, set[str]] = defaultdict(set)
        for source in self.exact:
            self.by_name[fold(source.rpartition("/")[2])].add(source)
        self.num_folded = 0

    def find(self, written: str) -> list[str]:
        """Return the paths that a name may mean, in order: none, one, or several that it does not tell apart."""
        name = written.strip().replace("\\", "/").removeprefix("./")
        if name in self.exact:
            return [name]
        alike = self.by_name.get(fold(name.rpartition("/")[2]), set())
        if ends := [source for source in alike if _ends_alike(source, name)]:
            return sorted(ends)
        folded = [source for source in alike if _ends_alike(fold(source), fold(name))]
        self.num_folded += bool(folded)
        return sorted(folded)


def _ends_alike(one: str, other: str) -> bool:
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")
