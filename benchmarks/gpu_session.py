"""What a GPU does with this code, in one run of under ten minutes: what must be equal first, then what it takes.

On drawn CK+, nothing else beside it:

    python benchmarks/gpu_session.py --work FOLDER         writes docs/results/gpu.json
    python benchmarks/gpu_session.py --work FOLDER --device cpu --rehearse --out FILE    small, to see that it runs

Equal: landmarks on both devices, the losses of the first twenty steps in each precision against the CPU's float32, the
weights of two deterministic runs. Taken: steps of the encoder, eager and as one CUDA graph, in each precision at two
batches; every stage of DICE-FER and IF-GAN against its limits (`trainer bench`); preparation by one and many workers;
runs side by side. A part that fails says why and the others go on; what no time is left for is named as left out.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manifests import read
from trainer.experiments.throughput import endless_batches, interleaved_rates, set_up
from trainer.networks.resnet import ResNet
from trainer.runs.atomic import write_whole
from trainer.runs.device import environment, pick_device
from trainer.runs.made_by import made_by
from trainer.training.fit import RunSpec
from trainer.training.precision import StepRunner, tf32

CPU = torch.device("cpu")
PRECISIONS = ("float32", "tf32", "bf16")
STEPS = 20
SECONDS = 540  # of the whole session


class Session:
    """Where it works, on which device, how large, and how long it may take.

    Attributes:
        result: what is known so far, by part.
    """

    def __init__(self, work: Path, device: torch.device, rehearsal: bool) -> None:
        self.work, self.device, self.rehearsal = work, device, rehearsal
        self.manifests, self.started, self.result = work / "manifests-cpu-1", time.monotonic(), {}
        self.width = 16 if rehearsal else 64

    def left(self) -> float:
        """Return the seconds that are left."""
        return SECONDS - (time.monotonic() - self.started)

    def part(self, name: str, measure: Callable[[], Any]) -> None:
        """Measure a part, or say why there is nothing."""
        before = self.left()
        if before < 20:
            self.result[name] = "left out: no time was left"
        else:
            try:
                self.result[name] = measure()
            except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", None) or str(error)
                self.result[name] = f"failed: {type(error).__name__}: {said.strip()[-600:]}"
        print(f"{before - self.left():6.1f} s  {name}: {json.dumps(self.result[name])[:200]}", flush=True)

    def command(self, name: str, *words: object, threads: int | None = None) -> tuple[float, str]:
        """Run a command of ours; return its seconds and what it printed."""
        line = [str(Path(sys.executable).with_name(name)), *map(str, words)]
        limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        started = time.perf_counter()
        done = subprocess.run(
            line, check=True, capture_output=True, text=True, env=os.environ | limits, timeout=max(1, self.left())
        )
        return time.perf_counter() - started, done.stdout

    def spec(self, method: str, precision: str = "float32") -> RunSpec:
        """Return a run of a method on the drawn manifest."""
        return RunSpec(
            manifest=self.manifests / "ckplus.parquet", method=method, preset="demo" if self.rehearsal else "default",
            settings=(f"width={self.width}",), epochs=None, fold=1, seed=0, step_runner=StepRunner(precision),
        )  # fmt: skip


# --- what must be equal


def prepared(session: Session) -> dict[str, Any]:
    """Draw and prepare on each device, by one and by many workers; return seconds, and how far landmarks lie apart."""
    raw, workers = session.work / "raw", (1,) if session.rehearsal else (1, os.cpu_count() or 1)
    session.command("fertools", "draw", "ck+", "--subjects", 12 if session.rehearsal else 60, "--raw", raw)
    seconds, rows = {}, {}
    for device in ("cpu", session.device.type):
        for number in workers:
            folder = session.work / f"manifests-{device}-{number}"
            shutil.rmtree(folder, ignore_errors=True)
            words = ("--raw", raw, "--manifests", folder, "--device", device, "--workers", number)
            seconds[f"{device}, workers: {number}"] = round(session.command("fertools", "prepare", "ck+", *words)[0], 1)
            rows[device] = read(folder / "ckplus.parquet").set_index("face_id")
    session.command("fertools", "make-folds", "--manifests", session.manifests)
    ours, theirs = rows["cpu"], rows[session.device.type]
    both = ours.index[ours["usable"] & theirs["usable"].reindex(ours.index)]
    apart = np.stack(ours.loc[both, "landmarks"]) - np.stack(theirs.loc[both, "landmarks"])
    alone = ours["usable"] != theirs["usable"].reindex(ours.index)
    return {
        "seconds": seconds, "images": len(ours), "found by one device alone": int(alone.sum()),
        "landmarks apart, px, at most": float(np.abs(apart).max()),
    }  # fmt: skip


def losses(session: Session, precision: str, device: torch.device) -> list[float]:
    """Return what the first steps of DICE-FER's first stage log, of the same weights and faces on any device."""
    spec = session.spec("dicefer", precision)
    method, data, _ = set_up(spec, CPU)
    method.to(device)
    stage = spec.step_runner.wrap_stage(next(method.stages()), device)
    method.train()
    stage.begin(0)
    batches, logged = endless_batches(stage, data), []
    for _ in range(STEPS):
        batch = next(batches)
        torch.manual_seed(0)
        values = stage.step(type(batch)(*(part if part is None else part.to(device) for part in batch)))
        logged.append(float(next(iter(values.values())).detach()))
    return logged


def precisions(session: Session) -> dict[str, Any]:
    """Return how far the losses of each precision are from the CPU's float32, after one step and at most."""
    reference = np.array(losses(session, "float32", CPU))
    found = {name: np.array(losses(session, name, session.device)) - reference for name in PRECISIONS}
    return {name: {"first": float(abs(off[0])), "most": float(np.abs(off).max())} for name, off in found.items()}


def deterministic(session: Session) -> dict[str, Any]:
    """Return whether two deterministic runs end with the same weights."""
    found = {}
    for method in ("ifgan",) if session.rehearsal else ("dicefer", "ifgan"):
        hashes = set()
        for name in "ab":
            runs = session.work / f"runs-{name}"
            shutil.rmtree(runs, ignore_errors=True)
            words = ("--manifests", session.manifests, "--runs", runs, "--method", method, "--preset", "demo")
            words += ("--epochs", 1, "--fold", 1, "--deterministic", "--device", session.device.type)
            session.command("trainer", "fit", *words)
            (weights,) = runs.glob("*/weights.safetensors")
            hashes.add(hashlib.sha256(weights.read_bytes()).hexdigest())
        found[method] = len(hashes) == 1
    return found


# --- what it takes


def encoder_steps(session: Session) -> dict[str, Any]:
    """Return images a second of the encoder's step alone, eager and replayed as one CUDA graph."""
    found = {}
    for batch in (32, 512) if not session.rehearsal else (8,):
        for precision in PRECISIONS:
            steps = _steps(session, batch, precision)
            rates = interleaved_rates(steps, session.device, 0.1 if session.rehearsal else 0.5)
            found[f"batch {batch}, {precision}"] = {name: float(np.median(values)) for name, values in rates.items()}
    return found


def _steps(session: Session, batch: int, precision: str) -> dict[str, Callable[[], int]]:
    device = session.device
    encoder = ResNet("resnet18", 1, 64, session.width).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(encoder.parameters(), capturable=device.type == "cuda")
    faces = torch.randn(batch, 1, 112, 112, device=device)

    def compute() -> int:
        optimizer.zero_grad(set_to_none=False)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            loss = encoder(faces).output.square().mean()
        loss.backward()
        optimizer.step()
        return batch

    def eager() -> int:
        if precision == "tf32":
            with tf32():
                return compute()
        return compute()

    if device.type != "cuda":
        return {"eager": eager}
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(5):
            eager()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        eager()

    def replayed() -> int:
        graph.replay()
        return batch

    return {"eager": eager, "graph": replayed}


def stages(session: Session) -> dict[str, Any]:
    """Return what `trainer bench` says of each stage, by method and precision."""
    found = {}
    for method in ("dicefer", "ifgan"):
        for precision in PRECISIONS:
            words = ("--manifests", session.manifests, "--method", method, "--precision", precision, "--json")
            words += ("--device", session.device.type, "--preset", "demo" if session.rehearsal else "default")
            told = json.loads(session.command("trainer", "bench", *words)[1])
            found[f"{method}, {precision}"] = {"stages": told["stages"], "peak memory": told["peak_memory"]}
            if session.rehearsal:
                return found
    return found


def side_by_side(session: Session) -> dict[str, float]:
    """Return the seconds of eight short runs, by how many of them run at once."""
    found = {}
    for number in (1, 2) if session.rehearsal else (1, 4, 8):
        runs = session.work / f"side-{number}"
        shutil.rmtree(runs, ignore_errors=True)
        words = ("--manifests", session.manifests, "--runs", runs, "--preset", "demo", "--epochs", 1, "--fold", 1)
        words += ("--seeds", 2 if session.rehearsal else 8, "--side-by-side", number, "--device", session.device.type)
        found[str(number)] = round(session.command("trainer", "fit", *words, threads=1)[0], 1)
    return found


PARTS = {
    "prepared": prepared, "first twenty losses, off the CPU's": precisions, "deterministic": deterministic,
    "encoder, images/s": encoder_steps, "stages": stages, "eight runs, seconds": side_by_side,
}  # fmt: skip


def main() -> None:
    """Run every part, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for what is drawn, prepared and trained")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rehearse", action="store_true", help="everything small, to see that the script runs")
    parser.add_argument("--out", type=Path, default=Path("docs/results/gpu.json"))
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    session = Session(asked.work, pick_device(asked.device), asked.rehearse)
    for name, measure in PARTS.items():
        session.part(name, lambda measure=measure: measure(session))
    made = made_by({"device": asked.device, "rehearse": asked.rehearse})
    where = environment(session.device)
    result = {"made": made, "where": where, "seconds": round(SECONDS - session.left()), **session.result}
    write_whole(asked.out, json.dumps(result, indent=1) + "\n")
    print(asked.out)


if __name__ == "__main__":
    main()
