"""`trainer fit` interrupted at random moments: does it end with the bytes of an undisturbed run?

DICE-FER learns drawn faces, small, by one thread. Each trial starts in an empty folder, and the same command is run
until it is finished. SIGKILL or SIGTERM ends it at moments drawn evenly over the processor time for which an
undisturbed run has a folder, again and again where the next moment comes before its end; or its disk, a tmpfs, is full,
of a size drawn evenly up to what the run needs at most, and has more space the next time, the fifth time enough.
Weights, predictions and scores must be the undisturbed run's, byte for byte, metrics but for their seconds, and no
other file may be left. Where mounting is not allowed, no disk is filled, and the result says so. Linux.

    python benchmarks/interruptions.py --work FOLDER --seed 0
"""

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fertools.drawn import corpus

NUM_PEOPLE = 8
SETTINGS = ("width=8", "code_size=16", "epochs_expression=30", "epochs_identity=30", "epochs_classifier=30")
NAME = "-".join(["ckplus-dicefer-demo", *SETTINGS, "fold01-seed0"])
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM}
COMPARED = ("weights.safetensors", "predictions.parquet", "scores.json")
PACKAGES = ("torch", "numpy", "safetensors", "pyarrow", "scikit-learn")
FULL_IN_TURN, ENOUGH = 4, 2**30  # times that a disk is full before it has enough bytes
POLL_SECONDS = 0.02  # between two looks at a run's folder
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Training:
    """The command that is interrupted, and what it leaves behind."""

    def __init__(self, manifests: Path, runs: Path, options: list[str]) -> None:
        trainer = str(Path(sys.executable).with_name("trainer"))
        chosen = ["fit", "--preset", "demo", *(f"--set={setting}" for setting in SETTINGS), *options]
        self.command = [trainer, *chosen, "--manifests", str(manifests), "--runs", str(runs)]
        self.runs, self.folder = runs, runs / NAME

    def start(self) -> subprocess.Popen[str]:
        """Start it."""
        env = os.environ | ONE_THREAD
        return subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)

    def progress(self) -> dict[str, Any]:
        """Return how far it is: epochs that are logged, and which files there are."""
        metrics = self.folder / "metrics.jsonl"
        names = {path.name for path in self.folder.glob("*")}
        return {
            "epochs then": len(metrics.read_text().splitlines()) if metrics.exists() else 0,
            "checkpoints then": sum("checkpoint" in name and not name.endswith(".part") for name in names),
            "trained then": "weights.safetensors" in names,
        }

    def result(self) -> dict[str, Any]:
        """Return what is compared, and the names of all files but TensorBoard's."""
        rows = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        timeless = json.dumps([{key: value for key, value in row.items() if key != "seconds"} for row in rows])
        found = {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in COMPARED}
        files = sorted(path.name for path in self.folder.iterdir() if "tfevents" not in path.name)
        return found | {"metrics": hashlib.sha256(timeless.encode()).hexdigest(), "files": files}


def prepare(work: Path, seed: int) -> Path:
    """Draw faces and prepare them; return the folder of the manifest."""
    raw, manifests = work / "raw", work / "manifests"
    if not (manifests / "ckplus.pairs.parquet").exists():
        corpus.draw(raw, NUM_PEOPLE, seed, 1)
        fertools = str(Path(sys.executable).with_name("fertools"))
        for line in (["prepare", "ckplus", "--raw", str(raw)], ["make-folds", "ckplus", "--num-folds", "4"]):
            subprocess.run([fertools, *line, "--manifests", str(manifests)], check=True, capture_output=True)
    return manifests


def spent(process: subprocess.Popen[str]) -> float:
    """Return the processor seconds of a process so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def undisturbed(training: Training) -> dict[str, Any]:
    """Run it to its end; return what it comes to, processor seconds before and with its folder, and its most bytes."""
    shutil.rmtree(training.runs, ignore_errors=True)
    process, before, now, most = training.start(), 0.0, 0.0, 0
    while process.poll() is None:
        now = spent(process)
        if (training.folder / "config.json").exists():
            most = max(most, _size(training.folder))
        else:
            before = now
        time.sleep(POLL_SECONDS)
    if process.returncode:
        raise RuntimeError(process.communicate()[1])
    return {"seconds before": before, "seconds": now - before, "bytes": most} | training.result()


def _size(folder: Path) -> int:
    found = 0
    for path in folder.iterdir():
        try:
            found += path.stat().st_size
        except FileNotFoundError:  # renamed between
            continue
    return found


def killed(training: Training, alone: dict[str, Any], by: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    """End it by signals until it has ended before one came; return how it stood each time."""
    shutil.rmtree(training.runs, ignore_errors=True)
    found: list[dict[str, Any]] = []
    while True:
        process, after = training.start(), float(rng.uniform(0, alone["seconds"]))
        now = 0.0
        while process.poll() is None:
            now = spent(process)
            if now >= alone["seconds before"] + after:
                process.send_signal(SIGNALS[by])
                break
            time.sleep(POLL_SECONDS)
        stderr = process.communicate(timeout=1800)[1]
        if process.returncode == 0:
            if not found:  # it starts faster now
                alone["seconds before"] = max(0.0, now - alone["seconds"])
            return found
        found.append({"processor s": round(after, 1), "exit code": process.returncode} | training.progress())
        found[-1]["as expected"] = process.returncode == -SIGNALS[by] and "Traceback" not in stderr


def filled(training: Training, alone: dict[str, Any], by: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Let it find its disk full until there is room enough; return how it stood each time."""
    del by
    shutil.rmtree(training.folder, ignore_errors=True)
    found: list[dict[str, Any]] = []
    room = 4096
    while True:
        room = int(rng.uniform(room, alone["bytes"])) // 4096 * 4096
        _mount(training.runs, f"remount,size={room if len(found) < FULL_IN_TURN else ENOUGH}")
        process = training.start()
        stderr = process.communicate(timeout=1800)[1]
        if process.returncode == 0:
            return found
        errors = [line for line in stderr.splitlines() if line.startswith("error: ") and "cannot be written" in line]
        at = errors[0].split(" cannot be written")[0].rpartition("/")[2] if errors else ""
        stood = {"bytes": room, "at": "events" if "tfevents" in at else at, "exit code": process.returncode}
        found.append(stood | training.progress())
        left = [path.name for path in training.folder.glob(".*")]
        found[-1]["as expected"] = (
            len(errors) == 1 and process.returncode == 1 and "Traceback" not in stderr and not left
        )


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)


@contextmanager
def own_disk(folder: Path) -> Iterator[bool]:
    """Yield whether a folder is now a disk of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _mount(folder, f"size={ENOUGH}")
    except (OSError, subprocess.CalledProcessError):
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def measure(work: Path, num: dict[str, int], seed: int, options: list[str]) -> Iterator[dict[str, Any]]:
    """Do trials until there were so many interruptions of each kind; yield after each what all came to."""
    manifests, rng = prepare(work, seed), np.random.default_rng(seed)
    training = Training(manifests, work / "runs", options)
    alone = undisturbed(training)
    expected = {key: alone[key] for key in (*COMPARED, "metrics", "files")}
    metadata = {key: round(alone[key], 1) for key in ("seconds before", "seconds", "bytes")}
    trials: list[dict[str, Any]] = []
    with own_disk(work / "disk") as mounted:
        disk = Training(manifests, work / "disk", options)
        kinds = dict.fromkeys(SIGNALS, (killed, training)) | ({"full disk": (filled, disk)} if mounted else {})
        while wanted := [by for by in kinds if _count(trials, by) < num[by]]:
            by = min(wanted, key=lambda kind: _count(trials, kind) / num[kind])
            interrupt, victim = kinds[by]
            if not (moments := interrupt(victim, alone, by, rng)):
                continue
            found = victim.result()
            differing = [key for key in expected if found[key] != expected[key]]
            trials.append({"by": by, "interruptions": moments, "differing": differing})
            print(json.dumps(trials[-1]), flush=True)
            yield {
                "undisturbed": metadata | {name: alone[name] for name in COMPARED},
                "full disk": "tried" if mounted else "not tried: mounting a tmpfs is not allowed here",
                "interruptions": {by: _count(trials, by) for by in kinds},
                "interruptions that ended as they should": {by: _count(trials, by, good=True) for by in kinds},
                "trainings": len(trials),
                "trainings that ended identical": sum(not trial["differing"] for trial in trials),
                "each": trials,
            }  # fmt: skip


def _count(trials: list[dict[str, Any]], by: str, good: bool = False) -> int:
    moments = [moment for trial in trials if trial["by"] == by for moment in trial["interruptions"]]
    return sum(moment["as expected"] or not good for moment in moments)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of faces and runs; made where missing")
    parser.add_argument("--num-kills", type=int, default=20, help="of each signal, at least")
    parser.add_argument("--num-full", type=int, default=10, help="full disks, at least")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, which then computes deterministically")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/interruptions.json"))
    arguments = parser.parse_args()
    options = ["--device", arguments.device, *(["--deterministic"] if arguments.device != "cpu" else [])]
    num = dict.fromkeys(SIGNALS, arguments.num_kills) | {"full disk": arguments.num_full}
    metadata = {
        "date": str(datetime.date.today()),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} shared cores, one thread; "
        f"device {arguments.device}",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": f"python benchmarks/interruptions.py --work FOLDER --num-kills {arguments.num_kills} --num-full "
        f"{arguments.num_full} --device {arguments.device} --seed {arguments.seed}",
        "training": f"trainer fit --preset demo {' '.join(f'--set {name}' for name in SETTINGS)} {' '.join(options)}; "
        f"{NUM_PEOPLE} drawn people",
    }
    for found in measure(arguments.work, num, arguments.seed, options):
        corpus.write_whole(arguments.out, (json.dumps(metadata | found, indent=1) + "\n").encode())
    print(arguments.out)


if __name__ == "__main__":
    main()
