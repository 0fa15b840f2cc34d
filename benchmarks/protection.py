"""What locks, checksums, seals, hashes and syncs cost `prepare` and `fit`: processor time with all over without any.

Both ways take turns in one process; each turn is in an empty folder. Processor time, as the machine may be busy: the
wait for a disk is no part of it, so the number of syncs stands beside the ratio.

    PYTHONPATH=tests python benchmarks/protection.py --work FOLDER
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import torch
from conftest import write_patterns
from small_runs import CPU, judged_quickly, run_spec, silent

from fertools.datasets import DATASETS
from fertools.drawn.corpus import draw
from fertools.preparation.prepare import prepare
from manifests.atomic import write_atomic
from manifests.schema import DEFAULT_CROP
from trainer.runs.made_by import made_by
from trainer.training.fit import fit

CODE = ("manifests", "fertools/preparation", "trainer/runs", "trainer/training")


@contextmanager
def unprotected() -> Iterator[None]:
    """Write and read without any of it."""
    writer, reader = pq.ParquetWriter, pq.ParquetFile
    without = {
        "manifests.lock.only_writer": lambda *_: nullcontext(True),
        "trainer.runs.run.only_writer": lambda *_: nullcontext(True),
        "manifests.parquet.pq.ParquetWriter": lambda *a, **k: writer(*a, **k | {"write_page_checksum": False}),
        "manifests.parquet.pq.ParquetFile": lambda *a, **k: reader(*a, **k | {"page_checksum_verification": False}),
        "manifests.parquet._seal": lambda _: None,
        "manifests.parquet._damage": lambda *_: "",
        "trainer.runs.atomic.tensors_sha256": lambda *_: "",
        "os.fsync": lambda _: None,
    }
    with ExitStack() as patches:
        for name, stub in without.items():
            patches.enter_context(patch(name, stub))
        yield


def compared(work: Callable[[Path], object], folder: Path, rounds: int) -> dict[str, Any]:
    """Return the processor seconds of both ways, and how often the disk is waited for.

    The ratio is that of the least seconds: a busy machine only adds to them.
    """
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    with patch("os.fsync", side_effect=os.fsync) as sync:
        work(folder)  # which imports, too
        syncs = sync.call_count
    for _ in range(rounds):
        for name, way in (("with", nullcontext), ("without", unprotected)):
            shutil.rmtree(folder)
            with way():
                started = time.process_time()
                work(folder)
                seconds[name].append(time.process_time() - started)
    told = {f"seconds {name}": [round(found(each), 3) for found in (min, median)] for name, each in seconds.items()}
    ratio = min(seconds["with"]) / min(seconds["without"])
    return told | {"ratio of the least": round(ratio, 3), "rounds": rounds, "syncs": syncs}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("docs/results/protection.json"))
    options = parser.parse_args()
    raw, folder = options.work / "raw", options.work / "written"
    draw(raw, 20, seed=0, workers=1, dataset="affectnet")
    (options.work / "manifests").mkdir()
    spec = run_spec(write_patterns(options.work / "manifests", DEFAULT_CROP), "resnet", "width=16", "epochs=10")
    torch.set_num_threads(1)
    with judged_quickly():
        found = {
            "prepare, 140 faces": compared(
                partial(prepare, DATASETS["affectnet"], raw, published=True), folder, options.rounds
            ),
            "fit, 10 epochs of 24 faces": compared(lambda runs: fit(spec, runs, CPU, silent), folder, options.rounds),
        }
    made = {
        "made": made_by({"rounds": options.rounds}, parts=CODE),
        "command": "PYTHONPATH=tests python benchmarks/protection.py --work FOLDER",
        "processor time": found,
    }
    text = json.dumps(made, indent=1)
    print(text)
    write_atomic(options.out, text + "\n")


if __name__ == "__main__":
    main()
