"""Does a frame of a long video take more time or memory than one of a short one? `trainer predict` on one thread.

A drawn face moves through every frame. Each thousandth frame tells seconds of the clock and of the processor since the
one before, and the memory that the process holds. Writes docs/results/video.json:

    python benchmarks/video.py --frames 10000 --large 60
"""

import argparse
import importlib.metadata
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from predict import untrained

from fertools.drawn import corpus
from fertools.drawn.face.factors import sample_nuisance
from fertools.drawn.face.render import render_colour
from fertools.drawn.layouts import ckplus
from fertools.drawn.layouts.photographs import at_large, close_up
from trainer.inference import predict
from trainer.inference.predict import Listener, PredictSpec
from trainer.runs.made_by import made_by

CODE = ("fertools/faces", "trainer/inference")
RATE = 30  # frames a second
DRAWN = 240  # px


def face(side: int) -> NDArray[np.uint8]:
    """Return a drawn face, enlarged to (side, side, 3) RGB."""
    rng = np.random.default_rng(0)
    action = corpus.frames(ckplus.plan(num_subjects=2)[0], 0)[0][-1].action
    drawn = render_colour(corpus.person(7, 0), action, close_up(at_large(sample_nuisance(rng))), DRAWN, DRAWN, rng)
    return np.asarray(cv2.resize(drawn, (side, side)), np.uint8)


def film(path: Path, num: int, height: int, width: int) -> None:
    """Write a video in which a face of half the height moves to and fro."""
    side = height // 2
    picture, writer = face(side), cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (width, height))
    for number in range(num):
        frame = np.full((height, width, 3), 90, np.uint8)
        left = int((width - side) * (0.5 + 0.45 * np.sin(number / 25)))
        frame[height // 4 : height // 4 + side, left : left + side] = picture
        writer.write(frame[:, :, ::-1])
    writer.release()


def held() -> float:
    """Return the memory that this process holds, MiB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def watched(path: Path, out: Path, every: int, step: int) -> dict[str, Any]:
    """Read a video; return what each `step` frames that were looked at took."""
    marks = [(time.perf_counter(), time.process_time(), held())]
    looked = 0

    def picture(_: Path, __: int | None) -> None:
        nonlocal looked
        looked += 1
        if looked % step == 0:
            marks.append((time.perf_counter(), time.process_time(), held()))

    spec = PredictSpec(paths=(path,), every=every, largest=True, out=out)
    tell = Listener(lambda _: None, lambda _: None, picture)
    summary = predict.predict(untrained(), spec, "cpu", tell, lambda: False)
    pairs = list(zip(marks, marks[1:], strict=False))
    return {
        "frames looked at": looked, "every": every, "faces": summary.faces,
        "frames a second": [round(step / (after[0] - before[0]), 1) for before, after in pairs],
        "processor ms a frame": [round(1000 * (after[1] - before[1]) / step, 1) for before, after in pairs],
        "memory, MiB": [round(mark[2]) for mark in marks[1:]],
    }  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000, help="of 640 x 480 px")
    parser.add_argument("--large", type=int, default=60, help="frames of 3840 x 2160 px")
    parser.add_argument("--out", type=Path, default=Path("docs/results/video.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    result: dict[str, Any] = {
        "made": made_by({"frames": asked.frames, "large": asked.large}, parts=CODE),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("opencv-python-headless", "torch")},
    }
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.mp4", Path(folder) / "large.mp4"
        film(small, asked.frames, 480, 640)
        film(large, asked.large, 2160, 3840)
        jobs = {
            "640 x 480 px": (small, 1, max(1, asked.frames // 10)),
            "640 x 480 px, --every 10": (small, 10, max(1, asked.frames // 100)),
            "3840 x 2160 px": (large, 1, max(1, asked.large // 3)),
        }
        for name, (path, every, step) in jobs.items():
            result[name] = watched(path, Path(folder) / "faces.csv", every, step)
            print(name, json.dumps(result[name]), flush=True)
    corpus.write_whole(asked.out, (json.dumps(result, indent=2) + "\n").encode())
    print(asked.out)


if __name__ == "__main__":
    main()
