"""How fast image files become pixels, against Pillow, and how often the pixels are Pillow's.

Contenders take turns on the same files, in another order every round; figures are medians over rounds of processor
milliseconds a file, and of their ratios within a round. `as before` is what this project did until it read headers
itself: Pillow, its `exif_transpose`, `convert("RGB")`, three planes of grey.

    python benchmarks/decode.py                                        writes docs/results/decode.json
"""

import argparse
import importlib.metadata
import io
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from prepare import KINDS, picture

from fertools.drawn import corpus
from fertools.faces import images
from trainer.runs.made_by import made_by

PACKAGES = ("numpy", "opencv-python-headless", "pillow")
BEFORE, PLAIN, RGB, LOADED = "as before", "Pillow, convert", "images.decode", "images.load"


def before(data: bytes) -> NDArray[np.uint8]:
    """Decode as this project did before."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image.convert("RGB"))


def plain(data: bytes) -> NDArray[np.uint8]:
    """Decode as scripts do."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


WAYS: dict[str, Callable[[bytes], Any]] = {BEFORE: before, PLAIN: plain, RGB: images.decode, LOADED: images.load}


def measure(files: list[bytes], rounds: int) -> dict[str, Any]:
    """Return the figures of one kind of files."""
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):  # the first is a rehearsal
        for name in list(WAYS) if number % 2 else reversed(list(WAYS)):
            start = time.process_time()
            for data in files:
                WAYS[name](data)
            times[name].append(time.process_time() - start)
    taken = {name: np.array(seconds[1:]) for name, seconds in times.items()}
    same = sum(np.array_equal(before(data), images.decode(data)) for data in files)
    return {
        "files": len(files), "same pixels as before": same,
        "ways": {
            name: {
                "processor ms": round(float(np.median(seconds)) / len(files) * 1000, 3),
                "times as before": round(float(np.median(taken[BEFORE] / seconds)), 2),
            }
            for name, seconds in taken.items()
        },
    }  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-files", type=int, default=16, help="of each kind")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--photographs", type=Path, help="a folder of JPEGs of yours, too")
    parser.add_argument("--out", type=Path, default=Path("docs/results/decode.json"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    kinds = {kind: [picture(kind, number, options.num_files) for number in range(options.num_files)] for kind in KINDS}
    if options.photographs:
        paths = sorted(options.photographs.glob("*.jpg"))[: 4 * options.num_files]
        kinds[f"photographs of {options.photographs.parent.name}"] = [path.read_bytes() for path in paths]
    result: dict[str, Any] = {
        "made": made_by({}, parts=("fertools/faces",)),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": "python benchmarks/decode.py" + " --photographs DIR" * bool(options.photographs),
    }  # fmt: skip
    for kind, files in kinds.items():
        result[kind] = measure(files, options.rounds)
        print(kind, json.dumps(result[kind]), flush=True)
    corpus.write_whole(options.out, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
