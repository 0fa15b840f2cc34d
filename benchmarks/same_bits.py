"""Hashes by value of what manifests and runs hold, to compare two versions of the code: no result may move.

Of a manifest: rows, crops, folds, pairs and whitening of each; version 2 (crops in the rows' file) and version 3 are
read alike. Of a run: weights by tensor name, and predictions. How files are stored is no part of it.
Compare two folders, each with manifests/ and runs/: python benchmarks/same_bits.py BEFORE AFTER   (exit 1: some differ)
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import load_file

ADDED = ("group", "fold")


def sha(*values: Any) -> str:
    """Return the start of a hash of arrays or JSON."""
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        else:
            digest.update(json.dumps(value, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def crops(manifest: Path) -> Iterator[tuple[str, bytes | None]]:
    """Yield id and bytes of each crop."""
    folder = manifest.with_suffix(".faces")
    for path in sorted(folder.glob("*.parquet")) if folder.exists() else [manifest]:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, ["face_id", "image"])
                images = pc.struct_field(table["image"], "bytes").to_pylist()
                yield from zip(table["face_id"].to_pylist(), images, strict=True)


def of_manifest(manifest: Path) -> Iterator[tuple[str, str]]:
    """Yield what a manifest holds, each with its hash."""
    file, images = pq.ParquetFile(manifest), hashlib.sha256()
    for face_id, data in crops(manifest):
        images.update(f"{face_id} {data is None}".encode() + (data or b""))
    yield "crops", images.hexdigest()[:16]
    names = [name for name in file.schema_arrow.names if name not in (*ADDED, "image")]
    rows = file.read(names).to_pydict()
    yield "rows", sha(*((name, rows[name]) for name in names))
    yield "folds", sha(file.read(["fold"])["fold"].to_pylist())
    pairs = manifest.with_suffix(".pairs.parquet")
    if pairs.exists():
        table = pq.read_table(pairs)
        yield "pairs", sha(*(table[name].to_numpy() for name in ("fold", "epoch", "anchor", "partner")))
    for path in sorted(manifest.with_suffix(".whitening").glob("fold*.parquet")):
        yield f"whitening {path.stem}", whitening(pq.read_table(path), pq.read_schema(path))


def whitening(table: pa.Table, schema: pa.Schema) -> str:
    """Return the hash of whitening statistics."""
    tail, epsilon = (json.loads(schema.metadata[key]) for key in (b"tail", b"epsilon"))
    return sha(table["variance"].to_pylist(), np.stack(table["vector"].to_numpy()), tail, epsilon)


def of_run(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what a run holds, each with its hash."""
    weights = folder / "weights.safetensors"
    if weights.exists():
        tensors = load_file(weights)
        yield "weights", sha(*(part for name in sorted(tensors) for part in (name, tensors[name])))
    for path in sorted(folder.glob("predictions*.parquet")):
        table = pq.read_table(path)
        yield path.stem, sha(*((name, table[name].to_pylist()) for name in sorted(table.column_names)))


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of everything below a folder, by name."""
    found = {}
    for manifest in sorted((folder / "manifests").glob("*.parquet")):
        if not manifest.name.endswith(".pairs.parquet"):
            found |= {f"{manifest.stem}: {name}": value for name, value in of_manifest(manifest)}
    for run in sorted((folder / "runs").glob("*/")):
        found |= {f"{run.name}: {name}": value for name, value in of_run(run)}
    return found


def main() -> None:
    """Print a line for each thing; exit 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    asked = parser.parse_args()
    before, after = hashes(asked.before), hashes(asked.after)
    different = 0
    for name in before | after:
        same = before.get(name) == after.get(name)
        different += not same
        print(f"{'same     ' if same else 'DIFFERENT'} {before.get(name, '-'):16} {after.get(name, '-'):16} {name}")
    raise SystemExit(different > 0)


if __name__ == "__main__":
    main()
