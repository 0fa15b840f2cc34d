"""Face embedders: a crop to a unit vector that tells who it shows. Each is somebody's weights, under a licence."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fertools.errors import FertoolsError
from manifests.schema import DEFAULT_CROP

# facenet-pytorch's weights by its own names, and the file that its download leaves in torch's cache.
DOWNLOADS = {
    "vggface2": "20180402-114759-vggface2.pt",
    "casia-webface": "20180408-102900-casia-webface.pt",
}
FACENET_SIZE = 160  # px
# facenet-pytorch cuts MTCNN's box with a margin of 14 in 160 px and stretches it to a square. In a stored crop the box
# is 77 x 103 px about (70.5, 79.5) (medians of 2,058 drawn faces), so that is 85 x 113 px: rows and columns
FACENET_CUT = (slice(23, 136), slice(28, 113))

Vectors = NDArray[np.float32]


class EmbedderError(FertoolsError):
    """An embedder that is not there, or a file that is none."""


@dataclass(frozen=True)
class Embedder:
    """Weights that are ready: call it with (faces, 144, 144) grey crops, get (faces, size) unit vectors."""

    name: str
    licence: str
    sha256: str  # of the weights
    network: Callable[[NDArray[np.uint8]], Vectors]

    def __call__(self, crops: NDArray[np.uint8]) -> Vectors:
        """Return one vector of length 1 a crop.

        Raises:
            EmbedderError: what the network gives is not one vector of finite numbers a face.
        """
        vectors = np.asarray(self.network(crops), np.float32)
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
        if vectors.ndim != 2 or len(vectors) != len(crops) or not np.isfinite(lengths).all() or not lengths.all():
            raise EmbedderError(f"{self.name} gives {vectors.shape} for {len(crops)} faces, or no finite numbers")
        return np.asarray(vectors / lengths, np.float32)


def load(name: str, device: str) -> Embedder:
    """Make an embedder ready.

    Args:
        name: vggface2 or casia-webface, which facenet-pytorch downloads once; or a file of weights: .safetensors for
            its InceptionResnetV1, .onnx for any network from one face to one vector.
        device: cpu or cuda; ONNX models run on the CPU.

    Raises:
        EmbedderError: no such embedder, no download, or not such a file.
    """
    if name in DOWNLOADS:
        return _downloaded(name, device)
    path = Path(name)
    if path.suffix not in (".onnx", ".safetensors"):
        also = "; a torch file is not opened, as that may run code: save its state_dict as .safetensors"
        raise EmbedderError(
            f"no embedder {name!r}; known: {', '.join(DOWNLOADS)}, or a file: .safetensors of facenet-pytorch's "
            f"InceptionResnetV1, or .onnx{also if path.suffix in ('.pt', '.pth', '.ckpt', '.bin') else ''}"
        )
    if not path.is_file():
        raise EmbedderError(f"{path}: no such file")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    network = _onnx(path) if path.suffix == ".onnx" else _facenet(_safetensors(path), path, device)
    return Embedder(path.name, "not known: that of whoever gave you the file", digest, network)


def _downloaded(name: str, device: str) -> Embedder:
    from facenet_pytorch import InceptionResnetV1
    from facenet_pytorch.models.inception_resnet_v1 import get_torch_home

    path = Path(get_torch_home()) / "checkpoints" / DOWNLOADS[name]
    try:
        model = InceptionResnetV1(pretrained=name)
    except OSError as error:
        raise EmbedderError(
            f"the weights of {name} are not in {path.parent} and could not be downloaded ({error}); where there is a "
            f"network, get {path.name} from the releases of timesler/facenet-pytorch and put it there, or name a "
            "file of weights: --embedder FILE.onnx"
        ) from error
    except Exception as error:  # a damaged file may raise anything
        raise EmbedderError(f"{path} does not load ({error}); delete it, and it is downloaded again") from error
    licence = f"facenet-pytorch's code and weights: MIT; the photographs of {name} they come from: research use"
    with path.open("rb") as file:
        return Embedder(name, licence, hashlib.file_digest(file, "sha256").hexdigest(), _run(model, device))


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = {key: value for key, value in load_file(path).items() if not key.startswith("logits.")}
    except SafetensorError as error:
        raise EmbedderError(f"{path} is no safetensors file: {error}") from error
    if bad := [key for key, value in found.items() if not value.isfinite().all()]:
        raise EmbedderError(f"{path} holds values that are no numbers, or infinite, in {bad[0]}; bring the file anew")
    return found


def _facenet(weights: dict[str, Any], path: Path, device: str) -> Callable[[NDArray[np.uint8]], Vectors]:
    from facenet_pytorch import InceptionResnetV1

    model = InceptionResnetV1()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise EmbedderError(f"{path} does not hold the weights of InceptionResnetV1: {first}") from error
    return _run(model, device)


def _run(model: Any, device: str) -> Callable[[NDArray[np.uint8]], Vectors]:
    import torch

    model = model.eval().to(device)

    def network(crops: NDArray[np.uint8]) -> Vectors:
        faces = torch.from_numpy(_resized(crops[:, *FACENET_CUT], FACENET_SIZE)).to(device)
        images = ((faces.float() - 127.5) / 128)[:, None].expand(-1, 3, -1, -1)
        with torch.inference_mode():
            return np.asarray(model(images).cpu())

    return network


def _onnx(path: Path) -> Callable[[NDArray[np.uint8]], Vectors]:
    """Return a model's function of crops; it sees the aligned face as ArcFace's models do, (grey - 127.5) / 127.5."""
    try:
        net = cv2.dnn.readNetFromONNX(str(path))
        channels, height, width = _input_shape(net.dump())
    except cv2.error as error:
        raise EmbedderError(f"{path} is no ONNX model that OpenCV runs: {error.err}") from error
    if channels not in (1, 3) or height != width:
        raise EmbedderError(f"{path} takes {channels} x {height} x {width}; an embedder takes 1 or 3 x size x size")
    margin = DEFAULT_CROP.margin

    def network(crops: NDArray[np.uint8]) -> Vectors:
        faces = _resized(crops[:, margin:-margin, margin:-margin], height)
        images = ((faces.astype(np.float32) - 127.5) / 127.5)[:, None]
        try:
            net.setInput(np.ascontiguousarray(np.repeat(images, channels, axis=1)))
            return np.asarray(net.forward(), np.float32)
        except cv2.error as error:
            raise EmbedderError(f"{path} does not run: {error.err}") from error

    return network


def _input_shape(dump: str) -> tuple[int, int, int]:
    """Return channels, height and width of a model's input from OpenCV's description; what is open is 3 x 112 x 112."""
    found = re.search(r"// <Input> \S+ \[(.+?) x (.+?) x (.+?) x (.+?)\]", dump)
    sides = found.groups()[1:] if found else ("", "", "")
    usual = (3, DEFAULT_CROP.face, DEFAULT_CROP.face)
    channels, height, width = (int(side) if side.isdigit() else x for side, x in zip(sides, usual, strict=True))
    return channels, height, width


def _resized(faces: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if faces.shape[1:] == (size, size):
        return faces
    kind = cv2.INTER_AREA if size < faces.shape[1] else cv2.INTER_LINEAR
    return np.stack([np.asarray(cv2.resize(face, (size, size), interpolation=kind), np.uint8) for face in faces])
