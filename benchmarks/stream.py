"""As many faces as AffectNet has, trained on with 4 GB: streamed against resident, in steps a second and in memory.

Made-up faces without names in an official split; stage 1 of DICE-FER's demo, by `trainer.training.fit`, each time in a
process of its own. Streamed, on the CPU the process may allocate --cap GB of its own, libraries and all, and no more
(RLIMIT_DATA; pages of the file that it maps are not counted); on a GPU it may take so much of that. Resident, nothing
is capped. Before a cold run the file is dropped from the system's cache, before the others it was read once. After as
many steps, the weights must be the same bits on the CPU. Writes docs/results/stream.json:

    python benchmarks/stream.py --work FOLDER

FOLDER needs 13 GB for 280,000 faces; what is made there is removed.
"""

import argparse
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from folds import faces

from fertools.drawn import corpus
from fertools.folds.make_folds import make_folds
from manifests import files
from trainer.data import crop_cache
from trainer.runs.device import pick_device
from trainer.training.fit import RunSpec, fit

PACKAGES = ("torch", "numpy", "pyarrow")
KINDS = ("streamed", "streamed, cold", "resident")
STATUS = Path("/proc/self/status")
LOOK = 0.02  # s between two looks at the memory


def of_process(what: str) -> int:
    """Return a figure that the system tells of this process, bytes."""
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{what}:")]
    return int(line.split()[1]) * 1024


class Watch(threading.Thread):
    """Looks at how much memory of its own a process has."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        """Look, until the process ends."""
        while True:
            self.peak = max(self.peak, of_process("RssAnon"))
            time.sleep(LOOK)


def cap(device: torch.device, memory: int) -> None:
    """Let this process have so many bytes of its own, or of its GPU."""
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(memory / torch.cuda.mem_get_info()[1])
    else:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def measure(manifest: Path, kind: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one training: to be run in a process of its own."""
    device, seconds = pick_device(asked.device), {"making the file": 0.0}
    if kind != "resident":
        cap(device, int(asked.cap * crop_cache.GB))
    write = crop_cache._write

    def timed(*of: Any) -> None:
        started = time.perf_counter()
        write(*of)
        seconds["making the file"] = time.perf_counter() - started

    crop_cache._write = timed
    watch = Watch()
    watch.start()
    training = RunSpec(
        manifest=manifest, method="dicefer", preset="demo", settings=tuple(asked.set), epochs=1, fold=1, seed=0,
        memory=1e6 if kind == "resident" else asked.memory,
    )  # fmt: skip
    moments: list[float] = []

    def stop() -> bool:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if len(moments) <= asked.steps:
            moments.append(time.perf_counter())
        return len(moments) > asked.steps

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=manifest.parent) as runs:
        run = fit(training, Path(runs), device, lambda *_: None, stop)
        saved = run.checkpoint()
        assert saved
        digest = hashlib.sha256()
        for name in sorted(saved.weights):
            digest.update(saved.weights[name].cpu().numpy().tobytes())
        first = len(moments) // 5  # warm
    return {
        "kind": kind, "faces": files.read(manifest).num_rows, "steps": len(moments) - 1,
        "steps a second": round((len(moments) - 1 - first) / (moments[-1] - moments[first]), 3),
        "slowest step, s": round(float(np.diff(moments[first:]).max()), 3),
        "until the first step, s": round(moments[0] - started, 1),
        "making the file, s": round(seconds["making the file"], 1),
        "peak of its own memory, GB": round(watch.peak / crop_cache.GB, 3),
        "peak with pages of files, GB": round(of_process("VmHWM") / crop_cache.GB, 3),
        "peak on the GPU, GB": round(torch.cuda.max_memory_reserved() / crop_cache.GB, 3)
        if device.type == "cuda"
        else None,
        "weights": digest.hexdigest(), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def warm(manifest: Path, kind: str) -> None:
    """Read the file that is streamed, or have the system forget it."""
    for path in manifest.with_suffix(".crops").glob("*.uint8"):
        with path.open("rb") as file:
            if kind.endswith("cold"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while file.read(1 << 24):
                    pass


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=280_000)
    parser.add_argument("--memory", type=float, default=4.0, help="GB that the faces may take")
    parser.add_argument("--cap", type=float, default=4.0, help="GB that the process may take")
    parser.add_argument("--steps", type=int, default=300, help="of each training; a fifth is not timed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="name=value of the method; may be repeated")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, help="where the manifest is made")
    parser.add_argument("--out", type=Path, default=Path("docs/results/stream.json"))
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command has it
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name() if arguments.device != "cpu" else "cpu",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": f"python benchmarks/stream.py --rows {arguments.rows} --memory {arguments.memory} --cap "
        f"{arguments.cap} --steps {arguments.steps} --repeats {arguments.repeats} --device {arguments.device}"
        + "".join(f" --set {one}" for one in arguments.set),
        "runs": [],
    }
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        manifest = Path(folder) / "many.parquet"
        about = {"commit": None, "summary": {"protocol": "all", "drawn": True}}
        files.write(faces(arguments.rows, named=False), manifest, about)
        make_folds(manifest, 10, "standardize", 0, "official")
        for _ in range(arguments.repeats):
            for kind in KINDS:
                warm(manifest, kind)
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    figures = pool.apply(measure, (manifest, kind, arguments))
                result["runs"].append(figures)
                print(*(f"{key} {value}" for key, value in figures.items()), sep=", ", flush=True)
        result["file, GB"] = (
            sum(path.stat().st_size for path in Path(folder).glob("many.crops/*.uint8")) / crop_cache.GB
        )
    rates = {kind: [run["steps a second"] for run in result["runs"] if run["kind"] == kind] for kind in KINDS}
    result["median steps a second"] = {kind: float(np.median(found)) for kind, found in rates.items()}
    result["same weights"] = len({run["weights"] for run in result["runs"]}) == 1
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    corpus.write_whole(arguments.out, (json.dumps(result, indent=2) + "\n").encode())
    print(arguments.out, result["median steps a second"], "same weights:", result["same weights"])


if __name__ == "__main__":
    main()
