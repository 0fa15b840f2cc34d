"""`fertools prepare` killed at random moments: does the next run end with the bytes of one that nobody disturbed?

Each trial starts in an empty folder. SIGKILL hits the command and all of its processes, the command alone, or one of
its workers alone, at a moment drawn evenly over the time that an undisturbed run takes; then the same command is run to
its end. Its manifest must be the undisturbed one's, byte for byte, whatever engine made that, and nothing else may be
left in its folder but the ledger.

    python benchmarks/kills.py --work FOLDER --seed 0
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
from pathlib import Path
from typing import Any

import numpy as np

from fertools.drawn import corpus

NUM_PEOPLE = 35  # in eight classes: 280 images, 245 of the protocol's seven
VICTIMS = ("all", "command", "worker")
WORKERS = {
    "local": "spawn_main(tracker_fd",
    "ray": "ray::",
}  # what stands in a worker's command line; agents of Ray serve a node
PACKAGES = ("numpy", "pyarrow", "ray", "torch", "facenet-pytorch", "opencv-python-headless")


def command(engine: str, raw: Path, out: Path) -> list[str]:
    """Return the command that is killed: two workers, and no detector, whose start would take most of the time."""
    fertools = str(Path(sys.executable).with_name("fertools"))
    options = ["--raw", str(raw), "--manifests", str(out), "--engine", engine, "--workers", "2"]
    return [fertools, "prepare", "affectnet", "--landmarks", "published", *options]


def finish(line: list[str]) -> float:
    """Run a command to its end; how many seconds it took."""
    started = time.perf_counter()
    subprocess.run(line, check=True, capture_output=True, timeout=900)
    return time.perf_counter() - started


def family(parent: int) -> dict[int, str]:
    """Return the processes that come from one, and their command lines."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    processes = [line.split(maxsplit=2) for line in listed.splitlines()]
    found, grown = {parent}, True
    while grown:
        more = {int(pid) for pid, above, *_ in processes if int(above) in found} - found
        found, grown = found | more, bool(more)
    return {int(pid): args[0] if args else "" for pid, _, *args in processes if int(pid) in found - {parent}}


def kill(run: subprocess.Popen[bytes], engine: str, victim: str, rng: np.random.Generator) -> str:
    """Kill some of a run's processes; what was killed, empty where there is no worker at that moment."""
    others = family(run.pid)
    if victim == "worker":
        workers = [pid for pid, args in others.items() if WORKERS[engine] in args and "Agent" not in args]
        if not workers:
            return ""
        os.kill(int(rng.choice(workers)), signal.SIGKILL)
        return f"one of {len(workers)} workers"
    pids = [run.pid, *(others if victim == "all" else ())]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return f"{len(pids)} processes"


def trial(
    engine: str, victim: str, span: float, raw: Path, out: Path, rng: np.random.Generator
) -> dict[str, Any]:  # fmt: skip
    """Kill a run at a moment of its span in seconds, run it again, and say what there is."""
    line, killed = command(engine, raw, out), ""
    while not killed:
        shutil.rmtree(out, ignore_errors=True)
        after, started = float(rng.uniform(0, span)), time.perf_counter()
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            try:
                run.wait(after)
                span = time.perf_counter() - started  # it had ended before: the machine is less busy now
            except subprocess.TimeoutExpired:
                killed = kill(run, engine, victim, rng)
            code = run.wait(900)  # of one whose worker died: it must come to its end
    parts = len(list(out.glob(".affectnet.parts/*.parquet")))
    sealed = (out / "affectnet.parquet").exists()
    seconds = finish(line)
    left = sorted(path.name for path in out.iterdir() if not path.name.startswith(".affectnet.ledger-"))
    return {
        "engine": engine, "victim": victim, "after s": round(after, 1), "killed": killed, "exit code": code,
        "parts then": parts, "manifest then": sealed, "again s": round(seconds, 1), "left": left,
        "sha256": hashlib.sha256((out / "affectnet.parquet").read_bytes()).hexdigest(),
    }  # fmt: skip


def measure(work: Path, engines: list[str], num: int, seed: int) -> dict[str, Any]:
    """Do all trials of all engines."""
    raw = work / "affectnet"
    num_images = corpus.draw(raw, NUM_PEOPLE, seed, 1, dataset="affectnet")
    undisturbed: dict[str, dict[str, Any]] = {}
    trials = []
    for engine in engines:
        out = work / f"undisturbed-{engine}"
        shutil.rmtree(out, ignore_errors=True)
        seconds = finish(command(engine, raw, out))
        sha256 = hashlib.sha256((out / "affectnet.parquet").read_bytes()).hexdigest()
        undisturbed[engine] = {"seconds": round(seconds, 1), "sha256": sha256}
        rng = np.random.default_rng([seed, len(undisturbed)])
        for number in range(num):
            made = trial(engine, VICTIMS[number % len(VICTIMS)], seconds, raw, work / "killed", rng)
            first = next(iter(undisturbed.values()))["sha256"]
            made["same bytes"] = made.pop("sha256") == first
            trials.append(made)
            print(json.dumps(made), flush=True)
    one = len({run["sha256"] for run in undisturbed.values()}) == 1
    good = sum(made["same bytes"] and made["left"] == ["affectnet.parquet"] for made in trials)
    return {
        "images": num_images, "undisturbed": undisturbed, "engines give the same bytes": one,
        "trials": len(trials), "same bytes and nothing left over": good, "each": trials,
    }  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of the drawn set; made where missing")
    parser.add_argument("--engine", action="append", choices=list(WORKERS), help="repeatable; both by default")
    parser.add_argument("--num-kills", type=int, default=20, help="of each engine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/kills.json"))
    options = parser.parse_args()
    engines = options.engine or list(WORKERS)
    found = measure(options.work, engines, options.num_kills, options.seed)
    result = {
        "date": str(datetime.date.today()),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} shared cores, no GPU used",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": f"python benchmarks/kills.py --work FOLDER {' '.join(f'--engine {name}' for name in engines)} "
        f"--num-kills {options.num_kills} --seed {options.seed}",
        **found,
    }
    corpus.write_whole(options.out, (json.dumps(result, indent=2) + "\n").encode())
    print(options.out)


if __name__ == "__main__":
    main()
