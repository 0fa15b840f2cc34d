"""MTCNN's cascade for many images of mixed sizes at once: facenet-pytorch's networks, weights, thresholds and rounding.

It differs in what it leaves out: resizes are look-ups in sums over rectangles, levels of all images lie side by side on
canvases, and where only the largest face is wanted, it starts with large faces and stops when no larger one can come.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fertools.faces.executors import EitherNetworks, make_networks, torch_device
from fertools.faces.mtcnn import CELL, STRIDE, Level, Sums, Tile, cells, even, levels, place
from fertools.faces.nms import nms

P_SCORE, R_SCORE, O_SCORE = 0.6, 0.7, 0.7  # what each network lets pass
P_LOGIT = 0.4  # a little below the logit of P_SCORE: only what is above needs a softmax
FIRST = 3  # a largest face is looked for from this part of the image's short side upwards first
SMALLEST_KEPT = 0.5  # of the largest face's area, where only that is wanted: what `choose` and `most_frontal` ask for
CROPS = {"cpu": {24: 64, 48: 8}, "cuda": {24: 4096, 48: 1024}}  # of a size, at once: what fits a core's cache
LOWEST = 96  # rows of a canvas, for the same reason
FEWEST = 8  # crops at once: below, matrix products are computed in another order and round otherwise
TOGETHER = {"cpu": 512, "cuda": 16_384}  # boxes suppressed at once, or one group's: each is compared with each
KEPT_MEMORY = 31 << 20  # once such a block was freed, glibc keeps freed memory: new pages cost a third of the time
SIDE = {"cpu": 256, "cuda": 2048}  # of a canvas
SIZE = {"cpu": 8_000_000, "cuda": 64_000_000}  # about that many numbers of images in one go; it changes no result


class Found(NamedTuple):
    """The faces of one image, surest first: (n, 4) x0, y0, x1, y1, (n,) and (n, 5, 2) x, y."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """What P-Net found and what is known of it: rows of one length. A score not asked for yet is no number."""

    image: Tensor  # (n,)
    box: Tensor  # (n, 4) of the window
    score: Tensor  # (n,)
    square: Tensor  # (n, 4) as P-Net corrects the window
    r: Tensor  # (n, 5) score and corrections
    o: Tensor  # (n, 15) score, corrections, landmarks

    def __add__(self, other: "Candidates") -> "Candidates":
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return Candidates(*(torch.cat(pair) for pair in pairs))

    def __getitem__(self, rows: Tensor) -> "Candidates":
        return Candidates(*(getattr(self, field.name)[rows] for field in fields(self)))


class Cascade:
    """P-, R- and O-Net on one device: cpu or cuda by torch, or the processor by OpenVINO."""

    def __init__(self, device: str, weights: Sequence[Path], min_face: int, factor: float) -> None:
        self._grid = min_face, factor
        self._device = torch_device(device)
        self._nets = {channels: make_networks(weights, device, channels) for channels in (1, 3)}
        self._store = torch.empty(0, dtype=torch.int32, device=self._device)
        torch.empty(KEPT_MEMORY, dtype=torch.uint8)

    @torch.inference_mode()
    def __call__(
        self, images: Sequence[NDArray[np.uint8]], *, sure: float, only_largest: bool = False, min_share: float = 0
    ) -> list[Found]:
        """Return the faces of images.

        Args:
            images: (height, width, 3) RGB, or (height, width) of grey ones, of any sizes.
            sure: the least score of a face.
            only_largest: leave out faces of less than half the largest one's area; much faster.
            min_share: leave out levels whose windows are smaller than this part of the image's short side.
        """
        found: dict[int, Found] = {}
        planes = [_plane(image) for image in images]
        for channels in (1, 3):
            numbers = [number for number, plane in enumerate(planes) if plane.shape[2] == channels]
            before = np.cumsum([0, *(planes[number].size for number in numbers)])[:-1] // SIZE[self._device.type]
            for _, together in groupby(zip(numbers, before, strict=True), lambda pair: int(pair[1])):
                some = [number for number, _ in together]
                batch = _Batch(self._nets[channels], self._sums([planes[number] for number in some]), sure)
                grids = [self._levels(images[number], min_share) for number in some]
                found |= zip(some, batch.search(grids, only_largest), strict=True)
        return [found[number] for number in range(len(images))]

    def _sums(self, planes: list[NDArray[np.uint8]]) -> Sums:
        store = self._store  # kept from batch to batch, unless it is huge: fresh memory is slow
        if (room := Sums.room(planes)) > store.numel():
            store = torch.empty(room, dtype=torch.int32, device=self._device)
            self._store = store if room < 2 * SIZE[self._device.type] else self._store
        return Sums(planes, store)

    def _levels(self, image: NDArray[np.uint8], min_share: float) -> list[Level]:
        height, width = image.shape[:2]
        grid = levels(height, width, *self._grid)
        return [level for level in grid if level.window >= min_share * min(height, width)]


class _Batch:
    """Images that are looked at together: all grey, or all coloured."""

    def __init__(self, nets: EitherNetworks, sums: Sums, sure: float) -> None:
        self._nets, self._sums, self._sure = nets, sums, sure
        self._device = sums.first.device

    def search(self, grids: list[list[Level]], only_largest: bool) -> list[Found]:
        """Return the faces of every image, looking at its levels from the coarsest on."""
        found = [Found(*(np.zeros((0, *shape), np.float32) for shape in ((4,), (), (5, 2))))] * len(grids)
        target = [min(shape) / FIRST if only_largest else 0 for shape in self._sums.shapes]
        seen = [0] * len(grids)  # levels
        known: Candidates | None = None
        while active := [image for image, grid in enumerate(grids) if seen[image] < len(grid)]:
            wanted = []
            for image in active:
                grid, start = grids[image], seen[image]
                while seen[image] < len(grid) and (not seen[image] or grid[seen[image] - 1].window > target[image]):
                    seen[image] += 1
                wanted += [(image, level) for level in reversed(grid[start : seen[image]])]
            new = self._propose(wanted)
            known = new if known is None else new + known
            for image, faces in zip(active, self._faces(known, active), strict=True):
                found[image], window = faces, grids[image][seen[image] - 1].window
                target[image] = window / 2
                if only_largest and len(faces.scores):
                    size, found[image] = _largest(faces)
                    target[image] = size / 2
                    seen[image] = len(grids[image]) if window <= target[image] else seen[image]
            done = torch.tensor([seen[image] == len(grid) for image, grid in enumerate(grids)], device=self._device)
            known = known[~done[known.image]]
        return found

    def _propose(self, wanted: list[tuple[int, Level]]) -> Candidates:
        """Return what P-Net finds on levels (image, level), suppressed level by level."""
        side = SIDE[self._device.type]
        canvases: dict[int, list[Tile]] = {}
        for tile in place([level for _, level in wanted], side):
            canvases.setdefault(tile.canvas, []).append(tile)
        reduced: dict[int, Tensor] = {}
        hits = torch.cat([self._look(tiles, wanted, reduced) for tiles in canvases.values()])
        where = hits[:, :3].long()  # level, row and column of windows on it
        order = ((where[:, 0] << 40) + (where[:, 1] << 20) + where[:, 2]).argsort()
        hits, where = hits[order], where[order]
        scale = hits.new_tensor([level.scale for _, level in wanted])[where[:, 0], None]
        corner = STRIDE * where[:, [2, 1]].float()
        box = torch.cat([((corner + 1) / scale).floor(), ((corner + CELL) / scale).floor()], 1)
        keep = suppress(box, hits[:, 3], where[:, 0], 0.5)
        box, score, shift = box[keep], hits[keep, 3], hits[keep, 4:]
        image = torch.tensor([image for image, _ in wanted], device=self._device)[where[keep, 0]]
        size = (box[:, 2:] - box[:, :2]).repeat(1, 2)
        unknown = [score.new_full((len(score), width), torch.nan) for width in (5, 15)]
        return Candidates(image, box, score, _squared(box + shift * size), *unknown)

    def _look(self, tiles: list[Tile], wanted: list[tuple[int, Level]], reduced: dict[int, Tensor]) -> Tensor:
        """Return (n, 8) hits of P-Net on one canvas: level, row, column, score, corrections.

        Args:
            tiles: that are on it.
            wanted: image and level, that tiles are from.
            reduced: pixels of levels already computed, for those that are cut into tiles.
        """
        height = max(LOWEST, *(even(tile.y + tile.height) for tile in tiles))
        width = max(SIDE[self._device.type], *(even(tile.x + tile.width) for tile in tiles))
        canvas = self._sums.blank(height, width)
        owner = np.full((height // 2 - 5, width // 2 - 5), -1, np.int32)
        edges = np.zeros((height - 2, width - 2), bool)
        for number, tile in enumerate(tiles):
            if tile.source not in reduced:
                reduced[tile.source] = self._sums.level(*wanted[tile.source])
            bottom, right = tile.y + tile.height, tile.x + tile.width
            canvas[tile.y : bottom, tile.x : right] = reduced[tile.source][tile.top : tile.top + tile.height]
            y, x = tile.y // 2, tile.x // 2
            owner[y : y + cells(tile.height), x : x + cells(tile.width)] = number
            if tile.height % 2:
                edges[bottom - 2, tile.x : right] = True
            if tile.width % 2:
                edges[tile.y : bottom, right - 2] = True
        logits, shift = self._nets.p(canvas, torch.from_numpy(np.flatnonzero(edges)).to(self._device))
        owners = torch.from_numpy(owner).to(self._device)
        rows, columns = ((logits[..., 1] - logits[..., 0] > P_LOGIT) & (owners >= 0)).nonzero().T
        score = logits[rows, columns].softmax(1)[:, 1]
        parts = torch.tensor([(tile.source, tile.top - tile.y, -tile.x) for tile in tiles])
        source, down, along = parts.to(self._device)[owners[rows, columns].long()].T
        where = torch.stack([source, rows + down // STRIDE, columns + along // STRIDE], 1)
        return torch.cat([where, score[:, None], shift[rows, columns]], 1)[score >= P_SCORE]

    def _faces(self, known: Candidates, active: list[int]) -> list[Found]:
        """Return the faces of images, by what is known and what R- and O-Net say of it; their answers are kept."""
        keep = suppress(known.box, known.score, known.image, 0.7)
        self._ask(self._nets.r, 24, known.r, known.square, known.image, keep)
        keep = keep[known.r[keep, 0] > R_SCORE]
        keep = keep[suppress(known.square[keep], known.r[keep, 0], known.image[keep], 0.7)]
        square = known.square.clone()
        square[keep] = _squared(_corrected(known.square[keep], known.r[keep, 1:]))
        self._ask(self._nets.o, 48, known.o, square, known.image, keep)
        keep = keep[known.o[keep, 0] > O_SCORE]
        image, square, score, shift, marks = (
            known.image[keep], square[keep], known.o[keep, 0], known.o[keep, 1:5], known.o[keep, 5:]
        )  # fmt: skip
        size = (square[:, 2:] - square[:, :2] + 1)[:, None]
        marks = size * marks.view(-1, 2, 5).transpose(1, 2) + square[:, None, :2] - 1
        box = _corrected(square, shift)
        keep = suppress_contained(box, score, image, 0.7)
        keep = keep[score[keep] >= self._sure]
        whose, boxes, scores, landmarks = (part[keep].cpu().numpy() for part in (image, box, score, marks))
        return [Found(boxes[whose == one], scores[whose == one], landmarks[whose == one]) for one in active]

    def _ask(
        self, net: Callable[[Tensor], Tensor], size: int, answers: Tensor, square: Tensor, image: Tensor, rows: Tensor
    ) -> None:
        """Fill in what a network says of rows that it was not asked for yet; outside of the image is no face."""
        rows = rows[answers[rows, 0].isnan()]
        box, limits = square[rows].trunc().long(), torch.stack([self._sums.width, self._sums.height], 1)[image[rows]]
        box = torch.cat([(box[:, :2] - 1).clamp(min=0), torch.minimum(box[:, 2:], limits)], 1)
        inside = (box[:, 2:] > box[:, :2]).all(1)
        answers[rows[~inside], 0] = 0
        rows, box = rows[inside], box[inside]
        num = CROPS[self._device.type][size]
        for start in range(0, len(rows), num):
            some = rows[start : start + num]
            crops = self._sums.crops(image[some], box[start : start + num], size)
            answers[some] = net(F.pad(crops, [0] * 7 + [max(FEWEST - len(some), 0)]))[: len(some)]


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Return which boxes stay, surest first; equally sure ones in their order.

    Args:
        boxes: (n, 4).
        scores: (n,)
        groups: (n,) from 0; a box suppresses only others of its group.
        threshold: of what two boxes share of what they cover together.
    """
    if not len(boxes):
        return groups
    wide = boxes.double()  # groups are moved apart; in 64 bits, so that nothing rounds
    wide += groups[:, None] * (wide.max() - wide.min() + 1)
    parts: Sequence[Tensor] = [torch.arange(len(boxes), device=boxes.device)]
    if len(boxes) > (most := TOGETHER[boxes.device.type]):
        counts = groups.bincount()
        sizes = ((counts.cumsum(0) - counts) // most).bincount(counts)
        parts = torch.split_with_sizes(groups.argsort(stable=True), sizes.long().tolist())
    keep = torch.cat([part[nms(wide[part], scores[part].double(), threshold)] for part in parts]).sort().values
    return keep[scores[keep].argsort(descending=True, stable=True)]


def suppress_contained(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Return which boxes stay, surest first, of equally sure ones the last: they share too much of the smaller box.

    One that is suppressed suppresses no other: solved for all at once, again until nothing changes.
    """
    order = scores.argsort(stable=True).flip(0)
    box = boxes[order]
    shared = torch.minimum(box[:, None, 2:], box[None, :, 2:]) - torch.maximum(box[:, None, :2], box[None, :, :2])
    area = (box[:, 2:] - box[:, :2] + 1).prod(1)
    part = (shared + 1).clamp(min=0).prod(2) / torch.minimum(area[:, None], area[None])
    beats = ((part > threshold) & (groups[order][:, None] == groups[order][None])).triu(1)
    stays, before = torch.ones_like(order, dtype=torch.bool), None
    while before is None or not torch.equal(stays, before):
        before, stays = stays, ~(beats & stays[:, None]).any(0)
    return order[stays]


def _plane(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one channel of an image that is grey, else all three."""
    if image.ndim == 2:
        return np.ascontiguousarray(image)[..., None]
    few = image[::8, ::8]  # a look at a few pixels tells most coloured ones
    if np.array_equal(few[..., 0], few[..., 1]) and np.array_equal(few[..., 0], few[..., 2]):
        first, *others = (np.asarray(plane, np.uint8) for plane in cv2.split(image))
        if all(np.array_equal(first, other) for other in others):
            return first[..., None]
    return np.ascontiguousarray(image)


def _squared(box: Tensor) -> Tensor:
    """Return the squares about boxes: of their longer side, with their middle."""
    size = box[:, 2:] - box[:, :2]
    side = size.max(1, keepdim=True).values
    corner = box[:, :2] + size * 0.5 - side * 0.5
    return torch.cat([corner, corner + side], 1)


def _corrected(box: Tensor, shift: Tensor) -> Tensor:
    return box + shift * (box[:, 2:] - box[:, :2] + 1).repeat(1, 2)


def _largest(faces: Found) -> tuple[float, Found]:
    """Return the side of the largest face, and the faces that are at least about as large."""
    areas = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1)
    kept = areas >= SMALLEST_KEPT * areas.max()
    return float(areas.max()) ** 0.5, Found(faces.boxes[kept], faces.scores[kept], faces.landmarks[kept])
