"""What the retry of images without a face finds: on photographs made dark or turned, and on pictures without a face.

Photographs are a folder's; each is darkened, put before a bright window, or turned. Pictures without a face are drawn
(noise, gradients, patterns, shapes, letters) and cut from the photographs: what is below the chin, and heads whose face
is blurred away. A face that the first look finds is not looked for again.

    python benchmarks/retry.py DIR                                     writes docs/results/retry.json
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fertools.datasets import DATASETS
from fertools.datasets.base import Sample
from fertools.datasets.protocols import Selected
from fertools.drawn import corpus
from fertools.faces import detector, images
from fertools.preparation import face_rows
from trainer.runs.made_by import made_by

Image = NDArray[np.uint8]
DARK = (0.1, 0.06, 0.03, 0.01)  # of the brightness
STEP = 20  # images at once
NUM_DRAWN = 500


def outcomes(pictures: Sequence[Image]) -> dict[str, int]:
    """Return how many pictures give a face at first sight, by which retry, or not at all."""
    counts: Counter[str] = Counter()
    for start in range(0, len(pictures), STEP):
        opened = [_opened(picture) for picture in pictures[start : start + STEP]]
        face_rows._detect_all(opened, face_rows._detector("cpu"))
        counts.update(str(one.row.get("found_by") or "first look") if one.face else "no face" for one in opened)
    return dict(counts.most_common())


def _opened(picture: Image) -> Any:
    item = Selected(Sample(Path("a.png"), "anger"), "anger", "image")
    row = face_rows._empty_row(DATASETS["folder"], item)
    return face_rows._Opened(item.sample, row, images.Picture(np.ascontiguousarray(picture)))


def changes() -> dict[str, Callable[[Image], Image]]:
    """Return what is done to photographs, by name."""

    def darkened(share: float) -> Callable[[Image], Image]:
        return lambda image: (image * share).astype(np.uint8)

    def backlit(share: float) -> Callable[[Image], Image]:
        def change(image: Image) -> Image:
            dark = (image * share).astype(np.uint8)
            dark[:60], dark[:, :60] = 255, 255
            return dark

        return change

    found: dict[str, Callable[[Image], Image]] = {"as they are": lambda image: image}
    found |= {f"darkened to {share:.0%}": darkened(share) for share in DARK}
    found |= {f"darkened to {share:.0%}, a window beside": backlit(share) for share in DARK}
    found |= {f"turned by {90 * turn}": lambda image, turn=turn: detector.upright(image, turn) for turn in (1, 2, 3)}
    return found


def drawn(number: int) -> Image:
    """Return a picture of one of ten kinds in which there is no face."""
    rng = np.random.default_rng([3, number])
    height, width = (int(side) for side in rng.integers(200, 500, 2))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    colour = rng.integers(50, 256, 3)
    match number % 10:
        case 0:
            plane = noise
        case 1:
            blurred = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(1, 8)))
            plane = (blurred - blurred.min()) * (255 / np.ptp(blurred))
        case 2:
            slope = rng.uniform(0, 1) * x + rng.uniform(0, 1) * y
            plane = (slope / slope.max())[..., None] * colour
        case 3:
            side = int(rng.integers(5, 60))
            plane = np.where(((x // side + y // side) % 2)[..., None] > 0, colour, 255 - colour)
        case 4:
            wave = 127 + 120 * np.sin(rng.uniform(0.02, 0.4) * x + rng.uniform(0.02, 0.4) * y + 3 * np.sin(0.02 * x))
            plane = np.repeat(wave[..., None], 3, 2)
        case 5 | 6:
            plane = _shapes(height, width, number % 10 == 5, rng)
        case 7:
            plane = _letters(height, width, rng)
        case 8:
            plane = _clouds(height, width, rng)
        case _:
            wood = np.sin(0.15 * x + 4 * np.sin(0.03 * y) + rng.normal(size=(height, width)) * 0.4) * 60 + 120
            plane = wood[..., None] + rng.integers(-60, 60, 3)
    return np.asarray(np.clip(plane, 0, 255), np.uint8)


def _shapes(height: int, width: int, round_ones: bool, rng: np.random.Generator) -> Image:
    image = np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(int(rng.integers(5, 60))):
        colour = rng.integers(0, 256, 3).tolist()
        points = np.column_stack([rng.integers(width, size=5), rng.integers(height, size=5)]).astype(np.int32)
        if round_ones:
            axes = tuple(int(axis) for axis in rng.integers(3, 90, 2))
            cv2.ellipse(image, points[0].tolist(), axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        else:
            cv2.fillPoly(image, [points], colour)
    return image


def _letters(height: int, width: int, rng: np.random.Generator) -> Image:
    image = np.full((height, width, 3), 255, np.uint8)
    for y in range(20, height, 28):
        text = "".join(chr(letter) for letter in rng.integers(65, 123, 40))
        cv2.putText(image, text, (5, y), cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(0.5, 1.2)), (0, 0, 0), 2)
    return image


def _clouds(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise whose power falls with frequency as that of photographs does."""
    spectrum = np.fft.rfft2(rng.normal(size=(height, width, 3)), axes=(0, 1))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])[..., None]
    spectrum /= np.maximum(frequency, 1 / max(height, width)) ** float(rng.uniform(0.8, 1.6))
    values = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    return np.asarray((values - values.min()) / np.ptp(values) * 255)


def without_face(photographs: Sequence[Image]) -> Iterator[Image]:
    """Yield what is below the chin of each photograph, and the photograph with its face blurred away."""
    detect = face_rows._detector("cpu")
    for image in photographs:
        faces = detect.batch([image], only_largest=True)[0]
        face = detector.choose(faces, image.shape)
        assert face is not None
        x0, y0, x1, y1 = face.box.astype(int).tolist()
        yield np.ascontiguousarray(image[min(int(y1 + 0.03 * (y1 - y0)), len(image) - 120) :])
        mask = np.zeros(image.shape[:2], np.uint8)
        axes = (int((x1 - x0) * 0.62), int((y1 - y0) * 0.62))
        cv2.ellipse(mask, ((x0 + x1) // 2, (y0 + y1) // 2), axes, 0, 0, 360, (255,), -1)
        blurred = cv2.GaussianBlur(image, (0, 0), 40)
        yield np.where(mask[..., None] > 0, blurred, image).astype(np.uint8)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="a folder of JPEGs, one face in each")
    parser.add_argument("--every", type=int, default=4, help="take each so many-th")
    parser.add_argument("--out", type=Path, default=Path("docs/results/retry.json"))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    paths = sorted(options.photographs.glob("*.jpg"))[:: options.every]
    photographs = [images.decode(path.read_bytes()) for path in paths]
    result: dict[str, Any] = {
        "made": made_by({}, parts=("fertools/faces",)),
        "command": f"python benchmarks/retry.py DIR --every {options.every}",
        "photographs": len(paths), "least score of a retry": face_rows.RETRY_SCORE,
        "faces found": {}, "pictures without a face": {},
    }  # fmt: skip
    for name, change in changes().items():
        result["faces found"][name] = outcomes([change(image) for image in photographs])
        print(name, result["faces found"][name], flush=True)
    for name, pictures in {
        "drawn": [drawn(number) for number in range(NUM_DRAWN)],
        "cut from photographs": list(without_face(photographs)),
    }.items():
        result["pictures without a face"][name] = outcomes(pictures)
        print(name, result["pictures without a face"][name], flush=True)
    corpus.write_whole(options.out, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
