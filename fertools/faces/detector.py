"""Faces in images: MTCNN (Zhang et al. 2016, doi:10.1109/LSP.2016.2603342), facenet-pytorch's networks and weights."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fertools.errors import FertoolsError

MIN_SCORE = 0.9  # of the last network; what is less sure is not taken for a face
MIN_OVERLAP = 0.2  # of a detected box with a published one, which may be much wider or tighter
NEARLY_AS_LARGE = 0.8  # of the largest face's area: among such faces the most central is meant
# The landmarks are stable on one scale grid only: another smallest face or factor moves them by 1 to 10 px of the crop.
MIN_FACE, FACTOR = 20, 0.709
CASCADE = 2  # version of our own, and of the crop: to be raised whenever either may come out otherwise
OPENVINO = "openvino"  # a device to detect on: the processor, by OpenVINO in place of torch
WEIGHTS = ("pnet.pt", "rnet.pt", "onet.pt")


class DetectionError(FertoolsError):
    """The detector cannot be made."""


@dataclass(frozen=True)
class Face:
    """One detected face.

    Attributes:
        box: (4,) x0, y0, x1, y1 in source pixels; may leave the image.
        landmarks: (5, 2) x, y in source pixels: eyes, nose tip, mouth corners; left of the image first.
        score: the detector's confidence, 0 to 1.
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class Detector:
    """MTCNN on one device."""

    def __init__(self, device: str, *, min_share: float = 0.0) -> None:
        """Load the networks.

        Args:
            device: cpu, cuda or openvino.
            min_share: of an image's short side: faces much smaller than this are not looked for. The scale grid only
                loses its finest levels, so larger faces are found as without.
        """
        from fertools.faces.cascade import Cascade

        self._cascade = Cascade(device, weight_files(), MIN_FACE, FACTOR)
        self._min_share = min_share

    def __call__(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return the faces of an image, surest first.

        Args:
            image: (height, width, 3) RGB, or (height, width) of a grey one.
        """
        return self.batch([image])[0]

    def batch(self, images: Sequence[NDArray[np.uint8]], *, only_largest: bool = False) -> list[list[Face]]:
        """Return the faces of every image, surest first; what else is in the batch changes none.

        Args:
            images: (height, width, 3) RGB, or (height, width) of grey ones, of any sizes.
            only_largest: leave out what is smaller than half the largest face, by area: all that `choose` without a
                box and `most_frontal` ask for, in a quarter of the time.
        """
        with _exactly():
            found = self._cascade(images, sure=MIN_SCORE, only_largest=only_largest, min_share=self._min_share)
        return [[Face(box, points, float(score)) for box, score, points in zip(*faces, strict=True)] for faces in found]


def choose(faces: list[Face], shape: tuple[int, ...], box: Sequence[float] | None = None) -> Face | None:
    """Return the face that is meant: the largest; of those nearly as large (80 % of its area) the most central.

    Args:
        faces: at least one.
        shape: of the image: height, width, ...
        box: x0, y0, x1, y1 where a face is published: that which overlaps it most is meant, if one does enough.
    """
    if box is not None:
        best = max(faces, key=lambda face: overlap(face.box, box))
        return best if overlap(best.box, box) >= MIN_OVERLAP else None
    largest = max(face.area for face in faces)
    centre = np.array([shape[1], shape[0]]) / 2
    rivals = [face for face in faces if face.area >= NEARLY_AS_LARGE * largest]
    return min(rivals, key=lambda face: float(np.hypot(*((face.box[:2] + face.box[2:]) / 2 - centre))))


def most_frontal(faces: list[Face]) -> Face:
    """Return the face that looks most at the camera: its nose tip is nearest the middle of its eyes, sideways.

    Args:
        faces: at least one; those smaller than half the largest box are not meant.
    """
    largest = max(face.area for face in faces)
    return min((face for face in faces if face.area >= largest / 2), key=_sideways)


def _sideways(face: Face) -> float:
    """Return how far the nose tip is from the middle of the eyes, along the line through them, in eye distances."""
    left, right, nose = face.landmarks[:3].astype(np.float64)
    eyes = right - left
    return abs(float((nose - (left + right) / 2) @ eyes)) / max(float(eyes @ eyes), 1e-9)


def overlap(one: Sequence[float] | NDArray[np.float32], other: Sequence[float]) -> float:
    """Return what two boxes share of what they cover together, 0 to 1."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(sides.clip(min=0)))
    return shared / max(float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared, 1e-9)


def upright(image: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """Turn an image clockwise by quarter turns."""
    return np.ascontiguousarray(np.rot90(image, -turn))


def as_stored(face: Face, turn: int, shape: tuple[int, ...]) -> Face:
    """Return a face that was found in a turned image in pixels of the image before that.

    Args:
        face: in the image that `upright` made.
        turn: how many quarter turns that was.
        shape: of the image before: height, width, ...
    """
    height, width = shape[:2]
    corners = np.concatenate([face.box.reshape(2, 2), face.landmarks])
    x, y = corners.T
    back = [(x, y), (y, height - 1 - x), (width - 1 - x, height - 1 - y), (width - 1 - y, x)][turn % 4]
    points = np.column_stack(back).astype(np.float32)
    box = np.concatenate([points[:2].min(0), points[:2].max(0)])
    return Face(box, points[2:], face.score)


def pick_device(name: str) -> str:
    """Return the device to use: `auto` is cuda where there is one, else cpu.

    Raises:
        DetectionError: cuda is asked for and there is none.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DetectionError("no CUDA device here; use --device cpu or --device auto")
    return name


def pick_detector_device(name: str) -> str:
    """Return the device to detect on: openvino where that is named, else as `pick_device`.

    Raises:
        DetectionError: what is named is not here.
    """
    if name != OPENVINO:
        return pick_device(name)
    if find_spec("openvino") is None:
        raise DetectionError("--device openvino needs OpenVINO; install it: pip install 'fertools[fast]'")
    return name


def weight_files() -> list[Path]:
    """Return the files of P-, R- and O-Net's weights in the package facenet-pytorch, which is not imported for them.

    Raises:
        DetectionError: the package, or a file of it, is not there.
    """
    spec = find_spec("facenet_pytorch")
    if spec is None or spec.origin is None:
        raise DetectionError("facenet-pytorch, whose weights find faces, is not installed: pip install facenet-pytorch")
    paths = [Path(spec.origin).parent / "data" / name for name in WEIGHTS]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise DetectionError(f"no {' or '.join(missing)}; install facenet-pytorch again")
    return paths


def provenance(min_share: float = 0.0, device: str = "cpu") -> dict[str, Any]:
    """Return what a manifest says of its detector: settings, the version of the cascade, the hash of the weights.

    Devices of torch are not told apart; where OpenVINO detects, landmarks differ by a rounding error.
    """
    digest = hashlib.sha256()
    for path in weight_files():
        digest.update(path.read_bytes())
    return {
        "name": "MTCNN (facenet-pytorch)", "weights_sha256": digest.hexdigest(),
        "min_face": MIN_FACE, "factor": FACTOR, "min_score": MIN_SCORE,
        "min_share": min_share, "cascade": CASCADE,
    } | ({"executor": OPENVINO} if device == OPENVINO else {})  # fmt: skip


@contextmanager
def _exactly() -> Iterator[None]:
    """Compute the same bits whatever the machine's cores, on one thread; on a GPU in all of float32's bits.

    One process a core is the faster way anyway.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)
