"""What differs between two manifests: rows by their face_id, columns row by row, and what the files say of themselves.

Memory: one column of both manifests at a time, in slices; of images a hash a row.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import faces as crops
from manifests import files
from manifests.parquet import read_table
from manifests.schema import ManifestError

EXAMPLES = 5  # rows of a column that are shown
SHOWN = 20  # faces in only one manifest that are named on the terminal
SLICE = 10_000  # rows that are compared at a time


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs, in both manifests; of an image the start of its hash."""

    name: str  # face_id, or key of the metadata
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class Column:
    """A column that differs, with its first rows that do."""

    name: str
    rows: int
    examples: list[Change]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs between manifests A and B."""

    a: str
    b: str
    rows: int  # in both
    only_a: list[str]  # face_id
    only_b: list[str]
    reordered: bool  # rows in both stand in another order
    columns: list[Column]
    columns_only_a: list[str]
    columns_only_b: list[str]
    metadata: list[Change]  # null: the key is not there
    equal: bool


def diff(a: Path, b: Path) -> Difference:
    """Compare two manifests.

    Raises:
        ManifestError: one is none, is of another version, or has a face twice.
    """
    metadata = list(_changes(files.read_metadata(a), files.read_metadata(b)))
    ids, ids_b = _ids(a), _ids(b)
    at = pc.index_in(ids, ids_b)  # row of b, null where b has no such face
    rows_a = np.flatnonzero(pc.is_valid(at))
    rows_b = at.drop_null().to_numpy().astype(np.int64)
    in_both = ids.take(pa.array(rows_a))
    names_a, names_b = ([*pq.read_schema(path).names, "image"] for path in (a, b))
    columns = []
    for name in names_a:
        if name in names_b and name != "face_id":
            one, other = (_column(path, name).take(pa.array(rows)) for path, rows in ((a, rows_a), (b, rows_b)))
            if (column := _compare(name, in_both, one, other)).rows:
                columns.append(column)
    told: dict[str, Any] = {
        "only_a": ids.filter(pc.is_null(at)).to_pylist(),
        "only_b": ids_b.filter(pc.invert(pc.is_in(ids_b, ids))).to_pylist(),
        "reordered": bool((np.diff(rows_b) < 0).any()),
        "columns": columns,
        "columns_only_a": [name for name in names_a if name not in names_b],
        "columns_only_b": [name for name in names_b if name not in names_a],
        "metadata": metadata,
    }
    return Difference(a=str(a), b=str(b), rows=len(in_both), equal=not any(told.values()), **told)


def _changes(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> Iterator[Change]:
    """Yield the keys of the metadata that differ; what is nested has a dotted name."""
    for key in sorted(a.keys() | b.keys()):
        one, other = a.get(key), b.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _changes(one, other, f"{prefix}{key}.")
        elif one != other:
            yield Change(prefix + key, one, other)


def _ids(manifest: Path) -> pa.Array:
    ids = read_table(manifest, ["face_id"])["face_id"].combine_chunks()
    if len(pc.unique(ids)) < len(ids):
        raise ManifestError(f"{manifest}: a face_id stands twice, so that rows cannot be told apart; prepare it again")
    return ids


def _column(manifest: Path, name: str) -> pa.ChunkedArray:
    """Return a column; of the images the hash of their bytes and paths."""
    if name != "image":
        return read_table(manifest, [name])[name]
    hashes: list[bytes | None] = []
    for images in crops.stored(manifest, np.arange(pq.read_metadata(manifest).num_rows)):
        hashes += map(_hash, images.to_pylist())
    return pa.chunked_array([pa.array(hashes, pa.binary(32))])


def _hash(image: Mapping[str, Any] | None) -> bytes | None:
    if image is None:
        return None
    return hashlib.sha256(repr(image["path"]).encode() + b"\0" + (image["bytes"] or b"")).digest()


def _compare(name: str, ids: pa.Array, one: pa.ChunkedArray, other: pa.ChunkedArray) -> Column:
    """Return in how many rows two columns of the same faces differ, and the first of them."""
    num, examples = 0, []
    for start in range(0, len(ids), SLICE):
        left, right = one.slice(start, SLICE), other.slice(start, SLICE)
        if left.equals(right):
            continue
        for row, (value, value_b) in enumerate(zip(left.to_pylist(), right.to_pylist(), strict=True), start):
            if value != value_b:
                num += 1
                if num <= EXAMPLES:
                    examples.append(Change(ids[row].as_py(), _shown(value), _shown(value_b)))
    return Column(name, num, examples)


def _shown(value: Any) -> Any:
    return value[:6].hex() if isinstance(value, bytes) else value


def describe(found: Difference) -> str:
    """Return a difference as lines to read."""
    lines = [f"A {found.a}", f"B {found.b}"]
    if found.equal:
        return "\n".join([*lines, f"equal: {found.rows} faces"])
    for where, ids in (("A", found.only_a), ("B", found.only_b)):
        lines += [f"only in {where}: {len(ids)} faces"] if ids else []
        lines += [f"  {face_id}" for face_id in ids[:SHOWN]]
        lines += [f"  and {len(ids) - SHOWN} more; --json names all"] if len(ids) > SHOWN else []
    lines.append(f"in both: {found.rows} faces{', in another order' if found.reordered else ''}")
    for where, names in (("A", found.columns_only_a), ("B", found.columns_only_b)):
        lines += [f"columns only in {where}: {', '.join(names)}"] if names else []
    for column in found.columns:
        lines.append(f"{column.name} differs in {column.rows} faces")
        lines += [f"  {_words(change)}" for change in column.examples]
    lines += ["metadata"] if found.metadata else []
    return "\n".join([*lines, *(f"  {_words(change)}" for change in found.metadata)])


def _words(change: Change) -> str:
    one, other = (text if len(text := str(value)) <= 60 else f"{text[:57]}..." for value in (change.a, change.b))
    return f"{change.name}: {one} -> {other}"
