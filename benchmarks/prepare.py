"""How fast faces are found, and files become rows; whether the faces are those that facenet-pytorch finds.

Contenders take turns on the same drawn pictures, in another order every round; figures are medians of processor seconds
on one core, on a GPU of seconds of the clock. Detection starts from pixels in memory. From file to row, `prepare` does
all that it does, on one core, into an empty folder, against the usual script's file to file and against decoding alone.
Each contender has had a turn before, so that loading networks is no part of it. The limit of a preparation: decoding
alone, plus the multiplications of the networks as torch counts them, at the rate of a large product of matrices, which
takes its turn with the others.

    python benchmarks/prepare.py                                       writes docs/results/prepare.json
    python benchmarks/prepare.py --device cuda --num-images 128        writes docs/results/prepare-cuda.json
"""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch.utils.flop_counter import FlopCounterMode

from fertools.datasets import DATASETS
from fertools.drawn import corpus
from fertools.drawn.face.factors import sample_nuisance
from fertools.drawn.face.render import render, render_colour
from fertools.drawn.layouts import ckplus
from fertools.drawn.layouts.photographs import at_large, close_up
from fertools.drawn.recording import encode
from fertools.faces import align, detector, images
from fertools.preparation.prepare import prepare
from trainer.runs.made_by import made_by

PACKAGES = ("numpy", "opencv-python-headless", "torch", "torchvision", "facenet-pytorch")
CODE = ("fertools/faces", "fertools/preparation", "manifests")
Image = NDArray[np.uint8]
Faces = list[detector.Face]
KINDS: dict[str, tuple[str, list[tuple[int, int]]]] = {  # suffix; heights and widths
    "640 x 490 px grey PNG": (".png", [(490, 640)]),
    "about 1,000 px JPEG": (".jpg", [(800, 1000), (1000, 750)]),
    "224 to 425 px JPEG": (".jpg", [(224, 224), (425, 425), (300, 300), (360, 340)]),
    "about 1,000 px JPEG, no face": (".jpg", [(800, 1000)]),
}
LOOP, THEIR_BATCHES = "facenet-pytorch, loop", "facenet-pytorch, batches of one size"
USUAL, DECODING, OURS = "Pillow, facenet-pytorch, OpenCV's warp, PNG files", "decoding alone", "fertools prepare"
OPENVINO = "OpenVINO"  # where it is installed, and the device is the processor
LIMIT, PRODUCT = "limit: decoding and the networks' multiplications", "a product"
SIDE = 1024  # of the product's matrices
STEP = {"cpu": 8, "cuda": 64}  # images of a batch
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


def detectors(
    files: Sequence[bytes], pictures: Sequence[Image], device: str
) -> dict[str, Callable[[], list[Faces]]]:  # fmt: skip
    """Return what finds faces, by name; each does all pictures."""
    theirs = MTCNN(min_face_size=detector.MIN_FACE, factor=detector.FACTOR, keep_all=True, device=device)
    ours, not_small = detector.Detector(device), detector.Detector(device, min_share=MIN_SHARE)
    step = STEP[torch.device(device).type]
    equal = [list(group) for _, group in groupby(pictures, key=lambda picture: picture.shape)]
    stacks = [np.stack(group[i : i + step]) for group in equal for i in range(0, len(group), step)]

    def in_turn(call: Callable[[list[Image]], list[Faces]], step: int) -> list[Faces]:
        return [faces for i in range(0, len(pictures), step) for faces in call(list(pictures[i : i + step]))]

    def largest(some: list[Image]) -> list[Faces]:
        return ours.batch(some, only_largest=True)

    runs: dict[str, Callable[[], list[Faces]]] = {
        LOOP: lambda: [as_faces(*theirs.detect(picture, landmarks=True)) for picture in pictures],
        THEIR_BATCHES: lambda: [
            as_faces(*faces) for stack in stacks for faces in zip(*theirs.detect(stack, landmarks=True), strict=True)
        ],
        DECODING: lambda: [[] for file in files if images.load(file).pixels.size],
        f"all faces, batches of {step}": lambda: in_turn(ours.batch, step),
        f"largest face, batches of {step}": lambda: in_turn(largest, step),
        "largest face, one by one": lambda: in_turn(largest, 1),
        f"faces of {MIN_SHARE} of the short side, batches of {step}": lambda: in_turn(not_small.batch, step),
        f"largest face, reduced to {REDUCED} px, one by one": lambda: [
            on_reduced(largest, picture) for picture in pictures
        ],
    }
    if device == "cpu" and find_spec("openvino"):
        by_openvino = detector.Detector(detector.OPENVINO)
        runs |= {
            f"all faces, batches of {step}, {OPENVINO}": lambda: in_turn(by_openvino.batch, step),
            f"largest face, batches of {step}, {OPENVINO}": lambda: in_turn(
                partial(by_openvino.batch, only_largest=True), step
            ),
        }
    return runs


def as_faces(boxes: Any, scores: Any, landmarks: Any) -> Faces:
    """Return facenet-pytorch's answer in our words."""
    found = [] if boxes is None else zip(boxes, landmarks, scores, strict=True)
    faces = [
        detector.Face(np.asarray(box, np.float32), np.asarray(points, np.float32), float(score))
        for box, points, score in found
    ]
    return [face for face in faces if face.score >= detector.MIN_SCORE]


def on_reduced(find: Callable[[list[Image]], list[Faces]], picture: Image) -> Faces:
    """Return the faces of a picture that is made smaller before, in pixels of the larger."""
    part = min(1, REDUCED / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=part, fy=part, interpolation=cv2.INTER_AREA) if part < 1 else picture
    sides = np.array(picture.shape[1::-1], np.float32) / np.array(small.shape[1::-1], np.float32)
    (faces,) = find([np.asarray(small, np.uint8)])
    return [detector.Face(face.box * np.tile(sides, 2), face.landmarks * sides, face.score) for face in faces]


def agreement(found: Sequence[Faces], reference: Sequence[Faces], pictures: Sequence[Image]) -> dict[str, Any]:
    """Return how far the faces that are meant are from the reference's; landmarks in pixels of the crop."""
    shared, moved, missed, new = [1.0], [0.0], 0, 0
    for faces, expected, picture in zip(found, reference, pictures, strict=True):
        if not (faces and expected):
            missed, new = missed + (not faces and bool(expected)), new + (bool(faces) and not expected)
            continue
        face, meant = (detector.choose(some, picture.shape) for some in (faces, expected))
        assert face is not None and meant is not None
        matrix = align.similarity(meant.landmarks, align.TEMPLATE)
        shared.append(detector.overlap(face.box, meant.box.tolist()))
        moved.append(float(np.abs((face.landmarks - meant.landmarks) @ matrix[:, :2].T).max()))
    return {
        "missed": missed, "new": new, "least overlap": round(min(shared), 4),
        "landmarks moved, median px": round(median(moved), 4), "landmarks moved, most px": round(max(moved), 4),
    }  # fmt: skip


def usual(theirs: MTCNN, files: Sequence[Path], out: Path) -> int:
    """Align the largest face of each file as scripts do, file to file; return how many have one."""
    num_faces = 0
    for path in files:
        picture = Pillow.open(path).convert("RGB")
        boxes, _, landmarks = theirs.detect(picture, landmarks=True)  # the largest comes first
        if boxes is not None:
            matrix, _ = cv2.estimateAffinePartial2D(np.float32(landmarks[0]), align.TEMPLATE)
            face = cv2.warpAffine(np.asarray(picture.convert("L")), matrix, (112, 112))
            num_faces += cv2.imwrite(str(out / f"{path.stem}.png"), face)
    return num_faces


def prepared(raw: Path, out: Path, device: str) -> int:
    """Prepare a folder anew; return how many files have a face."""
    shutil.rmtree(out, ignore_errors=True)
    return prepare(DATASETS["folder"], raw, out, device=device).usable


def peak_memory(run: Callable[[], Any], device: str) -> float | None:
    """Return the most memory in use during a run, in MB, on a GPU its own; nothing where Linux does not tell."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        run()
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        run()
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    except OSError:
        return None
    return round(int(line.split()[1]) / 1000, 1)


def spent() -> NDArray[np.float64]:
    """Return processor seconds of this process and of those that it has waited for, and seconds of the clock."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.process_time() + children.ru_utime + children.ru_stime, time.perf_counter()])


def in_turns(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Return the seconds of every round, (rounds, 2) as `spent` counts them, by contender."""
    times: dict[str, list[NDArray[np.float64]]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 == 0 else reversed(list(runs)):
            start = spent()
            runs[name]()
            times[name].append(spent() - start)
    return {name: np.array(taken) for name, taken in times.items()}


def detection(kind: str, num_images: int, rounds: int, device: str) -> dict[str, Any]:
    """Return the figures of finding faces in one kind of picture."""
    files = [picture(kind, number, num_images) for number in range(num_images)]
    pictures = [images.decode(file) for file in files]
    runs = detectors(files, pictures, device)
    answers = {name: run() for name, run in runs.items()}
    memory = {name: peak_memory(run, device) for name, run in runs.items()}
    times = {name: taken[:, int(device != "cpu")] for name, taken in in_turns(runs, rounds).items()}
    found: dict[str, Any] = {}
    for name, taken in times.items():
        found[name] = {
            "images a second": round(num_images / float(np.median(taken)), 1),
            "times the loop": round(float(np.median(times[LOOP] / taken)), 2),
            "times their batches": round(float(np.median(times[THEIR_BATCHES] / taken)), 2),
            "peak memory, MB": memory[name],
        }
        if name != DECODING:
            found[name] |= agreement(answers[name], answers[LOOP], pictures)
    return found


def file_to_row(kind: str, num_files: int, rounds: int, device: str) -> dict[str, Any]:
    """Return the figures of everything from a file on disk to an aligned face on disk, milliseconds a file."""
    with tempfile.TemporaryDirectory() as work:
        raw, out = Path(work) / "raw", Path(work) / "out"
        files = [raw / "happiness" / f"{number:05d}{KINDS[kind][0]}" for number in range(num_files)]
        for folder in (files[0].parent, out):
            folder.mkdir(parents=True)
        for number, path in enumerate(files):
            path.write_bytes(picture(kind, number, num_files))
        theirs = MTCNN(device=device)
        runs: dict[str, Callable[[], int]] = {
            USUAL: lambda: usual(theirs, files, out),
            DECODING: lambda: sum(images.load(path.read_bytes()).pixels.size > 0 for path in files),
            OURS: lambda: prepared(raw, Path(work) / "manifests", device),
        }
        if device == "cpu" and find_spec("openvino"):
            by_openvino = Path(work) / "manifests-openvino"
            runs[f"{OURS} --device openvino"] = lambda: prepared(raw, by_openvino, detector.OPENVINO)
        matrix = torch.randn(SIDE, SIDE)
        runs[PRODUCT] = lambda: torch.mm(matrix, matrix).shape[0]
        answers = {name: run() for name, run in runs.items()}
        times = in_turns(runs, rounds)
        product = times.pop(PRODUCT)
        if device == "cpu":
            with FlopCounterMode(display=False) as counter:
                prepared(raw, Path(work) / "manifests", device)
            times[LIMIT] = times[DECODING] + product * counter.get_total_flops() / (2 * SIDE**3)
            answers[LIMIT] = answers[OURS]
    return {
        name: {
            "files": num_files, "found": answers[name],
            "processor ms": round(float(np.median(taken[:, 0])) / num_files * 1000, 2),
            "clock ms": round(float(np.median(taken[:, 1])) / num_files * 1000, 2),
            "times the usual way": times_of(times[USUAL] / taken),
            "of decoding's time": times_of(taken / times[DECODING]),
            **({"of the limit's time": times_of(taken / times[LIMIT])} if LIMIT in times else {}),
        }
        for name, taken in times.items()
    }  # fmt: skip


def times_of(ratios: NDArray[np.float64]) -> dict[str, float]:
    """Return medians of ratios, round by round: (rounds, 2)."""
    processor, clock = np.median(ratios, axis=0).round(2).tolist()
    return {"processor": processor, "clock": clock}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, default=16, help="of each kind, in which faces are found")
    parser.add_argument("--num-files", type=int, default=200, help="of each kind, that become rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rows-alone", action="store_true", help="leave out detection from memory")
    parser.add_argument("--out", type=Path, help="by default as above")
    asked = parser.parse_args()
    device = detector.pick_device(asked.device)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    result: dict[str, Any] = {
        "made": made_by({"images": asked.num_images, "files": asked.num_files, "rounds": asked.rounds}, parts=CODE),
        "load": round(os.getloadavg()[0], 1),
        "GPU": None if device == "cpu" else torch.cuda.get_device_name(device),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "drawing version": corpus.VERSION,
        "command": "python " + " ".join(sys.argv),
    }
    for kind in () if asked.rows_alone else KINDS:
        result[kind] = detection(kind, asked.num_images, asked.rounds, device)
        show(kind, result[kind])
    whole = result["file to row"] = {}
    for kind in list(KINDS)[:3]:
        whole[kind] = file_to_row(kind, asked.num_files, asked.rounds, device)
        show(f"{kind}, file to row", whole[kind])
    out = asked.out or Path(f"docs/results/prepare{'' if device == 'cpu' else '-cuda'}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    corpus.write_whole(out, (json.dumps(result, indent=2) + "\n").encode())
    print(out)


def show(title: str, figures: dict[str, Any]) -> None:
    """Print a table."""
    print(title)
    for name, columns in figures.items():
        print(f"  {name}".ljust(60), *(f"{key} {value}".ljust(24) for key, value in columns.items()), flush=True)


if __name__ == "__main__":
    main()
