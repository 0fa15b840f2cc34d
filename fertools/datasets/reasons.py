"""What is wrong with files, in few lines: alike reasons together, the first files of each."""

import re
from collections.abc import Iterable

from manifests.text import printable

EXAMPLES = 5  # files named of each reason
GROUPS = 20  # reasons told in words; data has all
VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\d[\d,.]*|(?<=line )\S+")  # what differs between reasons of one kind


def grouped(items: Iterable[tuple[str | None, str]]) -> list[str]:
    """Return lines about files, by reason: the most frequent first.

    Args:
        items: (path, reason) of each; no path where the reason says all.
    """
    groups: dict[str, list[tuple[str | None, str]]] = {}
    for path, reason in items:
        groups.setdefault(VARYING.sub("#", _without(reason, path)), []).append((path, reason))
    ordered = sorted(groups.values(), key=lambda group: -len(group))
    lines = [line for group in ordered[:GROUPS] for line in _group(group)]
    if rest := ordered[GROUPS:]:
        lines.append(f"and {sum(map(len, rest))} more of {len(rest)} other reasons; --json names all")
    return lines


def _without(reason: str, path: str | None) -> str:
    name = (path or "").rpartition("/")[2]
    return reason.replace(name, "#") if name else reason


def _group(group: list[tuple[str | None, str]]) -> list[str]:
    lines = [
        f"{printable(path)}: {printable(reason, 400)}" if path else printable(reason, 400) for path, reason in group
    ]
    if len(lines) > EXAMPLES:
        return [*lines[:EXAMPLES], f"  and {len(lines) - EXAMPLES:,} more like these; --json names all"]
    return lines
