"""What a bundle has beside its model: the detector's networks in ONNX, a script without this code, and a test of both.

The networks are facenet-pytorch's (MIT licence), as `fertools.faces` has them; the script is the glue of its cascade in
numpy. A bundle is written only where the script, run by itself, finds what we do.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.inference import photos
from trainer.inference.model import Model
from trainer.inference.onnx import ExportError
from trainer.methods.pretrained import weights
from trainer.runs.atomic import write_whole

SCRIPT, EXAMPLE, EXPECTED = "read_expressions.py", "example.png", "example.json"
NETWORKS = ("pnet.onnx", "rnet.onnx", "onet.onnx")
FILES = (*NETWORKS, SCRIPT, EXAMPLE, EXPECTED)
NEEDS = ("numpy", "onnxruntime", "pillow")
SECONDS = 300  # that the script may take: it takes two
OPSET = 13
Arrays = Mapping[str, NDArray[np.float32]]


def write(folder: Path, model: Model) -> dict[str, Any]:
    """Write all but the model's graph, and run it.

    Args:
        folder: that has `model.onnx`.
        model: the same, on the CPU.

    Returns:
        faces: in the example; differences: largest, of boxes and landmarks (px) and probabilities; seconds: from an
        empty process to the example read, the faster of two; processor, system, python and versions: where.

    Raises:
        ExportError: the script does not find what we do.
    """
    from fertools.faces.detector import weight_files

    for name, path in zip(NETWORKS, weight_files(), strict=True):
        tensors = {key: tensor.numpy() for key, tensor in weights.read(str(path)).tensors.items()}
        (folder / name).write_bytes(network(name, tensors))
    source = Path(__file__).parent / "bundled"
    for name in (SCRIPT, EXAMPLE):
        (folder / name).write_bytes((source / name).read_bytes())
    expected = found_by_us(model, photos.decode((folder / EXAMPLE).read_bytes()))
    write_whole(folder / EXPECTED, json.dumps(expected, indent=1) + "\n")
    runs = [_run(folder) for _ in range(2)]
    return {
        "faces": len(expected), "differences": runs[-1][0], "seconds": min(seconds for _, seconds in runs),
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "system": platform.system(),
        "python": platform.python_version(), "versions": {name: version(name) for name in NEEDS},
    }  # fmt: skip


def found_by_us(model: Model, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Return the faces of a picture as the script tells them, the one that is meant first."""
    from fertools.faces.detector import Detector

    (photo,) = next(photos.find([photos.Photo(Path(EXAMPLE), image=image)], model.crop, "cpu"))
    landmarks = {face.box.tobytes(): face.landmarks for face in Detector("cpu")(image)}
    read = model.predict([face.crop for face in photo.faces])
    return [
        {
            "box": face.box.tolist(), "score": float(face.score), "landmarks": landmarks[face.box.tobytes()].tolist(),
            "expression": str(label), "probability": float(shares.max()),
            "probabilities": dict(zip(read.expressions, map(float, shares), strict=True)),
        }
        for face, label, shares in zip(photo.faces, read.labels, read.probabilities, strict=True)
    ]  # fmt: skip


def _run(folder: Path) -> tuple[dict[str, Any], float]:
    """Return what the script, in a process of its own, finds otherwise than we do, and the seconds it takes."""
    began = time.perf_counter()
    try:
        command = [sys.executable, "-I", SCRIPT, "--check"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"{SCRIPT} cannot be run: {error}; nothing was written") from error
    seconds = time.perf_counter() - began
    if done.returncode or not done.stdout.startswith("{"):
        told = (done.stdout.strip() or done.stderr.strip()).splitlines() or ["nothing"]
        raise ExportError(f"{SCRIPT} does not find in {EXAMPLE} what we do; it says: {told[-1]}; nothing was written")
    return json.loads(done.stdout), seconds


# --- the detector's networks


def network(name: str, tensors: Arrays) -> bytes:
    """Return P-, R- or O-Net as the bytes of an ONNX file: `image`, (n, 3, height, width), to `found`.

    `found` is (n, 5 or 15): the probability of a face, corrections of its box, and O-Net's landmarks; of P-Net
    (n, 5, rows, columns), of every second window of 12 pixels.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    last = "image"

    def add(operator: str, inputs: list[str], **how: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"value{len(nodes)}"], **how))
        return str(nodes[-1].output[0])

    def layer(number: int, values: str, pool: int | None = None) -> str:
        conv = add("Conv", [values, f"conv{number}.weight", f"conv{number}.bias"])
        found = add("PRelu", [conv, f"prelu{number}.weight"])
        return add("MaxPool", [found], kernel_shape=[pool] * 2, strides=[2, 2], ceil_mode=1) if pool else found

    def answers(first: str, *others: str) -> None:
        both = add("Softmax", [first], axis=1)
        face = add("Slice", [both, "one", "two", "one"])
        nodes.append(helper.make_node("Concat", [face, *others], ["found"], axis=1))

    if name == "pnet.onnx":
        last = layer(3, layer(2, layer(1, last, 2)))
        answers(*(add("Conv", [last, f"{head}.weight", f"{head}.bias"]) for head in ("conv4_1", "conv4_2")))
        shape: tuple[Any, ...] = ("faces", 3, "height", "width")
    else:
        dense, heads, side = {"rnet.onnx": (4, 2, 24), "onet.onnx": (5, 3, 48)}[name]
        last = layer(2, layer(1, last, 3), 3)
        last = layer(3, last) if dense == 4 else layer(4, layer(3, last, 2))
        last = add("Flatten", [add("Transpose", [last], perm=[0, 3, 2, 1])])
        last = add("Gemm", [last, f"dense{dense}.weight", f"dense{dense}.bias"], transB=1)
        last = add("PRelu", [last, f"prelu{dense}.weight"])
        named = [f"dense{dense + 1}_{head}" for head in range(1, heads + 1)]
        answers(*(add("Gemm", [last, f"{head}.weight", f"{head}.bias"], transB=1) for head in named))
        shape = ("faces", 3, side, side)
    kept = dict(tensors)
    for number in range(1, 5):
        if f"conv{number}.weight" in tensors:  # slopes of a convolution's channels, as ONNX broadcasts them
            kept[f"prelu{number}.weight"] = tensors[f"prelu{number}.weight"][:, None, None]
    kept |= {"one": np.array([1], np.int64), "two": np.array([2], np.int64)}
    graph = helper.make_graph(
        nodes, name.partition(".")[0], [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, key) for key, values in kept.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return bytes(made.SerializeToString())
