"""A manifest to batches: crops stay uint8 on the device, and are turned, cut and whitened there."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, replace
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
from manifests.schema import DEFAULT_CROP, Crop
from trainer.grids import jittered_grids, variant_grids
from trainer.method import Faces, Method, Pairs

EVALUATION_BATCH = 256  # faces of 112 px; of larger ones as many pixels
MAX_SHARES = 2**24 - 1  # that torch.multinomial draws from

Whitener = Callable[[Tensor], Tensor]


class FoldData:
    """The faces of one fold's parts. The test part is read by `open_test` and by nothing else."""

    def __init__(
        self, manifest: Path, fold: int, device: torch.device, expressions: Collection[str] = (), plain: bool = False,
        color: bool = False,
    ) -> None:  # fmt: skip
        """Read training and validation faces and the pairs: all, or those of some expressions.

        Args:
            plain: show levels from -1 to 1 at the manifest's size, in training turned and cut by chance, instead of
                whitened variants of 112 px.
            color: show them in colour, instead of grey.

        Raises:
            ManifestError: no such fold or expression, no colour, or pairs or whitening that are not this manifest's.
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
        own = schema.crop_of(self.metadata)
        self.crop = replace(own if plain else own.least, color="rgb" if color else "grey")
        self._grids = variant_grids(self.crop).to(device)
        self.plain, self._whitening = plain, "none" if plain else self.metadata["whitening"]["kind"]
        self.whiten = whitener(manifest, fold, self._whitening, device)
        self._crops = {name: self._read(name) for name in ("train", "validation")}
        self._pool, self._pool_classes = self._crops["train"], self.classes("train")

    @classmethod
    def seen_by(
        cls, kind: type[Method], settings: Mapping[str, Any], manifest: Path, fold: int, device: torch.device,
        expressions: Collection[str] = (),
    ) -> "FoldData":  # fmt: skip
        """Read them as a method with these settings sees them."""
        return cls(manifest, fold, device, expressions, kind.PLAIN, settings.get("color", False))

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

    def _read(self, part: str) -> UInt8[Tensor, "faces channels side side"]:
        return read_faces(self.manifest, self.rows[part], self.crop, self.device)

    def open_test(self) -> None:
        """Read the test faces: to be done once, when nothing is left to choose."""
        self._crops["test"] = self._read("test")

    def add(self, crops: UInt8[Tensor, "faces channels side side"], expressions: list[str]) -> None:
        """Let further faces be trained on. Averages and probes stay those of the fold's own training part."""
        classes = torch.tensor([self.expressions.index(name) for name in expressions], device=self.device)
        self._pool, self._pool_classes = torch.cat([self._pool, crops]), torch.cat([self._pool_classes, classes])

    def provenance(self) -> dict[str, Any]:
        """Return what the faces are, by hash, and how they were prepared."""
        whitening = files.whitening_path(self.manifest, self.fold)
        fitted = not self.plain and whitening.exists()
        crop = {"crop": asdict(self.crop)} if self.crop != DEFAULT_CROP else {}
        return {
            "manifest_sha256": files.file_sha256(self.manifest),
            "pairs_sha256": files.file_sha256(files.pairs_path(self.manifest)),
            "whitening": self._whitening,
            "whitening_sha256": files.file_sha256(whitening) if fitted else None,
            "protocol": self.metadata["summary"]["protocol"],
            "drawn": self.metadata["summary"]["drawn"],
            "prepared_by": self.metadata["commit"],
        } | crop  # fmt: skip

    def classes(self, part: str) -> Int[Tensor, " faces"]:
        """Return the class of each face of a part, as a place in `expressions`."""
        names = self.table["expression"].take(self.rows[part]).to_pylist()
        return torch.tensor([self.expressions.index(name) for name in names], device=self.device)

    def column(self, part: str, name: str) -> NDArray[Any]:
        """Return a column of the manifest for the faces of a part."""
        return np.array(self.table[name].take(self.rows[part]).to_pylist())

    def batches(
        self, reads: type[Faces] | type[Pairs], batch_size: int, epoch: int, seed: int, balanced: bool = False,
        first: int = 0,
    ) -> Iterator[Any]:  # fmt: skip
        """Yield an epoch in an order, and with variants, that depend on epoch and seed only.

        Nothing is left out: an epoch is cut into as few batches of nearly equal size as hold at most `batch_size`; what
        comes before batch `first` is drawn and not made.
        Pairs of epoch e are those drawn for epoch e; after the last one drawn they begin again. Where `balanced`, an
        epoch is as long but draws classes evenly, with replacement, and a repeated anchor meets other partners.
        """
        generator = torch.Generator().manual_seed(seed)
        sides = self._sides(reads, epoch)
        order = torch.randperm(len(sides[0]), generator=generator)
        if balanced:
            sides = self._sides(reads, None)
            classes = self._pool_classes.cpu()[sides[0]]
            shares = 1 / torch.bincount(classes)[classes].double()
            order = torch.multinomial(shares, len(order), replacement=True, generator=generator)
        for number, members in enumerate(order.tensor_split(math.ceil(len(order) / batch_size))):
            grids = [self._drawn_grids(len(members), generator) for _ in sides]
            if number < first:
                continue
            rows = [side[members].to(self.device) for side in sides]
            images = [self._cut(self._pool[side], grid) for side, grid in zip(rows, grids, strict=True)]
            classes = self._pool_classes[rows[0]]
            yield Faces(images[0], classes) if reads is Faces else Pairs(images[0], images[1], classes)

    def _sides(self, reads: type[Faces] | type[Pairs], epoch: int | None) -> list[Tensor]:
        """Return the places among the training faces of every face, or of both sides of an epoch's (or all) pairs.

        Of more pairs than a draw can hold (those of all epochs of AffectNet), those of the first epochs are all.
        """
        if reads is Faces:
            return [torch.arange(len(self._pool))]
        if len(self._pool) > len(self.rows["train"]):
            raise schema.ManifestError(
                f"pairs are drawn within {self.manifest}, so further faces have none; --extra is for methods that are "
                "trained on single faces"
            )
        drawn = self._pairs["epoch"]
        mine = slice(MAX_SHARES) if epoch is None else drawn == epoch % (drawn.max() + 1)
        rows = [self._pairs[name][mine] for name in ("anchor", "partner")]
        return [torch.from_numpy(np.searchsorted(self.rows["train"], side)) for side in rows]

    def _drawn_grids(self, num: int, generator: torch.Generator) -> Float[Tensor, "num side side 2"]:
        """Draw one of the 14 variants for each face, anew; for plain ones, one of `jittered_grids`."""
        if self.plain:
            return jittered_grids(self.crop, num, generator).to(self.device)
        return self._grids[torch.randint(len(self._grids), (num,), generator=generator).to(self.device)]

    def _cut(self, crops: Tensor, grids: Tensor) -> Float[Tensor, "batch channels side side"]:
        """Return faces as grids cut them out of their crops, whitened."""
        return self.whiten(F.grid_sample(crops.float() / 255, grids, align_corners=False))

    def averages(self) -> Float[Tensor, "expressions channels side side"]:
        """Return the average face of each expression, of the fold's own training part, as the method sees faces.

        Raises:
            ManifestError: the training part does not show one of the expressions.

        Source:
            IF-GAN section 3.1: "average" images, of the training set. That they are symmetric is ours.
        """
        shown = self.classes("train")
        missing = [name for place, name in enumerate(self.expressions) if not (shown == place).any()]
        if missing:
            raise schema.ManifestError(
                f"{self.manifest}: no training face of fold {self.fold} shows {', '.join(missing)}: it has no average "
                "face; choose another fold, or leave it out with --expressions"
            )
        return self.whiten(average_faces(self._crops["train"], shown, len(self.expressions)))

    def upright(self, part: str) -> Iterator[Float[Tensor, "batch channels side side"]]:
        """Yield the faces of a part as they are, whitened, in row order."""
        return upright(self._crops[part], self.whiten)

    def variants(self, part: str) -> Iterator[Iterator[Float[Tensor, "batch channels side side"]]]:
        """Yield the faces of a part in each of the 14 variants, whitened, in row order."""
        for grid in self._grids:
            yield (self._cut(crops, grid.expand(len(crops), -1, -1, -1)) for crops in _batches(self._crops[part]))

    def pictures(self, part: str) -> NDArray[np.uint8]:
        """Return the faces of a part to look at: (faces, side, side), in colour (faces, side, side, 3)."""
        pictures = _faces(self._crops[part]).movedim(1, -1)
        return (pictures if self.crop.color == "rgb" else pictures.squeeze(-1)).cpu().numpy()


def average_faces(
    crops: UInt8[Tensor, "faces channels stored stored"], classes: Int[Tensor, " faces"], num_classes: int
) -> Float[Tensor, "classes channels side side"]:
    """Return the mean of the faces of each class and their mirror images, 0 to 1; of a class without a face, NaN.

    Sums are whole numbers, so that it is the same on every device, to the bit.
    """
    faces, means = _faces(crops), []
    for place in range(num_classes):
        mine = faces[classes == place]
        total = mine.sum(0, dtype=torch.int64)
        means.append((total + total.flip(2)).double() / (2 * 255 * len(mine)))
    return torch.stack(means).float()


def upright(
    crops: UInt8[Tensor, "faces channels stored stored"], whiten: Whitener
) -> Iterator[Float[Tensor, "batch channels side side"]]:
    """Yield faces as they are, whitened, in the order of their crops."""
    for batch in _batches(crops):
        yield whiten(_faces(batch).float() / 255)


def _faces(crops: Tensor) -> Tensor:
    """Return the faces in the middle of stored crops, 7/9 of their side."""
    margin = crops.shape[-1] // 9
    return crops[:, :, margin:-margin, margin:-margin]


def _batches(crops: Tensor) -> tuple[Tensor, ...]:
    """Cut crops into batches of about the same number of pixels."""
    return torch.split(crops, EVALUATION_BATCH * DEFAULT_CROP.stored**2 // crops.shape[-1] ** 2)


def read_faces(
    manifest: Path, rows: NDArray[np.int64], crop: Crop, device: torch.device
) -> UInt8[Tensor, "faces channels side side"]:
    """Return the crops of some rows, channels first."""
    crops = torch.from_numpy(files.read_images(manifest, rows, crop)).to(device)
    return crops.unsqueeze(1) if crop.color == "grey" else crops.movedim(-1, 1)


def read_all(
    manifest: Path, expressions: Collection[str], crop: Crop, device: torch.device
) -> tuple[pa.Table, UInt8[Tensor, "faces channels side side"]]:
    """Return the rows and the crops of every usable face of some expressions, whatever its fold."""
    table = files.read(manifest)
    usable = np.array(table["usable"].to_pylist()) & np.isin(table["expression"].to_pylist(), sorted(expressions))
    rows = np.flatnonzero(usable)
    return table.take(rows), read_faces(manifest, rows, crop, device)


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
