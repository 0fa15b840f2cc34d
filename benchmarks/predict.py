"""Photographs to expressions, end to end on one thread: `trainer predict` and facenet-pytorch with a plain model loop.

All read the same files with the same networks; contenders take turns, in another order every round; figures are medians
of CPU time. Writes docs/results/predict.json: python benchmarks/predict.py --photos DIR
"""

import argparse
import importlib.metadata
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from facenet_pytorch import MTCNN
from numpy.typing import NDArray
from PIL import Image

from fertools.drawn import corpus
from fertools.drawn.face.factors import sample_nuisance
from fertools.drawn.face.render import render_colour
from fertools.drawn.layouts import ckplus
from fertools.drawn.layouts.photographs import at_large
from fertools.drawn.recording import encode
from fertools.faces import align, detector, images
from manifests.schema import DEFAULT_CROP, EXPRESSIONS
from trainer.inference import predict
from trainer.inference.annotate import Mark, draw
from trainer.inference.model import Model, Network, load
from trainer.inference.predict import Listener, PredictSpec
from trainer.inference.predictions import EDGES, Row
from trainer.methods.settings.resnet import ResNetConfig
from trainer.runs.made_by import made_by

PACKAGES = ("numpy", "opencv-python-headless", "torch", "torchvision", "facenet-pytorch")
CODE = ("fertools/faces", "trainer/inference", "trainer/networks")
LOOP = "facenet-pytorch one photograph at a time, a model loop"
VARIANTS = "trainer predict --variants"
COLUMNS, CELL, GAP = 12, 220, 4  # of the contact sheet; px


def draw_photographs(folder: Path, num: int) -> None:
    """Write drawn photographs of about 1,000 px."""
    for number in range(num):
        rng = np.random.default_rng([7, number])
        height, width = ((800, 1000), (1000, 750))[number % 2]
        action = corpus.frames(ckplus.plan(num_subjects=8)[number % 20], 0)[0][-1].action
        nuisance = at_large(sample_nuisance(rng))
        picture = render_colour(corpus.person(7, number), action, nuisance, height, width, rng)
        (folder / f"{number:04d}.jpg").write_bytes(encode(picture, ".jpg"))


def untrained() -> Model:
    """Return ResNet-18 as the baseline has it, with random weights: as fast as a trained one.

    It is so cool that its answers differ from face to face.
    """
    torch.manual_seed(0)
    names, whitening = list(EXPRESSIONS), {"kind": "standardize", "rank": 0}
    return Model(Network("resnet", asdict(ResNetConfig()), names, asdict(DEFAULT_CROP), whitening, 0.02).eval(), {})


def plain_loop(model: Model, files: Sequence[Path]) -> list[Row]:
    """Read, detect, align and classify one after the other, as a script of a dozen lines does."""
    mtcnn = MTCNN(min_face_size=detector.MIN_FACE, factor=detector.FACTOR, keep_all=True)
    rows = []
    for path in files:
        image = images.decode(path.read_bytes())
        boxes, scores, landmarks = mtcnn.detect(image, landmarks=True)
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        for box, score, points in [] if boxes is None else zip(boxes, scores, landmarks, strict=True):
            if score < detector.MIN_SCORE:
                continue
            read = model.predict(align.crop(grey, align.crop_matrix(points)))
            edges = dict(zip(EDGES, map(float, box), strict=True))
            rows.append({"path": str(path), "expression": read.labels[0], "p": read.probabilities[0], **edges})
    return rows


def ours(model: Model, files: Sequence[Path], **how: Any) -> list[Row]:
    """Return the rows that `trainer predict` gives."""
    rows: list[Row] = []
    tell = Listener(rows.append, lambda _: None, lambda *_: None)
    predict.predict(model, PredictSpec(paths=tuple(files), **how), "cpu", tell, lambda: False)
    return [row | {"p": np.array([row[f"p_{name}"] for name in model.expressions], np.float32)} for row in rows]


def agreement(found: Sequence[Row], expected: Sequence[Row]) -> dict[str, Any]:
    """Return how many of the loop's faces are found, and how far their probabilities are from the loop's."""
    same, largest, matched = 0, 0.0, 0
    for one in expected:
        near = [other for other in found if other["path"] == one["path"]]
        shared = [detector.overlap(_box(one), _box(other).tolist()) for other in near]
        if shared and max(shared) > 0.5:
            other = near[int(np.argmax(shared))]
            matched += 1
            same += other["expression"] == one["expression"]
            largest = max(largest, float(np.abs(other["p"] - one["p"]).max()))
    return {
        "faces": len(found), "faces of the loop": len(expected), "found of these": matched,
        "of the same expression": same, "largest difference of a probability": round(largest, 6),
    }  # fmt: skip


def _box(row: Row) -> NDArray[np.float32]:
    return np.array([row[edge] for edge in EDGES], np.float32)


def measure(model: Model, files: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Return the figures of each contender."""
    runs: dict[str, Callable[[], list[Row]]] = {
        LOOP: lambda: plain_loop(model, files),
        "trainer predict": lambda: ours(model, files),
        "trainer predict --largest": lambda: ours(model, files, largest=True),
        VARIANTS: lambda: ours(model, files, variants=True),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    answers: dict[str, list[Row]] = {}
    for number in range(rounds):
        for name in list(runs) if number % 2 == 0 else reversed(list(runs)):
            start = time.process_time()
            answers[name] = runs[name]()
            times[name].append(time.process_time() - start)
    return {
        name: {
            "photographs a second": round(len(files) / median(taken), 2),
            "times the loop": round(median(one / other for one, other in zip(times[LOOP], taken, strict=True)), 2),
            **({} if name == VARIANTS else agreement(answers[name], answers[LOOP])),
        }
        for name, taken in times.items()
    }


def contact_sheet(model: Model, files: Sequence[Path]) -> NDArray[np.uint8]:
    """Return all photographs small, with boxes and labels drawn at that size."""
    rows: dict[str, list[Row]] = {}
    for row in ours(model, files):
        rows.setdefault(row["path"], []).append(row)
    height = -(-len(files) // COLUMNS) * (CELL + GAP) + GAP
    sheet = np.full((height, COLUMNS * (CELL + GAP) + GAP, 3), 255, np.uint8)
    for number, path in enumerate(files):
        image = Image.fromarray(images.decode(path.read_bytes()))
        part = CELL / max(image.size)
        small = image.resize((round(image.width * part), round(image.height * part)), Image.Resampling.LANCZOS)
        found = rows.get(str(path), [])
        marks = [Mark((_box(row) * part).tolist(), row["expression"], row["probability"]) for row in found]
        top, left = (GAP + place * (CELL + GAP) for place in divmod(number, COLUMNS))
        sheet[top : top + small.height, left : left + small.width] = draw(np.asarray(small), marks)
    return sheet


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="a folder; default: drawn photographs of about 1,000 px")
    parser.add_argument("--num-images", type=int, default=48, help="that are measured, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, help="an exported model; default: ResNet-18 with random weights")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of all photographs here, measure nothing")
    parser.add_argument("--out", type=Path, default=Path("docs/results/predict.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model = load(asked.model, "cpu") if asked.model else untrained()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.photos or Path(temporary)
        if asked.photos is None:
            draw_photographs(folder, asked.num_images)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if asked.sheet:
            Image.fromarray(contact_sheet(model, files)).save(asked.sheet)
            return
        step = max(1, len(files) // asked.num_images)
        figures = measure(model, files[::step][: asked.num_images], asked.rounds)
    result = {
        "made": made_by({"num_images": asked.num_images, "rounds": asked.rounds}, parts=CODE),
        "load": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "photographs": f"{min(asked.num_images, len(files))} {'of a folder' if asked.photos else 'drawn'}",
        "model": "exported" if asked.model else "ResNet-18, random weights",
        "rounds": asked.rounds,
        **figures,
    }
    for name, values in figures.items():
        print(f"  {name}".ljust(58), *(f"{key} {value}" for key, value in values.items()), sep="  ")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    corpus.write_whole(asked.out, (json.dumps(result, indent=2) + "\n").encode())
    print(asked.out)


if __name__ == "__main__":
    main()
