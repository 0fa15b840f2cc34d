"""Runs one after the other against runs in parallel: wall clock of the same `trainer fit`, and its estimate.

Runs of DICE-FER's small preset on drawn CK+, one per seed. On the CPU: in turn with all threads, and in parallel with
one thread each; the weights of the first seed are compared, to the bit, with those of a single run with one thread. On
a GPU: 1, 2, 4 and 8 processes. The estimate is that of `trainer reproduce --price`, measured before.

    python benchmarks/side_by_side.py --work FOLDER
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from trainer.experiments.estimate import estimate, measurements
from trainer.experiments.papers.item import Item, Variant
from trainer.experiments.reproduce import Grid
from trainer.runs.atomic import write_whole
from trainer.runs.device import environment, pick_device

STAGES = ("expression", "identity", "classifier")


def command(name: str, *words: object, threads: int | None = None) -> float:
    """Run a command of ours; return its seconds."""
    line = [str(Path(sys.executable).with_name(name)), *map(str, words)]
    limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env=os.environ | limits)
    return time.perf_counter() - started


def prepare(work: Path, subjects: int) -> Path:
    """Return a folder with the manifest of drawn CK+, made once."""
    manifests = work / f"manifests-{subjects}"
    if not (manifests / "ckplus.pairs.parquet").exists():
        command("fertools", "draw", "ck+", "--subjects", subjects, "--raw", work / f"raw-{subjects}")
        command("fertools", "prepare", "ck+", "--raw", work / f"raw-{subjects}", "--manifests", manifests)
        command("fertools", "make-folds", "ck+", "--manifests", manifests)
    return manifests


def fit(manifests: Path, runs: Path, options: argparse.Namespace, num_runs: int, workers: int, **limits: int) -> float:
    """Train runs, one per seed, in a new folder; return the seconds."""
    shutil.rmtree(runs, ignore_errors=True)
    words = ["--manifests", manifests, "--runs", runs, "--preset", "demo", "--epochs", options.epochs]
    return command("trainer", "fit", *words, "--seeds", num_runs, "--side-by-side", workers, **limits)


def estimated(manifests: Path, runs: Path, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Return the estimate for the same runs, and the seconds that measuring it takes."""
    shutil.rmtree(runs, ignore_errors=True)
    settings = tuple(f"epochs_{stage}={options.epochs}" for stage in STAGES)
    items = {"runs": Item(title="The same", variants=(Variant(title="DICE-FER", settings=settings),),
                          datasets=("ckplus",), measures=("accuracy",))}  # fmt: skip
    seeds = tuple(range(options.runs))
    grid = Grid(manifests=manifests, runs=runs, preset="demo", folds=(1,), seeds=seeds, device=device)
    started = time.perf_counter()
    for job in measurements(items, grid):
        job.work(lambda *_: None, lambda: False)
    minutes = estimate(items, grid)["all"]
    return {
        "training, s": round(60 * minutes["training_minutes"], 1),
        "judging, s": round(60 * minutes["judging_minutes"], 1),
        "seconds to measure it": round(time.perf_counter() - started, 1),
    }


def weights(runs: Path) -> str:
    """Return the hash of the first seed's weights."""
    (path,) = runs.glob("*-seed0/weights.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Measure, and write the result after each arrangement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder, or one of an earlier run")
    parser.add_argument("--runs", type=int, default=4, help="number of runs")
    parser.add_argument("--epochs", type=int, default=8, help="of each of three stages")
    parser.add_argument("--subjects", type=int, default=60, help="drawn people")
    parser.add_argument("--out", type=Path, default=Path("docs/results/side-by-side.json"))
    options = parser.parse_args()
    device, threads = pick_device("auto"), torch.get_num_threads()
    manifests = prepare(options.work, options.subjects)
    result: dict[str, Any] = {
        "date": str(datetime.date.today()),
        "host": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "where": environment(device), "runs": options.runs, "epochs of each stage": options.epochs,
        "people": options.subjects,
        "estimated, one after the other": estimated(manifests, options.work / "estimate", options, device),
        "arrangements": [],
    }  # fmt: skip
    for num_workers in (1, 2, 4, 8) if device.type == "cuda" else (1, threads):
        seconds = fit(manifests, options.work / f"runs-{num_workers}", options, options.runs, num_workers)
        first = result["arrangements"][0]["seconds"] if result["arrangements"] else seconds
        result["arrangements"].append(
            {"at once": num_workers, "threads each": max(1, threads // num_workers), "seconds": round(seconds, 1),
             "times as fast": round(first / seconds, 2)}
        )  # fmt: skip
        print(result["arrangements"][-1], flush=True)
        write_whole(options.out, json.dumps(result, indent=1) + "\n")
    seconds_estimated = result["estimated, one after the other"]
    result["measured / estimated"] = round(
        result["arrangements"][0]["seconds"] / (seconds_estimated["training, s"] + seconds_estimated["judging, s"]), 2
    )
    if device.type == "cpu":
        fit(manifests, options.work / "alone", options, 1, 1, threads=1)
        result["first seed as alone, to the bit"] = weights(options.work / "alone") == weights(
            options.work / f"runs-{threads}"
        )
    write_whole(options.out, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
