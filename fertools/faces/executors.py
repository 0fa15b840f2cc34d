"""The cascade's three networks run by torch, or by OpenVINO on the processor: the same weights, other kernels."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fertools.faces.detector import OPENVINO
from fertools.faces.mtcnn import Networks

CONFIG = {
    "INFERENCE_PRECISION_HINT": "f32",  # bfloat16, the default where a processor has it, loses faces
    "INFERENCE_NUM_THREADS": 1,  # one process a core is the faster way
    "ENABLE_CPU_PINNING": False,  # or every process would pin itself to the same core
    "PERFORMANCE_HINT": "LATENCY",
}
Weights = Mapping[str, NDArray[np.float32]]


class OpenVinoNetworks:
    """What `Networks` computes, to about 1e-6: the same three calls."""

    def __init__(self, weights: Sequence[Path], channels: int) -> None:
        """Compile the networks for grey (1) or coloured (3) images; it takes a second."""
        import openvino

        nets = Networks(weights, torch.device("cpu"), channels)
        self._p, self._r, self._o = (
            _compile(openvino, build(_Builder(of_net), channels))
            for of_net, build in zip(map(_weights, (nets._p, nets._r, nets._o)), (_p_net, _r_net, _o_net), strict=True)
        )

    def p(self, canvas: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """See `Networks.p`."""
        mask = torch.zeros(canvas.shape[0] - 2, canvas.shape[1] - 2)  # added after the first layer
        mask.view(-1)[edges] = -torch.inf
        logits, shift = self._p(canvas, mask)
        return logits, shift

    def r(self, crops: Tensor) -> Tensor:
        """See `Networks.r`."""
        return self._r(crops)[0]

    def o(self, crops: Tensor) -> Tensor:
        """See `Networks.o`."""
        return self._o(crops)[0]


EitherNetworks = Networks | OpenVinoNetworks


def torch_device(device: str) -> torch.device:
    """Return where the tensors of a device to detect on are."""
    return torch.device("cpu" if device == OPENVINO else device)


def make_networks(weights: Sequence[Path], device: str, channels: int) -> EitherNetworks:
    """Return the networks of a device to detect on, for grey (1) or coloured (3) images."""
    if device == OPENVINO:
        return OpenVinoNetworks(weights, channels)
    return Networks(weights, torch.device(device), channels)


def _weights(net: torch.nn.Module) -> Weights:
    return {name: tensor.detach().contiguous().numpy() for name, tensor in net.state_dict().items()}


def _compile(openvino: Any, graph: tuple[list[Any], list[Any]]) -> Callable[..., list[Tensor]]:
    outputs, inputs = graph
    compiled = openvino.Core().compile_model(openvino.Model(outputs, inputs), "CPU", CONFIG)
    request = compiled.create_infer_request()

    def run(*tensors: Tensor) -> list[Tensor]:
        answers = request.infer([tensor.contiguous().numpy() for tensor in tensors], share_inputs=True)
        return [torch.from_numpy(answers[output]) for output in compiled.outputs]

    return run


class _Builder:
    """Layers of a network by the names of its weights."""

    def __init__(self, weights: Weights) -> None:
        from openvino import opset13

        self.ops, self._weights = opset13, weights

    def input(self, *shape: int) -> Any:
        return self.ops.parameter(list(shape), np.float32)

    def conv(self, name: str, images: Any) -> Any:
        kernel, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        sides: list[int] = [0, 0]
        found = self.ops.convolution(images, self.ops.constant(kernel), [1, 1], sides, sides, [1, 1])
        return self.ops.add(found, self.ops.constant(bias.reshape(1, -1, 1, 1)))

    def prelu(self, name: str, values: Any) -> Any:
        return self.ops.prelu(values, self.ops.constant(self._weights[f"{name}.weight"]))

    def layer(self, number: int, images: Any, pool: int | None = None) -> Any:
        found = self.prelu(f"prelu{number}", self.conv(f"conv{number}", images))
        return found if pool is None else self.pooled(found, pool)

    def pooled(self, images: Any, size: int) -> Any:
        """Return the largest value of every second window; the last may be cut short."""
        sides: list[int] = [0, 0]
        return self.ops.max_pool(images, [2, 2], [1, 1], sides, sides, [size, size], rounding_type="ceil").output(0)

    def dense(self, name: str, values: Any) -> Any:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        found = self.ops.matmul(values, self.ops.constant(weight), False, True)
        return self.ops.add(found, self.ops.constant(bias[None]))

    def moved(self, images: Any, *order: int) -> Any:
        return self.ops.transpose(images, self.ops.constant(np.array(order)))

    def flat(self, images: Any) -> Any:
        """Return each image in a row: columns before rows before channels, as the weights expect."""
        return self.ops.reshape(self.moved(images, 0, 3, 2, 1), self.ops.constant(np.array([0, -1])), True)

    def answers(self, face: Any, *names: str) -> Any:
        """Return the probability of a face by the first head, and what the others say."""
        first, *others = (self.dense(name, face) for name in names)
        sure = self.ops.gather(self.ops.softmax(first, 1), self.ops.constant([1]), self.ops.constant(1))
        return self.ops.concat([sure, *others], 1)


def _p_net(build: _Builder, channels: int) -> tuple[list[Any], list[Any]]:
    canvas, mask = build.input(-1, -1, channels), build.input(-1, -1)
    first = build.layer(1, build.moved(build.ops.unsqueeze(canvas, build.ops.constant([0])), 0, 3, 1, 2))
    image = build.pooled(build.ops.add(first, build.ops.unsqueeze(mask, build.ops.constant([0, 1]))), 2)
    image = build.layer(3, build.layer(2, image))
    heads = [
        build.ops.squeeze(build.moved(build.conv(f"conv4_{number}", image), 0, 2, 3, 1), build.ops.constant([0]))
        for number in (1, 2)
    ]
    return heads, [canvas, mask]


def _r_net(build: _Builder, channels: int) -> tuple[list[Any], list[Any]]:
    crops = build.input(-1, 24, 24, channels)
    image = build.layer(2, build.layer(1, build.moved(crops, 0, 3, 1, 2), 3), 3)
    face = build.prelu("prelu4", build.dense("dense4", build.flat(build.layer(3, image))))
    return [build.answers(face, "dense5_1", "dense5_2")], [crops]


def _o_net(build: _Builder, channels: int) -> tuple[list[Any], list[Any]]:
    crops = build.input(-1, 48, 48, channels)
    image = build.layer(2, build.layer(1, build.moved(crops, 0, 3, 1, 2), 3), 3)
    face = build.prelu("prelu5", build.dense("dense5", build.flat(build.layer(4, build.layer(3, image, 2)))))
    return [build.answers(face, "dense6_1", "dense6_2", "dense6_3")], [crops]
