"""What make-folds costs: seconds of each part and peak memory, of made-up manifests from 1,000 to 280,000 faces.

Each run has a process of its own, and begins when the disk is at rest. A part's processor time is that of its own
thread, of the whole call that of all.
Writes docs/results/folds.json: python benchmarks/folds.py --work FOLDER
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fertools.drawn import corpus
from fertools.folds import make_folds, pairs
from manifests import faces as crops
from manifests import files, schema

PACKAGES = ("numpy", "pyarrow", "scikit-learn")
CODE = ("fertools/folds", "manifests")
FACES_OF_ONE = 100
RUNS = (("subject", "standardize"), ("official", "standardize"), ("official", "zca"))  # how dealt, how whitened
PARTS = {  # what is timed -> what it is called; indented: part of the one above
    (files, "read"): "reading the rows",
    (make_folds, "_deal"): "dealing folds",
    (files, "write_rows"): "writing the rows with their folds",
    (files, "pairs_source"): "hashes of what pairs are drawn from",
    (files, "write_pairs"): "pairs: drawing and writing",
    (pairs, "draw"): "  sorting faces for the draws",
    (make_folds, "_whiten"): "whitening",
    (files, "read_images"): "  reading faces to whiten",
    (make_folds, "fit_zca"): "  fitting",
    (make_folds, "_describe"): "counting what the folds hold",
}
Times = dict[str, float]


def faces(num_faces: int, *, named: bool) -> Iterator[pa.Table]:
    """Yield made-up faces, a hundred of a person: whose split is official, and who have a name or have not."""
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (64, *schema.DEFAULT_CROP.shape), np.uint8)
    for first in range(0, num_faces, schema.ROW_GROUP):
        rows = np.arange(first, min(first + schema.ROW_GROUP, num_faces))
        people, num = rng.integers(0, max(20, num_faces // FACES_OF_ONE), len(rows)), len(rows)
        classes = [schema.EXPRESSIONS[e] for e in rng.integers(0, len(schema.EXPRESSIONS), num)]
        images = crops[rng.integers(0, len(crops), num)] ^ rng.integers(0, 256, (num, 1, 1), np.uint8)
        columns: dict[str, Any] = {
            "face_id": [f"many/{row:07d}" for row in rows],
            "expression": classes, "label": classes, "frame": rows, "usable": [True] * num, "dataset": ["many"] * num,
            "subject": [f"many/S{person:04d}" if named else None for person in people],
            "sequence": [f"many/{row:07d}" if named else None for row in rows],
            "split": ["test" if person % 20 == 0 else "train" for person in people],
            "source": [f"{row % 100}/{row:07d}.jpg" for row in rows],
            "source_sha256": [rng.bytes(32).hex() for _ in rows],
            "box": list(rng.random((num, 4))), "landmarks": list(rng.random((num, 10))),
            "matrix": list(rng.random((num, 6))), "score": rng.random(num),
            "image": [
                {"bytes": schema.DEFAULT_CROP.encode(image), "path": f"{row:07d}.pgm"}
                for image, row in zip(images, rows, strict=True)
            ],
        }  # fmt: skip
        yield pa.table(
            {field.name: pa.array(columns.get(field.name, [None] * num), field.type) for field in schema.FACES},
            schema=schema.FACES,
        )


def timed(call: Callable[..., Any], name: str, wall: Times, processor: Times) -> Callable[..., Any]:
    """Return a function that also adds up the time that it takes, of the clock and of its own thread."""

    @wraps(call)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter(), time.thread_time()
        try:
            return call(*arguments, **named)
        finally:
            wall[name] = wall.get(name, 0) + time.perf_counter() - started[0]
            processor[name] = processor.get(name, 0) + time.thread_time() - started[1]

    return wrapper


def measure(manifest: Path, by: str, kind: str) -> dict[str, Any]:
    """Return the figures of one call: to be run in a process of its own."""
    wall: Times = {}
    processor: Times = {}
    for (module, function), name in PARTS.items():
        setattr(module, function, timed(getattr(module, function), name, wall, processor))
    whole, whole_processor = time.perf_counter(), time.process_time()
    made = make_folds.make_folds(manifest, 10, kind, 0, by)
    wall["all"], processor["all"] = time.perf_counter() - whole, time.process_time() - whole_processor
    status = Path("/proc/self/status").read_text()  # ru_maxrss would be that of the process that started this one
    memory = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    stored = [manifest, *crops.folder(manifest).iterdir()]
    return {
        "dealt by": by, "whitening": kind, "folds": len(made),
        "pairs": sum(fold.anchors for fold in made) * make_folds.NUM_EPOCHS,
        "rows, GB": round(manifest.stat().st_size / 1e9, 3),
        "rows and crops, GB": round(sum(path.stat().st_size for path in stored) / 1e9, 3),
        "pairs, GB": round(files.pairs_path(manifest).stat().st_size / 1e9, 3),
        "peak memory, MiB": round(memory), "load": round(os.getloadavg()[0], 1),
        "seconds": {name: round(taken, 2) for name, taken in wall.items()},
        "processor seconds": {name: round(taken, 2) for name, taken in processor.items()},
    }  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000, 280_000])
    parser.add_argument("--work", type=Path, help="where the manifests are made; 8 GB for 280,000 rows")
    parser.add_argument("--out", type=Path, default=Path("docs/results/folds.json"))
    arguments = parser.parse_args()
    from trainer.runs.made_by import made_by  # not in the processes that measure: it brings torch

    result: dict[str, Any] = {
        "made": made_by({"rows": tuple(arguments.rows)}, parts=CODE),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": "python benchmarks/folds.py --rows " + " ".join(map(str, arguments.rows)),
    }
    for num_faces in arguments.rows:
        result[str(num_faces)] = []
        for named in (True, False):
            with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
                manifest = Path(folder) / "many.parquet"
                files.write(faces(num_faces, named=named), manifest, {})
                for by, kind in (run for run in RUNS if (run[0] == "subject") == named):
                    os.sync()
                    with multiprocessing.get_context("spawn").Pool(1) as pool:
                        figures = pool.apply(measure, (manifest, by, kind))
                    result[str(num_faces)].append(figures)
                    _tell(num_faces, figures)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    corpus.write_whole(arguments.out, (json.dumps(result, indent=2) + "\n").encode())
    print(arguments.out)


def _tell(num_faces: int, figures: dict[str, Any]) -> None:
    print(num_faces, *(f"{key} {value}" for key, value in figures.items() if not isinstance(value, dict)))
    for name, taken in figures["seconds"].items():
        print(f"  {name:60} {taken:8.2f} s  {figures['processor seconds'][name]:8.2f} s of a processor", flush=True)


if __name__ == "__main__":
    main()
