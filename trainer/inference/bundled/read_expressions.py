"""Read the expressions of all faces in photographs: with numpy, onnxruntime, Pillow and the files beside this one.

    python read_expressions.py photo.jpg     a line of JSON a face
    python read_expressions.py --check       compare what is found here with what was found when this was exported

In a program:

    from PIL import Image
    from read_expressions import Reader

    reader = Reader()
    for face in reader.read(Image.open("photo.jpg")):
        print(face["box"], face["expression"], face["probabilities"])

Faces are found by MTCNN (Zhang et al. 2016, doi:10.1109/LSP.2016.2603342) with the weights of facenet-pytorch, aligned
by their landmarks, and read by model.onnx, whose metadata says how.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageOps

MAX_PIXELS = 50_000_000
MIN_FACE, FACTOR, CELL, STRIDE = 20, 0.709, 12, 2  # px of the photograph; levels; window and step of P-Net
P_SCORE, R_SCORE, O_SCORE, MIN_SCORE = 0.6, 0.7, 0.7, 0.9  # what each network lets pass, and what is a face
NEARLY_AS_LARGE = 0.8  # of the largest face's area: among such faces the most central is meant
TOGETHER = 256  # crops at once
TEMPLATE = np.array(  # ArcFace's five points in a face of 112 px (Deng et al. 2019, arXiv:1801.07698)
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
TEMPLATE_SIZE = 112  # px
ALIGNED = {"five-points": slice(0, 5), "eyes-nose": slice(0, 3)}  # the landmarks that count
BLOCKS = 3  # means of blocks that at least make a pixel of the crop, along a side
BOX, LANDMARKS, PROBABILITY = 1.0, 0.5, 0.02  # how far --check lets them be from what they were: px, px, share

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Pixels = NDArray[np.uint8]


class Faces(NamedTuple):
    """Faces of a photograph: (n, 4) x0, y0, x1, y1, (n,) and (n, 5, 2) x, y, in pixels of it."""

    boxes: Floats
    scores: Floats
    landmarks: Floats


class Reader:
    """Detector and model.

    Args:
        folder: of pnet.onnx, rnet.onnx, onet.onnx and model.onnx.
        threads: of onnxruntime; 0: as many as there are cores.
    """

    def __init__(self, folder: Path = Path(__file__).parent, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._p, self._r, self._o, self._model = (
            onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
            for name in ("pnet", "rnet", "onet", "model")
        )
        said = self._model.get_modelmeta().custom_metadata_map
        self.expressions: list[str] = json.loads(said["expressions"])
        self._crop: dict[str, Any] = json.loads(said["crop"])

    def read(self, image: Image.Image | Pixels) -> list[dict[str, Any]]:
        """Return the faces of a photograph, the one that is meant first, then the surest.

        Args:
            image: of Pillow, or (height, width, 3) RGB.

        Returns:
            Of each its box, score, landmarks, expression, probability and probabilities.

        Raises:
            ValueError: more than 50 million pixels, or another array.
        """
        pixels = _pixels(image)
        faces = self.detect(pixels)
        order = _meant_first(faces.boxes, pixels.shape)
        seen = _grey(pixels) if self._crop["color"] == "grey" else pixels
        kept, crops = [], []
        for face in order:
            if (matrix := _matrix(faces.landmarks[face], **self._crop)) is not None:
                kept.append(face)
                crops.append(_cut(seen, matrix, self._crop["size"]))
        if not kept:
            return []
        shares = self._model.run(["probabilities"], {"faces": np.stack(crops)})[0]
        return [
            {
                "box": faces.boxes[face].tolist(), "score": float(faces.scores[face]),
                "landmarks": faces.landmarks[face].tolist(),
                "expression": self.expressions[int(share.argmax())], "probability": float(share.max()),
                "probabilities": dict(zip(self.expressions, map(float, share), strict=True)),
            }
            for face, share in zip(kept, shares, strict=True)
        ]  # fmt: skip

    def detect(self, image: Pixels) -> Faces:
        """Return the faces of (height, width, 3) RGB, surest first."""
        sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1, 3), np.int64)
        image.cumsum(0, dtype=np.int64).cumsum(1, out=sums[1:, 1:])
        window, score, square = self._propose(sums)
        keep = _suppress(window, score, 0.7)
        square = square[keep]
        found = self._ask(self._r, sums, square, 24, 5)
        passed = found[:, 0] > R_SCORE
        square, found = square[passed], found[passed]
        keep = _suppress(square, found[:, 0], 0.7)
        square = _squared(_corrected(square[keep], found[keep, 1:]))
        found = self._ask(self._o, sums, square, 48, 15)
        passed = found[:, 0] > O_SCORE
        square, found = square[passed], found[passed]
        size = (square[:, 2:] - square[:, :2] + 1)[:, None]
        marks = size * found[:, 5:].reshape(-1, 2, 5).transpose(0, 2, 1) + square[:, None, :2] - 1
        box = _corrected(square, found[:, 1:5])
        keep = _suppress_contained(box, found[:, 0], 0.7)
        keep = keep[found[keep, 0] >= MIN_SCORE]
        return Faces(box[keep], found[keep, 0], marks[keep])

    def _propose(self, sums: Integers) -> tuple[Floats, Floats, Floats]:
        """Return what P-Net finds on all levels, surest first: windows, scores, squares as it corrects them."""
        height, width = sums.shape[0] - 1, sums.shape[1] - 1
        windows, scores, squares = (
            [np.zeros((0, 4), np.float32)],
            [np.zeros(0, np.float32)],
            [np.zeros((0, 4), np.float32)],
        )
        scale = CELL / MIN_FACE
        side = min(height, width) * scale
        while side >= CELL:
            level = _areas(sums, (0, 0, width, height), int(height * scale + 1), int(width * scale + 1))
            found = self._p.run(None, {"image": level.transpose(2, 0, 1)[None]})[0][0]
            row, column = np.nonzero(found[0] >= P_SCORE)
            score, shift = found[0, row, column], found[1:, row, column].T
            corner = STRIDE * np.stack([column, row], 1).astype(np.float32)
            box = np.floor(np.concatenate([corner + 1, corner + CELL], 1) / np.float32(scale))
            keep = np.sort(_suppress(box, score, 0.5))
            box, score, shift = box[keep], score[keep], shift[keep]
            windows.append(box)
            scores.append(score)
            squares.append(_squared(box + shift * np.tile(box[:, 2:] - box[:, :2], 2)))
            scale, side = scale * FACTOR, side * FACTOR
        window, score, square = np.concatenate(windows), np.concatenate(scores), np.concatenate(squares)
        order = np.argsort(-score, kind="stable")
        return window[order], score[order], square[order]

    def _ask(self, net: Any, sums: Integers, square: Floats, side: int, answers: int) -> Floats:
        """Return what R- or O-Net says of squares; outside of the image is no face."""
        found = np.zeros((len(square), answers), np.float32)
        box = np.trunc(square).astype(np.int64)
        box[:, :2] = np.maximum(box[:, :2] - 1, 0)
        box[:, 2:] = np.minimum(box[:, 2:], (sums.shape[1] - 1, sums.shape[0] - 1))
        inside = np.flatnonzero((box[:, 2:] > box[:, :2]).all(1))
        for at in range(0, len(inside), TOGETHER):
            some = inside[at : at + TOGETHER]
            crops = np.stack([_areas(sums, box[one].tolist(), side, side) for one in some]).transpose(0, 3, 1, 2)
            found[some] = net.run(None, {"image": np.ascontiguousarray(crops)})[0]
        return found


def _pixels(image: Image.Image | Pixels) -> Pixels:
    if isinstance(image, Image.Image):
        if image.width * image.height > MAX_PIXELS:  # before anything is decoded
            raise ValueError(f"{image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read")
        image = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"{image.dtype} of shape {image.shape}; expected uint8 of shape (height, width, 3)")
    return image


# --- boxes


def _areas(sums: Integers, box: Sequence[int], height: int, width: int) -> Floats:
    """Return a rectangle at another size, each pixel the mean of what it covers, from about -1 to 1.

    Args:
        sums: of all pixels above and left of each.
        box: first and last pixel + 1: x0, y0, x1, y1.
        height: of what comes out.
        width: likewise.
    """
    (left, right), (top, bottom) = _edges(box[0], box[2], width), _edges(box[1], box[3], height)
    rows = sums[bottom] - sums[top]
    means = (rows[:, right] - rows[:, left]).astype(np.float32)
    means /= (bottom - top)[:, None, None].astype(np.float32)
    means /= ((right - left)[None, :, None] * 128).astype(np.float32)
    means -= np.float32(127.5 / 128)
    return means


def _edges(first: int, end: int, parts: int) -> tuple[Integers, Integers]:
    """Return where the parts of a side begin and end; neighbours may share a pixel."""
    steps, length = np.arange(parts), end - first
    return first + steps * length // parts, first + ((steps + 1) * length + parts - 1) // parts


def _suppress(boxes: Floats, scores: Floats, threshold: float) -> Integers:
    """Return which boxes stay, surest first: those that share no more than this, of both together, with a surer one."""
    wide = boxes.astype(np.float64)
    area = (wide[:, 2:] - wide[:, :2]).prod(1)
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        sides = np.minimum(wide[first, 2:], wide[order, 2:]) - np.maximum(wide[first, :2], wide[order, :2])
        shared = sides.clip(min=0).prod(1)
        order = order[shared <= threshold * (area[first] + area[order] - shared)]
    return np.array(kept, np.int64)


def _suppress_contained(boxes: Floats, scores: Floats, threshold: float) -> Integers:
    """Return which boxes stay, surest first: they share no more than this, of the smaller one, with a surer one."""
    area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    order, kept = np.argsort(scores, kind="stable")[::-1], []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        sides = np.minimum(boxes[first, 2:], boxes[order, 2:]) - np.maximum(boxes[first, :2], boxes[order, :2])
        shared = (sides + 1).clip(min=0).prod(1)
        order = order[shared <= threshold * np.minimum(area[first], area[order])]
    return np.array(kept, np.int64)


def _squared(box: Floats) -> Floats:
    """Return the squares about boxes: of their longer side, with their middle."""
    size = box[:, 2:] - box[:, :2]
    side = size.max(1, keepdims=True)
    corner = box[:, :2] + size * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([corner, corner + side], 1)


def _corrected(box: Floats, shift: Floats) -> Floats:
    moved: Floats = box + shift * np.tile(box[:, 2:] - box[:, :2] + 1, 2)
    return moved


def _meant_first(boxes: Floats, shape: tuple[int, ...]) -> list[int]:
    """Return the order of faces: first the largest one, or the most central of those nearly as large."""
    if not len(boxes):
        return []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    away = np.hypot(*((boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([shape[1], shape[0]]) / 2).T)
    meant = int(np.where(area >= NEARLY_AS_LARGE * area.max(), away, np.inf).argmin())
    return [meant, *(face for face in range(len(boxes)) if face != meant)]


# --- crops


def _grey(image: Pixels) -> Pixels:
    """Return luma, BT.601, rounded as OpenCV does."""
    red, green, blue = np.moveaxis(image.astype(np.int32), -1, 0)
    luma: Pixels = ((red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15).astype(np.uint8)
    return luma


def _matrix(landmarks: Floats, size: int, align: str, color: str) -> NDArray[np.float64] | None:
    """Return the (2, 3) similarity that carries a photograph onto a face's crop; null: the landmarks coincide.

    Source:
        Umeyama 1991, Eqs. 38-43, doi:10.1109/34.88573; in the plane, without mirroring.
    """
    del color
    scale = (size * 7 // 8) / TEMPLATE_SIZE
    target = ((TEMPLATE + 0.5) * scale - 0.5 + size // 8)[ALIGNED[align]]
    points = landmarks.astype(np.float64)[ALIGNED[align]]
    source_mean, target_mean = points.mean(0), target.mean(0)
    (x, y), (to_x, to_y) = (points - source_mean).T, (target - target_mean).T
    squares = float(x @ x + y @ y)
    if not squares >= 1e-6 * len(points):
        return None
    along, across = float(x @ to_x + y @ to_y) / squares, float(x @ to_y - y @ to_x) / squares
    turn = np.array([[along, -across], [across, along]])
    return np.column_stack([turn, target_mean - turn @ source_mean])


def _cut(image: Pixels, matrix: NDArray[np.float64], size: int) -> Pixels:
    """Cut a face of 7/8 of size out of an image; what lies outside repeats the nearest edge.

    What shrinks is first reduced to means of whole blocks, then sampled at a multiple of the crop's size and averaged.
    A margin of 1/8 of size about it is cut, too, and left out.
    """
    side, margin = size * 9 // 8, size // 8
    part, matrix = _blocks(*_part(image, matrix, side), int(_shrink(matrix) / BLOCKS))
    factor = min(2 * BLOCKS, max(1, math.ceil(_shrink(matrix))))
    fine = matrix * factor
    fine[:, 2] += (factor - 1) / 2
    sampled = _sampled(part, fine, side * factor)
    means = sampled.reshape(side, factor, side, factor, *sampled.shape[2:]).mean((1, 3))
    face: Pixels = (means[margin:-margin, margin:-margin] + 0.5).astype(np.uint8)
    return face


def _shrink(matrix: NDArray[np.float64]) -> float:
    """Return how many source pixels, along a side, become a pixel of the crop."""
    return 1 / math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))


def _part(image: Pixels, matrix: NDArray[np.float64], side: int) -> tuple[Pixels, NDArray[np.float64]]:
    """Return the part of an image that a crop is made of, and its matrix."""
    height, width = image.shape[:2]
    ends = np.array([[-0.5, -0.5], [side, -0.5], [-0.5, side], [side, side]]) - matrix[:, 2]
    corners = ends @ np.linalg.inv(matrix[:, :2]).T
    margin = 2 + 2 * _shrink(matrix) / BLOCKS
    left, top = np.clip(np.floor(corners.min(0) - margin), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(0) + margin), (left + 1, top + 1), (width, height)).astype(int)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (left, top)
    return image[top:bottom, left:right], moved


def _blocks(image: Pixels, matrix: NDArray[np.float64], side: int) -> tuple[Pixels, NDArray[np.float64]]:
    """Return the means of an image's blocks, and their matrix; the last ones are filled up with the nearest edge."""
    side = min(side, *image.shape[:2])
    if side < 2:
        return image, matrix
    height, width = image.shape[:2]
    rest = [(0, -height % side), (0, -width % side), (0, 0)][: image.ndim]
    filled = np.pad(image, rest, "edge")
    of_blocks = filled.reshape(filled.shape[0] // side, side, filled.shape[1] // side, side, *image.shape[2:])
    reduced = matrix.copy()
    reduced[:, :2] *= side
    reduced[:, 2] += matrix[:, :2] @ np.full(2, (side - 1) / 2)
    means: Pixels = (of_blocks.mean((1, 3)) + 0.5).astype(np.uint8)
    return means, reduced


def _sampled(image: Pixels, matrix: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return an image as a matrix carries it, bilinearly, rounded to whole levels."""
    turn = np.linalg.inv(matrix[:, :2])
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1) - matrix[:, 2]
    x, y = np.moveaxis(at @ turn.T, -1, 0)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    along, down = x - left, y - top
    total = np.zeros((side, side, *image.shape[2:]))
    for step_y, of_row in ((0, 1 - down), (1, down)):
        for step_x, of_column in ((0, 1 - along), (1, along)):
            row = np.clip(top + step_y, 0, image.shape[0] - 1)
            column = np.clip(left + step_x, 0, image.shape[1] - 1)
            share = of_row * of_column
            total += image[row, column] * share.reshape(*share.shape, *(1,) * (image.ndim - 2))
    rounded: NDArray[np.float64] = np.rint(total)
    return rounded


# --- the command


def differences(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> dict[str, float]:
    """Return the largest differences of boxes and landmarks, px, and of probabilities; and how many faces differ."""
    pairs = list(zip(found, expected, strict=False))
    return {
        "faces": float(abs(len(found) - len(expected))),
        "expressions": float(sum(one["expression"] != other["expression"] for one, other in pairs)),
        "box": max((_largest(one["box"], other["box"]) for one, other in pairs), default=0.0),
        "landmarks": max((_largest(one["landmarks"], other["landmarks"]) for one, other in pairs), default=0.0),
        "probability": max(
            (abs(one["probabilities"][name] - share) for one, other in pairs
             for name, share in other["probabilities"].items()), default=0.0,
        ),
    }  # fmt: skip


def agrees(largest: dict[str, float]) -> bool:
    """Whether what was found is what was expected."""
    return (
        largest["faces"] == largest["expressions"] == 0
        and largest["box"] <= BOX and largest["landmarks"] <= LANDMARKS and largest["probability"] <= PROBABILITY
    )  # fmt: skip


def _largest(one: Any, other: Any) -> float:
    return float(np.abs(np.subtract(one, other)).max())


def main() -> int:
    """Read photographs; return 1 where one cannot be read or --check finds a difference."""
    parser = argparse.ArgumentParser(
        description="Read the expressions of all faces in photographs: a line of JSON each."
    )
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    parser.add_argument("--check", action="store_true", help="compare with what was found when this was exported")
    asked = parser.parse_args()
    if not asked.photos and not asked.check:
        parser.error("name a photograph, or --check")
    folder = Path(__file__).parent
    reader, failed = Reader(folder), False
    if asked.check:
        with Image.open(folder / "example.png") as example:
            largest = differences(reader.read(example), json.loads((folder / "example.json").read_text()))
        print(json.dumps(largest | {"agrees": agrees(largest)}))
        failed = not agrees(largest)
    for path in asked.photos:
        try:
            with Image.open(path) as image:
                faces = reader.read(image)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            print(f"{path}: cannot be read: {error}", file=sys.stderr)
            failed = True
            continue
        for number, face in enumerate(faces, start=1):
            print(json.dumps({"path": str(path), "face": number} | face))
        if not faces:
            print(f"{path}: no face found", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
