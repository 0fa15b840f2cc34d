"""What MTCNN's cascade is made of: levels and crops of images by sums over rectangles, canvases, and the networks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

CELL, STRIDE = 12, 2  # P-Net's window and its step, in pixels of a level
MARGIN = CELL - STRIDE  # that two tiles of one level share, so that no window is lost between them


class Level(NamedTuple):
    """An image at one size: pixels of the level a pixel of the image, and how many of them."""

    scale: float
    height: int
    width: int

    @property
    def window(self) -> float:
        """Side of P-Net's window in pixels of the image: about that of the faces it finds."""
        return CELL / self.scale


class Tile(NamedTuple):
    """Some rows of a level and their place on a canvas: in pixels, of even offsets."""

    source: int  # which of the levels
    top: int
    height: int
    width: int
    canvas: int = 0
    y: int = 0
    x: int = 0


def levels(height: int, width: int, min_face: int, factor: float) -> list[Level]:
    """Return the levels of an image from the coarsest on: facenet-pytorch's grid and its rounding."""
    scale, side = CELL / min_face, min(height, width) * CELL / min_face
    found = []
    while side >= CELL:
        found.append(Level(scale, int(height * scale + 1), int(width * scale + 1)))
        scale, side = scale * factor, side * factor
    return found[::-1]


class Sums:
    """Images as sums of all pixels above and left of each: any rectangle's sum is then four look-ups."""

    def __init__(self, images: Sequence[NDArray[np.uint8]], store: Tensor) -> None:
        """Sum up.

        Args:
            images: (height, width, channels), all of as many channels.
            store: (at least `room(images)`,) int32, written over. Sums wrap where an image is large; those of a
                rectangle of less than eight million pixels are right all the same.
        """
        channels = images[0].shape[2]
        self.shapes = [image.shape[:2] for image in images]
        sizes = [(height + 1) * (width + 1) for height, width in self.shapes]
        self._bases = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        self._all = store[: self._bases[-1] * channels].view(-1, channels)
        self.first = store.new_tensor(self._bases[:-1], dtype=torch.int64)
        self.height, self.width = store.new_tensor(self.shapes, dtype=torch.int64).T
        for number, image in enumerate(images):
            _sum_up(image, self.of(number))

    @staticmethod
    def room(images: Sequence[NDArray[np.uint8]]) -> int:
        """Return how many numbers the sums of images are."""
        return sum((image.shape[0] + 1) * (image.shape[1] + 1) * image.shape[2] for image in images)

    def of(self, number: int) -> Tensor:
        """Return the sums of one image: (height + 1, width + 1, channels)."""
        height, width = self.shapes[number]
        return self._all[self._bases[number] : self._bases[number + 1]].view(height + 1, width + 1, -1)

    def blank(self, height: int, width: int) -> Tensor:
        """Return an empty canvas: (height, width, channels)."""
        return torch.zeros(height, width, self._all.shape[1], device=self._all.device)

    def level(self, number: int, level: Level) -> Tensor:
        """Return an image at one size: (height, width, channels), each pixel the mean of what it covers."""
        sums, (height, width) = self.of(number), self.shapes[number]
        edges = [*_edges(0, height, np.arange(level.height)), *_edges(0, width, np.arange(level.width))]
        there = torch.from_numpy(np.concatenate(edges)).to(sums.device)  # in one go: a GPU is waited for each time
        top, bottom, left, right = torch.split_with_sizes(there, [len(edge) for edge in edges])
        rows = sums.index_select(0, bottom) - sums.index_select(0, top)
        total = rows.index_select(1, right) - rows.index_select(1, left)
        return _normal(total, (bottom - top)[:, None, None], (right - left)[None, :, None])

    def crops(self, image: Tensor, box: Tensor, size: int) -> Tensor:
        """Cut out rectangles, all in one go.

        Args:
            image: (n,) which of the images.
            box: (n, 4) first and last pixel + 1: x0, y0, x1, y1, within the image and not empty.
            size: sides of what comes out.

        Returns:
            (n, size, size, channels).
        """
        steps = torch.arange(size, device=box.device)
        x, y, end_x, end_y = box[:, :, None].unbind(1)
        left, right = _edges(x, end_x - x, steps)
        top, bottom = _edges(y, end_y - y, steps)
        tall, wide = (bottom - top)[:, :, None, None], (right - left)[:, None, :, None]
        row = self.width[image, None] + 1
        top, bottom = (self.first[image, None] + edge * row for edge in (top, bottom))
        total = self._corner(bottom, right) - self._corner(top, right)
        total -= self._corner(bottom, left)
        total += self._corner(top, left)
        return _normal(total, tall, wide)

    def _corner(self, y: Tensor, x: Tensor) -> Tensor:
        where = y[:, :, None] + x[:, None, :]
        if where.is_cuda:
            return self._all.index_select(0, where.view(-1)).view(*where.shape, self._all.shape[1])
        return torch.from_numpy(self._all.numpy().take(where.numpy(), 0, mode="clip"))  # in half of torch's time


def _sum_up(image: NDArray[np.uint8], sums: Tensor) -> None:
    if sums.is_cuda:
        accumulate(torch.tensor(image, device=sums.device), sums)
    else:
        plane = image[..., 0] if image.shape[2] == 1 else image
        into = sums.numpy()
        cv2.integral(plane, into[..., 0] if image.shape[2] == 1 else into, cv2.CV_32S)


def accumulate(image: Tensor, sums: Tensor) -> None:
    """Write an image's sums: (height, width, channels) -> (height + 1, width + 1, channels) int32."""
    sums[0], sums[:, 0] = 0, 0
    sums[1:, 1:] = image.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32)


def _edges(start: Any, length: Any, steps: Any) -> tuple[Any, Any]:
    """Return where the parts of a side begin and end; as in adaptive pooling, neighbours may share a pixel."""
    parts = steps.shape[-1]
    return start + steps * length // parts, start + ((steps + 1) * length + parts - 1) // parts


def _normal(total: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
    """Return means of rectangles as the networks want them, about -1 to 1: (mean - 127.5) / 128."""
    return total.float().div_(tall.float()).div_(wide.float() * 128).sub_(127.5 / 128)


def place(wanted: Sequence[Level], side: int) -> list[Tile]:
    """Lay levels on canvases, row by row, the tallest first; what is too tall is cut, what is too wide is alone."""
    tiles = [tile for source, level in enumerate(wanted) for tile in _cut(source, level, side)]
    placed: list[Tile] = []
    canvas = x = y = 0
    bottom = 0  # of the row that is being filled
    for tile in sorted(tiles, key=lambda tile: (tile.width <= side, -tile.height)):
        if x + tile.width > side:
            x, y = 0, bottom
        if y and (y + tile.height > side or max(tile.width, placed[-1].width) > side):
            canvas, x, y = canvas + 1, 0, 0
        if x == 0:
            bottom = y + even(tile.height)
        placed.append(tile._replace(canvas=canvas, y=y, x=x))
        x += even(tile.width)
    return placed


def _cut(source: int, level: Level, side: int) -> list[Tile]:
    tops = range(0, level.height - MARGIN, side - MARGIN)
    return [Tile(source, top, min(side, level.height - top), level.width) for top in tops]


def even(length: int) -> int:
    """Return a length, or the next one that is even."""
    return length + length % 2


def cells(length: int) -> int:
    """Return how many windows P-Net sees along a side; its pooling rounds up."""
    return (length - 1) // 2 - 4


class Networks:
    """facenet-pytorch's P-, R- and O-Net, channels last throughout.

    With AVX-512 that is a third to a half faster; with AVX2 alone it makes no difference (0.86 to 1.10 times).

    Args:
        weights: the files of the three (`detector.weight_files`).
        device: where they compute.
        channels: of images: 1 grey, 3 coloured.
    """

    def __init__(self, weights: Sequence[Path], device: torch.device, channels: int) -> None:
        self._p, self._r, self._o = (
            _load(net, path, device, channels)
            for net, path in zip((_p_net(), _r_net(), _o_net()), weights, strict=True)
        )

    def p(self, canvas: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (rows, columns, 2: none, face) and corrections (rows, columns, 4) of the windows of a canvas.

        Args:
            canvas: (height, width, channels).
            edges: places after the first layer where two tiles mix; the pooling that follows must not see them.
        """
        net = self._p
        image = _layer(net.conv1, net.prelu1, canvas[None])
        image.view(-1, image.shape[3]).index_fill_(0, edges, -torch.inf)
        image = _layer(net.conv2, net.prelu2, _pooled(image, 2))
        image = _layer(net.conv3, net.prelu3, image)[0]
        logits, shift = (F.linear(image, head.weight[:, :, 0, 0], head.bias) for head in (net.conv4_1, net.conv4_2))
        return logits, shift

    def r(self, crops: Tensor) -> Tensor:
        """Return (n, 5) scores and corrections of (n, 24, 24, channels)."""
        net = self._r
        image = _pooled(_layer(net.conv1, net.prelu1, crops), 3)
        image = _pooled(_layer(net.conv2, net.prelu2, image), 3)
        face = net.prelu4(net.dense4(_flat(_layer(net.conv3, net.prelu3, image))))
        return torch.cat([net.dense5_1(face).softmax(1)[:, 1:], net.dense5_2(face)], 1)

    def o(self, crops: Tensor) -> Tensor:
        """Return (n, 15) scores, corrections and landmarks of (n, 48, 48, channels)."""
        net = self._o
        image = _pooled(_layer(net.conv1, net.prelu1, crops), 3)
        image = _pooled(_layer(net.conv2, net.prelu2, image), 3)
        image = _pooled(_layer(net.conv3, net.prelu3, image), 2)
        face = net.prelu5(net.dense5(_flat(_layer(net.conv4, net.prelu4, image))))
        return torch.cat([net.dense6_1(face).softmax(1)[:, 1:], net.dense6_2(face), net.dense6_3(face)], 1)


def _p_net() -> dict[str, nn.Module]:
    return {
        "conv1": nn.Conv2d(3, 10, 3), "prelu1": nn.PReLU(10), "conv2": nn.Conv2d(10, 16, 3), "prelu2": nn.PReLU(16),
        "conv3": nn.Conv2d(16, 32, 3), "prelu3": nn.PReLU(32),
        "conv4_1": nn.Conv2d(32, 2, 1), "conv4_2": nn.Conv2d(32, 4, 1),
    }  # fmt: skip


def _r_net() -> dict[str, nn.Module]:
    return {
        "conv1": nn.Conv2d(3, 28, 3), "prelu1": nn.PReLU(28), "conv2": nn.Conv2d(28, 48, 3), "prelu2": nn.PReLU(48),
        "conv3": nn.Conv2d(48, 64, 2), "prelu3": nn.PReLU(64), "dense4": nn.Linear(576, 128), "prelu4": nn.PReLU(128),
        "dense5_1": nn.Linear(128, 2), "dense5_2": nn.Linear(128, 4),
    }  # fmt: skip


def _o_net() -> dict[str, nn.Module]:
    return {
        "conv1": nn.Conv2d(3, 32, 3), "prelu1": nn.PReLU(32), "conv2": nn.Conv2d(32, 64, 3), "prelu2": nn.PReLU(64),
        "conv3": nn.Conv2d(64, 64, 3), "prelu3": nn.PReLU(64), "conv4": nn.Conv2d(64, 128, 2), "prelu4": nn.PReLU(128),
        "dense5": nn.Linear(1152, 256), "prelu5": nn.PReLU(256),
        "dense6_1": nn.Linear(256, 2), "dense6_2": nn.Linear(256, 4), "dense6_3": nn.Linear(256, 10),
    }  # fmt: skip


def _load(layers: dict[str, nn.Module], weights: Path, device: torch.device, channels: int) -> Any:
    net: Any = nn.ModuleDict(layers)
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    if channels == 1:  # what three equal channels give
        net.conv1.weight = nn.Parameter(net.conv1.weight.sum(1, keepdim=True))
    return net.to(device, memory_format=torch.channels_last)


def _layer(convolution: nn.Conv2d, prelu: nn.PReLU, image: Tensor) -> Tensor:
    image = convolution(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    rows = image.reshape(-1, image.shape[2] * image.shape[3])  # long ones, for speed
    return F.prelu(rows, prelu.weight.repeat(image.shape[2])).view(image.shape)


def _pooled(image: Tensor, size: int) -> Tensor:
    """Return the largest value of every second window of 2 or 3; the last may be cut short. Channels are last."""
    for dim in (1, 2):
        before = (slice(None),) * dim
        num = (image.shape[dim] - size + 1) // 2 + 1
        first, second = (image[(*before, slice(start, 2 * num, 2))] for start in (0, 1))
        top = torch.maximum(first, second)
        if size == 3:
            third = image[(*before, slice(2, 2 * num + 1, 2))]
            part = top[(*before, slice(third.shape[dim]))]
            torch.maximum(part, third, out=part)
        image = top
    return image


def _flat(image: Tensor) -> Tensor:
    return image.transpose(1, 2).flatten(1)
