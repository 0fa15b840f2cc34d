"""How fast the drawn faces are made, whether a detector finds them, and whether pixels know persons or expressions.

Writes docs/results/drawn.json: python benchmarks/drawn.py
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fertools.drawn import corpus
from fertools.drawn.face.render import landmarks
from fertools.drawn.layouts.ckplus import Sequence, plan
from fertools.faces import align, detector
from manifests.schema import DEFAULT_CROP

PACKAGES = ("numpy", "opencv-python-headless", "torch", "facenet-pytorch")
POINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
MARGIN = DEFAULT_CROP.margin


class Shot(NamedTuple):
    """A first or last image of a sequence; its crop and landmark errors are None where no face was found."""

    sequence: Sequence
    expression: str
    crop: NDArray[np.float32] | None
    errors: NDArray[np.float64] | None


def images_a_second(sequences: list[Sequence], seed: int) -> float:
    """PNG files of 640 x 490 pixels made in a second on one core."""
    cv2.setNumThreads(1)
    grey = [sequence for sequence in sequences if (sequence.height, sequence.width) == (490, 640)][:40]
    start = time.perf_counter()
    num_images = sum(1 for sequence in grey for _ in corpus.images(sequence, seed))
    return num_images / (time.perf_counter() - start)


def shots(sequences: list[Sequence], seed: int) -> list[Shot]:
    """The first and the last image of every sequence, detected and aligned."""
    detect = detector.Detector("cpu")
    taken = []
    for sequence in sequences:
        files = list(corpus.images(sequence, seed))
        frames, _ = corpus.frames(sequence, seed)
        for place, expression in ((0, "neutral"), (-1, str(sequence.expression))):
            image = np.asarray(cv2.imdecode(np.frombuffer(files[place], np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)
            shown = frames[place]
            identity = corpus.person(seed, sequence.subject_index)
            drawn = landmarks(identity, shown.action, shown.nuisance, sequence.height, sequence.width)
            taken.append(Shot(sequence, expression, *_aligned(detect, image, drawn)))
    return taken


def _aligned(
    detect: detector.Detector, image: NDArray[np.uint8], drawn: NDArray[np.float64]
) -> tuple[NDArray[np.float32] | None, NDArray[np.float64] | None]:
    """Standardised 112 x 112 crop, and distances of found from drawn landmarks as parts of that between the eyes."""
    faces = detect(image)
    if not faces:
        return None, None
    found = detector.choose(faces, image.shape).landmarks
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    crop = align.crop(grey, align.crop_matrix(found))
    face = crop[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(np.float32)
    errors = np.linalg.norm(found - drawn, axis=1) / np.linalg.norm(drawn[1] - drawn[0])
    return (face - face.mean()) / face.std(), errors


def neighbours(taken: list[Shot]) -> dict[str, float]:
    """How often an image's nearest one of another sequence shows the same person, or the same expression."""
    found = [shot for shot in taken if shot.crop is not None]
    pixels = np.stack([shot.crop.ravel() for shot in found if shot.crop is not None])
    squares = (pixels**2).sum(1)
    distances = squares[:, None] + squares[None, :] - 2 * pixels @ pixels.T
    persons = np.array([shot.sequence.subject for shot in found])
    expressions = np.array([shot.expression for shot in found])
    recordings = np.array([f"{shot.sequence.folder}" for shot in found])
    other = recordings[:, None] != recordings[None, :]
    nearest = np.where(other, distances, np.inf).argmin(1)
    same_person, same_expression = (values[:, None] == values[None, :] for values in (persons, expressions))
    return {
        "images": len(found),
        "same person": float((persons == persons[nearest]).mean()),
        "same person, by chance": float(same_person[other].mean()),
        "same expression": float((expressions == expressions[nearest]).mean()),
        "same expression, by chance": float(same_expression[other].mean()),
    }


def measure(num_sequences: int, seed: int) -> dict[str, Any]:
    """All figures."""
    labelled = [sequence for sequence in plan(seed=seed) if sequence.expression][:num_sequences]
    speed = images_a_second(plan(seed=seed), seed)
    taken = shots(labelled, seed)
    errors = np.array([shot.errors for shot in taken if shot.errors is not None])
    missed = Counter(shot.expression for shot in taken if shot.crop is None)
    return {
        "images a second on one core": round(speed, 1),
        "faces found": 1 - missed.total() / len(taken),
        "faces missed": dict(missed),
        "landmark error, median": dict(zip(POINTS, np.median(errors, axis=0).round(4).tolist(), strict=True)),
        "landmark error, 99 in 100 below": dict(
            zip(POINTS, np.quantile(errors, 0.99, axis=0).round(4).tolist(), strict=True)
        ),
        "nearest neighbours, peaks": neighbours([shot for shot in taken if shot.expression != "neutral"]),
        "nearest neighbours, all": neighbours(taken),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-sequences", type=int, default=327, help="labelled sequences to look at")
    parser.add_argument("--seed", type=int, default=0, help="of the corpus")
    parser.add_argument("--out", type=Path, default=Path("docs/results/drawn.json"))
    arguments = parser.parse_args()
    result = {
        "date": date.today().isoformat(),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "drawing version": corpus.VERSION,
        "command": "python " + " ".join(sys.argv),
    } | measure(arguments.num_sequences, arguments.seed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    corpus.write_whole(arguments.out, (json.dumps(result, indent=2) + "\n").encode())
    for name, value in result.items():
        for part, number in value.items() if isinstance(value, dict) else [("", value)]:
            print(f"{name} {part}".ljust(64), round(number, 4) if isinstance(number, float) else number)
    print(arguments.out)


if __name__ == "__main__":
    main()
