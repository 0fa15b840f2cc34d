"""A manifest to batches: crops stay uint8 on the device, and are turned, cut and whitened there."""

import hashlib
import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from manifests import files, schema
from trainer.method import Faces, Pairs

VARIANTS = [(float(angle), flipped) for flipped in (False, True) for angle in schema.ANGLES]  # degrees
TURN, SHIFT = 5.0, (128 - schema.FACE_SIZE) // 2  # degrees, px: of IF-GAN's 112 px out of 128, half its 224 of 256
MARGIN = (schema.CROP_SIZE - schema.FACE_SIZE) // 2
EVALUATION_BATCH = 256
MAX_SHARES = 2**24 - 1  # that torch.multinomial draws from

Whitener = Callable[[Tensor], Tensor]


class FoldData:
    """The faces of one fold's parts. The test part is read by `open_test` and by nothing else."""

    def __init__(
        self, manifest: Path, fold: int, device: torch.device, expressions: Collection[str] = (), plain: bool = False
    ) -> None:
        """Read training and validation faces and the pairs: all, or those of some expressions.

        Args:
            plain: show grey levels from -1 to 1, in training turned and cut by chance, instead of whitened variants.

        Raises:
            ManifestError: no such fold or expression, or pairs or whitening that are not this manifest's.
        """
        self.manifest, self.fold, self.device = manifest, fold, device
        self.table = files.read(manifest)
        self.metadata = files.read_metadata(manifest)
        self.rows = schema.parts(self.table, fold)
        known = {name for rows in self.rows.values() for name in self.table["expression"].take(rows).to_pylist()}
        if None in known:
            raise schema.ManifestError(f"{manifest}: no face has an expression: there is nothing to train it on")
        if not known.issuperset(expressions):
            unknown = ", ".join(sorted(set(expressions) - known))
            raise schema.ManifestError(f"{manifest}: no face shows {unknown}; it has {', '.join(sorted(known))}")
        self.expressions = sorted(expressions or known)
        self._pairs = files.read_pairs(manifest, fold, self.table)
        if expressions:
            self._keep(expressions)
        self._refuse_empty()
        self._grids = variant_grids().to(device)
        self.plain, self._whitening = plain, "none" if plain else self.metadata["whitening"]["kind"]
        self.whiten = whitener(manifest, fold, self._whitening, device)
        self._crops = {name: self._read(name) for name in ("train", "validation")}
        self._training_classes = self.classes("train")

    def _keep(self, expressions: Collection[str]) -> None:
        """Leave out the faces, and the pairs, of all other expressions."""
        wanted = np.isin(self.table["expression"].to_pylist(), sorted(expressions))
        self.rows = {part: rows[wanted[rows]] for part, rows in self.rows.items()}
        kept = wanted[self._pairs["anchor"]]
        self._pairs = {name: column[kept] for name, column in self._pairs.items()}

    def _refuse_empty(self) -> None:
        for name, rows in self.rows.items():
            if len(rows) == 0:
                raise schema.ManifestError(f"{self.manifest}: fold {self.fold} has no usable face in its {name} part")

    def _read(self, part: str) -> UInt8[Tensor, "faces 144 144"]:
        return torch.from_numpy(files.read_images(self.manifest, self.rows[part])).to(self.device)

    def open_test(self) -> None:
        """Read the test faces: to be done once, when nothing is left to choose."""
        self._crops["test"] = self._read("test")

    def provenance(self) -> dict[str, Any]:
        """Return what the faces are, by hash, and how they were prepared."""
        whitening = files.whitening_path(self.manifest, self.fold)
        fitted = not self.plain and whitening.exists()
        averages = {"averages_sha256": self._averages_sha256()} if self.plain else {}
        return {
            "manifest_sha256": files.file_sha256(self.manifest),
            "pairs_sha256": files.file_sha256(files.pairs_path(self.manifest)),
            "whitening": self._whitening,
            "whitening_sha256": files.file_sha256(whitening) if fitted else None,
            "protocol": self.metadata["summary"]["protocol"],
            "drawn": self.metadata["summary"]["drawn"],
            "prepared_by": self.metadata["commit"],
        } | averages

    def classes(self, part: str) -> Int[Tensor, " faces"]:
        """Return the class of each face of a part, as a place in `expressions`."""
        names = self.table["expression"].take(self.rows[part]).to_pylist()
        return torch.tensor([self.expressions.index(name) for name in names], device=self.device)

    def column(self, part: str, name: str) -> NDArray[Any]:
        """Return a column of the manifest for the faces of a part."""
        return np.array(self.table[name].take(self.rows[part]).to_pylist())

    def batches(
        self, reads: type[Faces] | type[Pairs], batch_size: int, epoch: int, seed: int, balanced: bool = False
    ) -> Iterator[Any]:
        """Yield an epoch in an order, and with variants, that depend on epoch and seed only.

        Nothing is left out: an epoch is cut into as few batches of nearly equal size as hold at most `batch_size`.
        Pairs of epoch e are those drawn for epoch e; after the last one drawn they begin again. Where `balanced`, an
        epoch is as long but draws classes evenly, with replacement, and a repeated anchor meets other partners.
        """
        generator = torch.Generator().manual_seed(seed)
        sides = self._sides(reads, epoch)
        order = torch.randperm(len(sides[0]), generator=generator)
        if balanced:
            sides = self._sides(reads, None)
            classes = self._training_classes.cpu()[sides[0]]
            shares = 1 / torch.bincount(classes)[classes].double()
            order = torch.multinomial(shares, len(order), replacement=True, generator=generator)
        for members in order.tensor_split(math.ceil(len(order) / batch_size)):
            rows = [side[members].to(self.device) for side in sides]
            images = [self._augmented(side, generator) for side in rows]
            classes = self._training_classes[rows[0]]
            yield Faces(images[0], classes) if reads is Faces else Pairs(images[0], images[1], classes)

    def _sides(self, reads: type[Faces] | type[Pairs], epoch: int | None) -> list[Tensor]:
        """Return the places among the training faces of every face, or of both sides of an epoch's (or all) pairs.

        Of more pairs than a draw can hold (those of all epochs of AffectNet), those of the first epochs are all.
        """
        if reads is Faces:
            return [torch.arange(len(self.rows["train"]))]
        drawn = self._pairs["epoch"]
        mine = slice(MAX_SHARES) if epoch is None else drawn == epoch % (drawn.max() + 1)
        rows = [self._pairs[name][mine] for name in ("anchor", "partner")]
        return [torch.from_numpy(np.searchsorted(self.rows["train"], side)) for side in rows]

    def _augmented(self, members: Tensor, generator: torch.Generator) -> Float[Tensor, "batch 1 112 112"]:
        """Return one of the 14 variants of each face, drawn anew, whitened; of plain ones, one of `jittered_grids`."""
        if self.plain:
            grids = jittered_grids(len(members), generator).to(self.device)
        else:
            variant = torch.randint(len(self._grids), (len(members),), generator=generator).to(self.device)
            grids = self._grids[variant]
        crops = self._crops["train"][members].unsqueeze(1).float() / 255
        return self.whiten(F.grid_sample(crops, grids, align_corners=False))

    def averages(self) -> Float[Tensor, "expressions 1 112 112"]:
        """Return the average face of each expression: the mean of its training faces and their mirror images.

        Sums are whole numbers, so that it is the same on every device, to the bit.

        Raises:
            ManifestError: the training part does not show one of the expressions.

        Source:
            IF-GAN section 3.1: "average" images, of the training set. That they are symmetric is ours.
        """
        faces, means = self._crops["train"][:, MARGIN:-MARGIN, MARGIN:-MARGIN], []
        for place, name in enumerate(self.expressions):
            mine = faces[self._training_classes == place]
            if len(mine) == 0:
                raise schema.ManifestError(
                    f"{self.manifest}: no training face of fold {self.fold} shows {name}: it has no average face; "
                    "choose another fold, or leave it out with --expressions"
                )
            total = mine.sum(0, dtype=torch.int64)
            means.append((total + total.flip(1)).double() / (2 * 255 * len(mine)))
        return self.whiten(torch.stack(means).unsqueeze(1).float())

    def _averages_sha256(self) -> str:
        return hashlib.sha256(self.averages().cpu().numpy().tobytes()).hexdigest()

    def upright(self, part: str) -> Iterator[Float[Tensor, "batch 1 112 112"]]:
        """Yield the faces of a part as they are, whitened, in row order."""
        return upright(self._crops[part], self.whiten)

    def variants(self, part: str) -> Iterator[Iterator[Float[Tensor, "batch 1 112 112"]]]:
        """Yield the faces of a part in each of the 14 variants, whitened, in row order."""
        for grid in self._grids:
            yield (
                self.whiten(F.grid_sample(crops.unsqueeze(1).float() / 255, grid.expand(len(crops), -1, -1, -1),
                                          align_corners=False))
                for crops in torch.split(self._crops[part], EVALUATION_BATCH)
            )  # fmt: skip

    def pictures(self, part: str) -> NDArray[np.uint8]:
        """Return the faces of a part to look at: (faces, 112, 112)."""
        return self._crops[part][:, MARGIN:-MARGIN, MARGIN:-MARGIN].cpu().numpy()


def upright(crops: UInt8[Tensor, "faces 144 144"], whiten: Whitener) -> Iterator[Float[Tensor, "batch 1 112 112"]]:
    """Yield faces as they are, whitened, in the order of their crops."""
    for batch in torch.split(crops, EVALUATION_BATCH):
        yield whiten(batch[:, None, MARGIN:-MARGIN, MARGIN:-MARGIN].float() / 255)


def read_all(
    manifest: Path, expressions: Collection[str], device: torch.device
) -> tuple[pa.Table, UInt8[Tensor, "faces 144 144"]]:
    """Return the rows and the crops of every usable face of some expressions, whatever its fold."""
    table = files.read(manifest)
    usable = np.array(table["usable"].to_pylist()) & np.isin(table["expression"].to_pylist(), sorted(expressions))
    rows = np.flatnonzero(usable)
    return table.take(rows), torch.from_numpy(files.read_images(manifest, rows)).to(device)


def variant_grids() -> Float[Tensor, "14 112 112 2"]:
    """Return, for each of the 14 variants, where in the stored crop the pixels of its face lie (grid_sample's units).

    Rotations by 0, 5, 10 and 15 degrees to both sides, each with and without a flip (DICE-FER section 5.2). The stored
    margin holds every turned face whole: no corner is invented.
    """
    place = torch.arange(schema.FACE_SIZE) - (schema.FACE_SIZE - 1) / 2  # px from the centre
    y, x = torch.meshgrid(place, place, indexing="ij")
    grids = []
    for angle, flipped in VARIANTS:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        mirrored = -x if flipped else x
        grids.append(torch.stack([cos * mirrored - sin * y, sin * mirrored + cos * y], dim=-1))
    return torch.stack(grids) * 2 / schema.CROP_SIZE


def jittered_grids(num: int, generator: torch.Generator) -> Float[Tensor, "num 112 112 2"]:
    """Return where in the stored crop the pixels of faces lie that are flipped, turned and cut by chance, each anew.

    Half of them are mirrored, all are turned by up to 5 degrees about the centre, and of the middle 128 px any 112 are
    cut out (IF-GAN section 4.3, at half its size). The stored margin holds every such face whole.
    """
    angle = torch.deg2rad((2 * torch.rand(num, generator=generator) - 1) * TURN)
    mirrored = 1.0 - 2 * torch.randint(2, (num,), generator=generator)
    shift = torch.randint(-SHIFT, SHIFT + 1, (num, 2, 1), generator=generator) * 2 / schema.CROP_SIZE
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], dim=1).view(num, 2, 2)
    flip = torch.stack([mirrored, torch.ones(num)], dim=1).unsqueeze(1)
    scale = schema.FACE_SIZE / schema.CROP_SIZE
    affine = torch.cat([scale * turn * flip, turn @ shift], dim=2)
    return F.affine_grid(affine, [num, 1, schema.FACE_SIZE, schema.FACE_SIZE], align_corners=False)


def whitener(manifest: Path, fold: int, kind: str, device: torch.device) -> Whitener:
    """Return what makes network input of grey levels from 0 to 1."""
    if kind == "none":
        return lambda faces: 2 * faces - 1
    if kind == "standardize":
        return standardize
    mean, components, variance, about = files.read_whitening(files.whitening_path(manifest, fold))
    rest = (about["tail"] + about["epsilon"]) ** -0.5
    gain = torch.from_numpy(((variance + about["epsilon"]) ** -0.5 - rest).astype(np.float32)).to(device)
    centre, basis = torch.from_numpy(mean).to(device), torch.from_numpy(components).to(device)

    def zca(faces: Tensor) -> Tensor:
        centred = faces.flatten(1) - centre
        return torch.addmm(rest * centred, centred @ basis.T * gain, basis).view_as(faces)

    return zca


def standardize(faces: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Subtract each image's mean and divide by its spread, which is at least that of one odd pixel."""
    mean = faces.mean((1, 2, 3), keepdim=True)
    spread = faces.std((1, 2, 3), keepdim=True, correction=0)
    return (faces - mean) / spread.clamp_min(faces[0].numel() ** -0.5)
