"""How the packages are laid out: rooms, arrows, floors and circles of a checkout, counted from its imports.

    python benchmarks/architecture.py [CHECKOUT ...]

A room is what a listing of a package shows: a folder, or a file beside the folders. An arrow A -> B: a file of A
imports one of B. A floor: a room stands on the one above the highest that it imports. A circle: rooms that import each
other.
"""

import ast
import json
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

PACKAGES = ("fertools", "manifests", "trainer")
Graph = dict[str, set[str]]


def imported_modules(file: Path) -> Iterator[str]:
    """Yield the names that a file imports, each with the module it comes from."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in node.names:
                yield f"{getattr(node, 'module', None) or ''}.{name.name}".lstrip(".")


def room_of(module: str, root: Path) -> str | None:
    """Return the room that a module, or a name in it, is in; the package itself is its `__init__`."""
    package, *rest = module.split(".")
    if package not in PACKAGES:
        return None
    known = rest and any((root / package / rest[0]).with_suffix(suffix).exists() for suffix in ("", ".py"))
    return f"{package}.{rest[0]}" if known else package


def imports_of(root: Path) -> Graph:
    """Return every room of a checkout and the rooms it imports."""
    graph: Graph = {}
    for file in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        here = room_of(".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"), root)
        assert here is not None
        rooms = {room for name in imported_modules(file) if (room := room_of(name, root))}
        graph.setdefault(here, set()).update(rooms - {here, here.split(".")[0]})
    return graph


def reachable(graph: Graph, room: str) -> set[str]:
    """Return the rooms that one needs, directly or through others."""
    waiting, found = [room], set[str]()
    while waiting:
        new = graph.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def count(root: Path) -> dict[str, Any]:
    """Return rooms, arrows, floors and circles, in all and a package."""
    graph = imports_of(root)
    below = {room: reachable(graph, room) for room in graph}
    circles = sorted((a, b) for a, b in combinations(graph, 2) if b in below[a] and a in below[b])
    floors: dict[str, int] = {}
    for room in sorted(graph, key=lambda room: len(below[room])):  # whatever a room needs, needs less
        floors[room] = 1 + max((floors.get(other, 0) for other in graph[room]), default=0)
    counted: dict[str, Any] = {"circles": circles}
    for package in PACKAGES:
        rooms = {room for room in graph if room.split(".")[0] == package}
        counted[package] = {
            "entries in the listing": sum(1 for p in (root / package).iterdir() if p.name != "__pycache__"),
            "rooms": len(rooms),
            "arrows": sum(len(graph[room] & rooms) for room in rooms),
            "floors": len({floors[room] for room in rooms}),
        }
    return counted


if __name__ == "__main__":
    here = Path(__file__).parent.parent
    print(json.dumps({str(root): count(root) for root in map(Path, sys.argv[1:] or [here])}, indent=2))
