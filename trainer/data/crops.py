"""Crops in an order, wherever they are: gathered, a few batches ahead, as they are asked for."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import SupportsIndex, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from manifests.schema import DEFAULT_CROP

AHEAD = 3  # batches that are gathered while one is used
EVALUATION_BATCH = 256  # faces of 112 px; of larger ones as many pixels

Batch = UInt8[Tensor, "batch channels side side"]
Rest = TypeVar("Rest")


class Crops(ABC):
    """Crops in an order; a place in it is a number from 0, on the CPU.

    Attributes:
        side: of each, px.
    """

    side: int

    @abstractmethod
    def __len__(self) -> int:
        """Return how many there are."""

    @abstractmethod
    def begin(self, places: Int[Tensor, " batch"], worker: Executor) -> Callable[[], Batch]:
        """Let a worker begin to gather some; return what waits for them, and gives them on the device."""


class Resident(Crops):
    """Crops that are on the device."""

    def __init__(self, pixels: UInt8[Tensor, "faces side side *color"]) -> None:
        self._pixels, self.side = pixels, pixels.shape[1]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._pixels)

    def begin(self, places: Int[Tensor, " batch"], _worker: Executor) -> Callable[[], Batch]:
        """Have nothing to wait for."""
        return lambda: _channels_first(self._pixels.index_select(0, to_device(places, self._pixels.device)))


class Streamed(Crops):
    """Crops in a file, which is mapped; a thread copies what is asked for, and calls nothing of CUDA."""

    def __init__(self, pixels: NDArray[np.uint8], rows: NDArray[np.int64], device: torch.device) -> None:
        """Take some rows of a file's pixels, (rows, side, side) or in colour (rows, side, side, 3)."""
        self._pixels, self._rows, self._device, self.side = pixels, rows, device, pixels.shape[1]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rows)

    def begin(self, places: Int[Tensor, " batch"], worker: Executor) -> Callable[[], Batch]:
        """Let the worker copy them from the file to memory that the device can copy from without being waited for."""
        shape = (len(places), *self._pixels.shape[1:])
        host = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        rows = self._rows[places.numpy()]
        copying = worker.submit(np.take, self._pixels, rows, 0, host.numpy(), "clip")  # which alone needs no buffer

        def end() -> Batch:
            copying.result()
            return _channels_first(host.to(self._device, non_blocking=True))

        return end


class Joined(Crops):
    """Crops of several kinds, one after the other."""

    def __init__(self, parts: Sequence[Crops]) -> None:
        self._parts, self.side = parts, parts[0].side
        self._firsts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        """Return how many there are."""
        return int(self._firsts[-1])

    def begin(self, places: Int[Tensor, " batch"], worker: Executor) -> Callable[[], Batch]:
        """Begin with those of each part."""
        part = np.searchsorted(self._firsts, places.numpy(), "right") - 1
        mine = [torch.from_numpy(np.flatnonzero(part == number)) for number in range(len(self._parts))]
        begun = [
            crops.begin(places[some] - int(first), worker)
            for crops, some, first in zip(self._parts, mine, self._firsts, strict=False)
        ]

        def end() -> Batch:
            crops = torch.cat([each() for each in begun])
            return crops.index_select(0, to_device(torch.cat(mine).argsort(), crops.device))

        return end


def stream(
    crops: Crops, wanted: Iterable[tuple[Int[Tensor, " batch"], Rest]]
) -> Generator[tuple[Batch, Rest], None, None]:
    """Yield the crops at places, each batch with what came with its places; a thread gathers the next few meanwhile."""
    begun: deque[tuple[Callable[[], Batch], Rest]] = deque()
    worker = ThreadPoolExecutor(1)
    try:
        for places, rest in wanted:
            begun.append((crops.begin(places, worker), rest))
            if len(begun) > AHEAD:
                end, rest = begun.popleft()
                yield end(), rest
        for end, rest in begun:
            yield end(), rest
    finally:
        worker.shutdown(cancel_futures=True)


def take(crops: Crops, places: Int[Tensor, " batch"]) -> Batch:
    """Return the crops at some places."""
    return next(stream(crops, [(places, None)]))[0]


def in_order(crops: Crops) -> Iterator[Batch]:
    """Yield all crops, in batches of about the same number of pixels."""
    batches = torch.split(torch.arange(len(crops)), as_many_pixels(EVALUATION_BATCH, crops.side))
    return (batch for batch, _ in stream(crops, ((places, None) for places in batches)))


def as_many_pixels(num: int, side: int) -> int:
    """Return how many crops have about as many pixels as so many of the default."""
    return num * DEFAULT_CROP.stored**2 // side**2


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy what is on the CPU to the device, without waiting for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _channels_first(pixels: Tensor) -> Tensor:
    return pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.movedim(-1, 1)


def middle(crops: Batch) -> UInt8[Tensor, "batch channels face face"]:
    """Return the faces in the middle of stored crops, 7/9 of their side."""
    margin = crops.shape[-1] // 9
    return crops[:, :, margin:-margin, margin:-margin]


class Pictures:
    """Faces to look at, read as they are asked for: (faces, side, side), in colour (faces, side, side, 3)."""

    def __init__(self, crops: Crops) -> None:
        self._crops = crops

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._crops)

    def __getitem__(self, places: SupportsIndex | slice) -> NDArray[np.uint8]:
        """Return one, or some."""
        chosen = torch.arange(len(self))[places]
        faces = middle(take(self._crops, chosen.reshape(-1))).movedim(1, -1).cpu().numpy()
        pictures = faces if faces.shape[-1] > 1 else faces[..., 0]
        return pictures if chosen.ndim else pictures[0]


def average_faces(
    crops: Crops, classes: Int[Tensor, " faces"], num_classes: int
) -> Float[Tensor, "classes channels side side"]:
    """Return the mean of the faces of each class and their mirror images, 0 to 1; of a class without a face, NaN.

    Sums are whole numbers, so that it is the same on every device, to the bit.
    """
    totals, first = [torch.tensor(0)] * num_classes, 0
    for batch in in_order(crops):
        faces, shown = middle(batch), classes[first : first + len(batch)]
        totals = [total + faces[shown == place].sum(0, dtype=torch.int64) for place, total in enumerate(totals)]
        first += len(batch)
    num = torch.stack([(classes == place).sum() for place in range(num_classes)]).view(-1, 1, 1, 1)
    total = torch.stack(totals)
    return ((total + total.flip(3)).double() / (2 * 255 * num)).float()
