"""Train a small face embedder on drawn people of its own, and write it as ONNX for `fertools group --embedder FILE`.

Nine minutes of one core: python benchmarks/embedder.py --out embedder.onnx
"""

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fertools.drawn.corpus import write_whole
from fertools.drawn.face.expressions import EXPRESSIONS, perform_part, rise, sample_peak
from fertools.drawn.face.factors import jitter, sample_identity, sample_nuisance
from fertools.drawn.face.render import landmarks, render
from fertools.faces import align
from manifests.schema import DEFAULT_CROP

NUM_PEOPLE, NUM_SHOTS = 4000, 6
WIDTH, SIZE = 16, 128  # channels of the first layer; of an embedding
SEED = 7  # of the people, and of the training
EPOCHS, BATCH, LEARNING_RATE = 10, 128, 0.1
SCALE, MARGIN = (
    24,
    0.3,
)  # of CosFace (Wang et al. 2018, arXiv:1801.09414); the margin grows over two fifths of the steps
CROP_SIZE, FACE_SIZE, MIDDLE = DEFAULT_CROP.stored, DEFAULT_CROP.face, DEFAULT_CROP.margin
SHIFT = 4  # px that a face is moved at random
LANDMARK_ERROR = 0.03  # standard deviation, as a part of the distance between the eyes: about MTCNN's


def crops(seed: int, num_people: int) -> NDArray[np.uint8]:
    """Stored crops of people of no corpus, six photographs each: (people * 6, 144, 144)."""
    taken = np.empty((num_people, NUM_SHOTS, CROP_SIZE, CROP_SIZE), np.uint8)
    for person in range(num_people):
        rng = np.random.default_rng([seed, 3, person])  # a corpus draws from [seed, 0], [seed, 1, ...], [seed, 2, ...]
        identity = sample_identity(rng)
        for shot in range(NUM_SHOTS):
            peak, _ = sample_peak([None, *EXPRESSIONS][int(rng.integers(len(EXPRESSIONS) + 1))], rng)
            action = perform_part(peak, rise(9, rng)[int(rng.integers(9))])
            nuisance = jitter(sample_nuisance(rng), rng)
            size = (490, 640) if rng.uniform() < 0.5 else (240, 320)
            grey = np.ascontiguousarray(render(identity, action, nuisance, *size, rng))
            if rng.uniform() < 0.3:
                quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 96))]
                grey = np.asarray(cv2.imdecode(cv2.imencode(".jpg", grey, quality)[1], cv2.IMREAD_GRAYSCALE), np.uint8)
            points = landmarks(identity, action, nuisance, *size)
            error = LANDMARK_ERROR * np.linalg.norm(points[1] - points[0])
            points = points + rng.normal(0, error, points.shape)
            taken[person, shot] = align.crop(grey, align.crop_matrix(points))
    return taken.reshape(-1, CROP_SIZE, CROP_SIZE)


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = convolution(channels, channels, 3, 1), convolution(channels, channels, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        return F.relu(x + self.second(F.relu(self.first(x))))


def convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Sequential:
    """Return a convolution and its normalisation."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs))


def network(width: int = WIDTH) -> nn.Sequential:
    """Return (faces, 1, 112, 112) -> (faces, 128)."""
    return nn.Sequential(
        convolution(1, width, 5, 2), nn.ReLU(), convolution(width, 2 * width, 3, 2), nn.ReLU(),
        convolution(2 * width, 4 * width, 3, 2), nn.ReLU(), Block(4 * width),
        convolution(4 * width, 8 * width, 3, 2), nn.ReLU(), Block(8 * width),
        nn.Flatten(), nn.Linear(8 * width * (FACE_SIZE // 16) ** 2, SIZE, bias=False), nn.BatchNorm1d(SIZE),
    )  # fmt: skip


def train(faces: NDArray[np.uint8], epochs: int, seed: int) -> nn.Sequential:
    """Return a network that tells the people of some crops apart; six crops in a row are one person."""
    generator = torch.manual_seed(seed)
    pixels, num_people = torch.from_numpy(faces), len(faces) // NUM_SHOTS
    net = network().to(memory_format=torch.channels_last)
    people = nn.Parameter(0.05 * torch.randn(num_people, SIZE, generator=generator))
    optimizer = torch.optim.SGD([*net.parameters(), people], LEARNING_RATE, 0.9, weight_decay=5e-4, nesterov=True)
    num_steps = epochs * (len(pixels) // BATCH)
    for step in range(num_steps):
        place = step % (len(pixels) // BATCH)
        if place == 0:
            order, seen = torch.randperm(len(pixels), generator=generator), 0.0
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step + 1) / 200) * (1 + math.cos(math.pi * step / num_steps)) / 2
        rows = order[place * BATCH : (place + 1) * BATCH]
        with torch.autocast("cpu", torch.bfloat16):
            vectors = net(varied(pixels[rows], generator))
        cosine = F.normalize(vectors.float()) @ F.normalize(people).T
        true = F.one_hot(rows // NUM_SHOTS, num_people)
        margin = MARGIN * min(1, step / (0.4 * num_steps))
        loss = F.cross_entropy(SCALE * (cosine - margin * true), rows // NUM_SHOTS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += loss.item()
        if place == len(pixels) // BATCH - 1:
            print(f"epoch {step // (place + 1) + 1}: loss {seen / (place + 1):.3f}", flush=True)
    return net.eval()


def varied(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Return the faces of crops, moved, mirrored (half of the batches) and of another brightness and contrast."""
    down, right = (MIDDLE + torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator)).tolist()
    faces = (crops[:, None, down : down + FACE_SIZE, right : right + FACE_SIZE].float() - 127.5) / 127.5
    if torch.rand((), generator=generator) < 0.5:
        faces = faces.flip(3)
    contrast, brightness = 0.3 * (torch.rand(2, len(faces), 1, 1, 1, generator=generator) - 0.5)
    return (faces * (1 + contrast) + brightness).contiguous(memory_format=torch.channels_last)


# --- ONNX: the few messages of its protocol buffer that a plain network needs; torch's exporter needs two more packages


def field(number: int, value: int | str | bytes) -> bytes:
    """Encode one field of a message."""
    if isinstance(value, int):
        return _integer(number << 3) + _integer(value)
    content = value.encode() if isinstance(value, str) else value
    return _integer(number << 3 | 2) + _integer(len(content)) + content


def _integer(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _node(kind: str, inputs: list[str], output: str, **attributes: list[int]) -> bytes:
    encoded = [
        field(1, name) + b"".join(field(8, i) for i in value) + field(20, 7) for name, value in attributes.items()
    ]
    names = b"".join(field(1, name) for name in inputs)
    return names + field(2, output) + field(4, kind) + b"".join(field(5, attribute) for attribute in encoded)


def _value(name: str, shape: list[int | str]) -> bytes:
    sides = b"".join(field(1, field(2, side) if isinstance(side, str) else field(1, side)) for side in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, sides)))


def onnx(net: nn.Sequential) -> bytes:
    """Return a trained network as an ONNX model, each normalisation folded into what stands before it."""
    nodes: list[bytes] = []
    weights: dict[str, Tensor] = {}

    def add(kind: str, *inputs: str, **attributes: list[int]) -> str:
        nodes.append(_node(kind, list(inputs), f"x{len(nodes)}", **attributes))
        return f"x{len(nodes) - 1}"

    def folded(weight: Tensor, norm: nn.Module) -> tuple[str, str]:
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        names = f"weight{len(weights)}", f"bias{len(weights)}"
        weights[names[0]] = (weight * gain.reshape(-1, *[1] * (weight.ndim - 1))).detach()
        weights[names[1]] = (norm.bias - norm.running_mean * gain).detach()
        return names

    def convolved(module: nn.Module, x: str) -> str:
        layer, half = module[0], module[0].kernel_size[0] // 2
        size, stride = list(layer.kernel_size), list(layer.stride)
        return add("Conv", x, *folded(layer.weight, module[1]), kernel_shape=size, strides=stride, pads=[half] * 4)

    x = "faces"
    for place, module in enumerate(net):
        if isinstance(module, nn.Sequential):
            x = convolved(module, x)
        elif isinstance(module, Block):
            inner = convolved(module.second, add("Relu", convolved(module.first, x)))
            x = add("Relu", add("Add", x, inner))
        elif isinstance(module, nn.ReLU | nn.Flatten):
            x = add({"ReLU": "Relu", "Flatten": "Flatten"}[type(module).__name__], x)
        elif isinstance(module, nn.Linear):
            weight, bias = folded(module.weight, net[place + 1])
            weights[weight] = weights[weight].T.contiguous()
            x = add("Gemm", x, weight, bias)
    tensors = [
        b"".join(field(1, side) for side in value.shape) + field(2, 1) + field(8, name)
        + field(9, value.numpy().astype("<f4").tobytes())
        for name, value in weights.items()
    ]  # fmt: skip
    graph = b"".join(field(1, node) for node in nodes) + field(2, "embedder") + b"".join(field(5, t) for t in tensors)
    graph += field(11, _value("faces", ["n", 1, FACE_SIZE, FACE_SIZE])) + field(12, _value(x, ["n", SIZE]))
    return field(1, 8) + field(2, "fertools") + field(7, graph) + field(8, field(1, "") + field(2, 13))


def make(path: Path, num_people: int, epochs: int, seed: int) -> None:
    """Draw people, train, write."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    write_whole(path, onnx(train(crops(seed, num_people), epochs, seed)))


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=NUM_PEOPLE)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=Path("embedder.onnx"))
    arguments = parser.parse_args()
    make(arguments.out, arguments.people, arguments.epochs, arguments.seed)
    print(arguments.out)


if __name__ == "__main__":
    main()
