"""How fast faces are found, with how much memory, and whether they are those that facenet-pytorch finds; on one core.

Contenders take turns on the same drawn pictures, in another order every round; figures are medians of CPU time.
Writes docs/results/prepare.json: python benchmarks/prepare.py
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray

from fertools import align, detect, images
from fertools.drawn import ckplus, corpus
from fertools.drawn.factors import sample_nuisance
from fertools.drawn.photographs import at_large, close_up
from fertools.drawn.recording import encode
from fertools.drawn.render import render, render_colour

PACKAGES = ("numpy", "opencv-python-headless", "torch", "torchvision", "facenet-pytorch")
Image = NDArray[np.uint8]
Faces = list[detect.Face]
KINDS: dict[str, tuple[str, list[tuple[int, int]]]] = {  # suffix; heights and widths
    "640 x 490 px grey PNG": (".png", [(490, 640)]),
    "about 1,000 px JPEG": (".jpg", [(800, 1000), (1000, 750)]),
    "224 to 425 px JPEG": (".jpg", [(224, 224), (425, 425), (300, 300), (360, 340)]),
    "about 1,000 px JPEG, no face": (".jpg", [(800, 1000)]),
}
LOOP = "facenet-pytorch, loop"
STEP = 8  # images of a batch
MIN_SHARE, REDUCED = 0.1, 480


def picture(kind: str, number: int, num_images: int) -> bytes:
    """Return a drawn file of one kind; those of one size come one after the other."""
    suffix, sizes = KINDS[kind]
    height, width = sizes[number * len(sizes) // num_images]
    rng = np.random.default_rng([7, number])
    if "no face" in kind:
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        return encode(np.asarray(cv2.GaussianBlur(noise, (0, 0), 6), np.uint8), suffix)
    nuisance = at_large(sample_nuisance(rng))
    nuisance = close_up(nuisance) if max(height, width) < 450 else nuisance
    action = corpus.frames(ckplus.plan(num_subjects=8)[number % 20], 0)[0][-1].action
    draw = render if "grey" in kind else render_colour
    return encode(draw(corpus.person(7, number), action, nuisance, height, width, rng), suffix)


def contenders(files: Sequence[bytes], pictures: Sequence[Image]) -> dict[str, Callable[[], list[Faces]]]:
    """Return what is compared, by name; each does all pictures."""
    theirs = MTCNN(min_face_size=detect.MIN_FACE, factor=detect.FACTOR, keep_all=True)
    ours, not_small = detect.Detector("cpu"), detect.Detector("cpu", min_share=MIN_SHARE)
    equal = [list(group) for _, group in groupby(pictures, key=lambda picture: picture.shape)]
    stacks = [np.stack(group[i : i + STEP]) for group in equal for i in range(0, len(group), STEP)]

    def in_turn(call: Callable[[list[Image]], list[Faces]], step: int) -> list[Faces]:
        return [faces for i in range(0, len(pictures), step) for faces in call(list(pictures[i : i + step]))]

    def largest(some: list[Image]) -> list[Faces]:
        return ours.batch(some, only_largest=True)

    return {
        LOOP: lambda: [as_faces(*theirs.detect(picture, landmarks=True)) for picture in pictures],
        "facenet-pytorch, batches of 8 of one size": lambda: [
            as_faces(*faces) for stack in stacks for faces in zip(*theirs.detect(stack, landmarks=True), strict=True)
        ],
        "decoding alone": lambda: [[] for file in files if images.decode(file).size],
        "all faces, batches of 8": lambda: in_turn(ours.batch, STEP),
        "largest face, batches of 8": lambda: in_turn(largest, STEP),
        "largest face, one by one": lambda: in_turn(largest, 1),
        f"faces of {MIN_SHARE} of the short side, batches of 8": lambda: in_turn(not_small.batch, STEP),
        f"largest face, reduced to {REDUCED} px, one by one": lambda: [
            on_reduced(largest, picture) for picture in pictures
        ],
    }


def as_faces(boxes: Any, scores: Any, landmarks: Any) -> Faces:
    """Return facenet-pytorch's answer in our words."""
    found = [] if boxes is None else zip(boxes, landmarks, scores, strict=True)
    faces = [
        detect.Face(np.asarray(box, np.float32), np.asarray(points, np.float32), float(score))
        for box, points, score in found
    ]
    return [face for face in faces if face.score >= detect.MIN_SCORE]


def on_reduced(find: Callable[[list[Image]], list[Faces]], picture: Image) -> Faces:
    """Return the faces of a picture that is made smaller before, in pixels of the larger."""
    part = min(1, REDUCED / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=part, fy=part, interpolation=cv2.INTER_AREA) if part < 1 else picture
    sides = np.array(picture.shape[1::-1], np.float32) / np.array(small.shape[1::-1], np.float32)
    (faces,) = find([np.asarray(small, np.uint8)])
    return [detect.Face(face.box * np.tile(sides, 2), face.landmarks * sides, face.score) for face in faces]


def agreement(found: Sequence[Faces], reference: Sequence[Faces], pictures: Sequence[Image]) -> dict[str, Any]:
    """Return how far the faces that are meant are from the reference's; landmarks in pixels of the crop."""
    shared, moved, missed, new = [1.0], [0.0], 0, 0
    for faces, expected, picture in zip(found, reference, pictures, strict=True):
        if not (faces and expected):
            missed, new = missed + (not faces and bool(expected)), new + (bool(faces) and not expected)
            continue
        face, meant = (detect.choose(some, picture.shape) for some in (faces, expected))
        assert face is not None and meant is not None
        matrix = align.similarity(meant.landmarks, align.TEMPLATE)
        shared.append(detect.overlap(face.box, meant.box.tolist()))
        moved.append(float(np.abs((face.landmarks - meant.landmarks) @ matrix[:, :2].T).max()))
    return {
        "missed": missed, "new": new, "least overlap": round(min(shared), 4),
        "landmarks moved, median px": round(median(moved), 4), "landmarks moved, most px": round(max(moved), 4),
    }  # fmt: skip


def peak_memory(run: Callable[[], Any]) -> float | None:
    """Return the most memory in use during a run, in MB, or nothing where Linux does not tell."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        run()
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    except OSError:
        return None
    return round(int(line.split()[1]) / 1000, 1)


def measure(kind: str, num_images: int, rounds: int) -> dict[str, Any]:
    """Return the figures of one kind of picture."""
    files = [picture(kind, number, num_images) for number in range(num_images)]
    pictures = [images.decode(file) for file in files]
    runs = contenders(files, pictures)
    answers = {name: run() for name, run in runs.items()}
    memory = {name: peak_memory(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 == 0 else reversed(list(runs)):
            start = time.process_time()
            runs[name]()
            times[name].append(time.process_time() - start)
    found: dict[str, Any] = {}
    for name, taken in times.items():
        found[name] = {
            "images a second": round(num_images / median(taken), 1),
            "times the loop": round(median(one / other for one, other in zip(times[LOOP], taken, strict=True)), 2),
            "peak memory, MB": memory[name],
        }
        if name != "decoding alone":
            found[name] |= agreement(answers[name], answers[LOOP], pictures)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=16, help="of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results/prepare.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "drawing version": corpus.VERSION,
        "command": "python " + " ".join(sys.argv),
    }
    for kind in KINDS:
        result[kind] = measure(kind, arguments.num_images, arguments.rounds)
        print(kind)
        for name, figures in result[kind].items():
            print(f"  {name}".ljust(56), *(f"{key} {value}".ljust(24) for key, value in figures.items()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    corpus.write_whole(arguments.out, (json.dumps(result, indent=2) + "\n").encode())
    print(arguments.out)


if __name__ == "__main__":
    main()
