"""A manifest to batches: crops come to the device as uint8, and are turned, cut and whitened there."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from manifests import files, schema
from manifests.schema import DEFAULT_CROP
from trainer.data.augment import jittered_grids, random_affine, variant_grids
from trainer.data.balanced import ClassIndex, PairIndex
from trainer.data.crop_cache import CropSource, memory_budget
from trainer.data.crops import (
    Crops,
    Joined,
    Pictures,
    as_many_pixels,
    average_faces,
    in_order,
    middle,
    stream,
    take,
    to_device,
)
from trainer.data.provenance import pairs_read, whitening_read
from trainer.methods.base import Faces, Method, Pairs
from trainer.runs.distributed import global_batches, local_share

CUT_AT_ONCE = 32  # faces of 112 px; of larger ones as many pixels

Whitener = Callable[[Tensor], Tensor]


class FoldData:
    """The faces of one fold's parts. The test part is read by `open_test` and by nothing else."""

    def __init__(
        self, manifest: Path, fold: int, device: torch.device, expressions: Collection[str] = (), plain: bool = False,
        color: bool = False, memory: float | None = None,
    ) -> None:  # fmt: skip
        """Read training and validation faces and the pairs: all, or those of some expressions.

        Args:
            plain: show levels from -1 to 1 at the manifest's size, in training turned and cut by chance, instead of
                whitened variants of 112 px.
            color: show them in colour, instead of grey.
            memory: GB that faces may take on the device, else they are streamed; null: half of what is free there.

        Raises:
            ManifestError: no such fold or expression, no colour, pairs or whitening that are not this manifest's, or
                faces that are to be streamed where no file can be written.
        """
        self.manifest, self.fold, self.device = manifest, fold, device
        self.table = files.read(manifest)
        self.rows = schema.parts(self.table, fold)
        known = {name for rows in self.rows.values() for name in self.table["expression"].take(rows).to_pylist()}
        if None in known:
            raise schema.ManifestError(f"{manifest}: no face has an expression: there is nothing to train it on")
        if not known.issuperset(expressions):
            unknown = ", ".join(sorted(set(expressions) - known))
            raise schema.ManifestError(f"{manifest}: no face shows {unknown}; it has {', '.join(sorted(known))}")
        self.expressions = sorted(expressions or known)
        files.check_pairs_source(manifest, self.table)
        self.metadata = files.read_metadata(manifest, [] if plain else ["whitening.kind"])
        if expressions:
            self._keep(expressions)
        self._refuse_empty()
        own = schema.crop_of(self.metadata)
        self.crop = replace(own if plain else own.least, color="rgb" if color else "grey")
        self._grids = variant_grids(self.crop).to(device)
        self._grids_of = partial(jittered_grids, self.crop) if plain else self._variant_grids
        self.plain, self._whitening = plain, "none" if plain else self.metadata["whitening"]["kind"]
        self.whiten = whitener(manifest, fold, self._whitening, device)
        self._store = CropSource(
            manifest, self.crop, device, sum(map(len, self.rows.values())), memory_budget(device, memory)
        )
        self._left = self._store.left
        self._crops = {name: self._store.crops(self.rows[name]) for name in ("train", "validation")}
        self._pool, self._pool_classes = self._crops["train"], self.classes("train").cpu()
        self._pool_person = self._people()

    @classmethod
    def seen_by(
        cls, kind: type[Method], settings: Mapping[str, Any], manifest: Path, fold: int, device: torch.device,
        expressions: Collection[str] = (), memory: float | None = None,
    ) -> "FoldData":  # fmt: skip
        """Read them as a method with these settings sees them."""
        return cls(manifest, fold, device, expressions, kind.INPUT == "plain", settings.get("color", False), memory)

    def _keep(self, expressions: Collection[str]) -> None:
        """Leave out the faces of all other expressions."""
        wanted = np.isin(self.table["expression"].to_pylist(), sorted(expressions))
        self.rows = {part: rows[wanted[rows]] for part, rows in self.rows.items()}

    def _refuse_empty(self) -> None:
        for name, rows in self.rows.items():
            if len(rows) == 0:
                raise schema.ManifestError(f"{self.manifest}: fold {self.fold} has no usable face in its {name} part")

    def open_test(self) -> None:
        """Read the test faces: to be done once, when nothing is left to choose."""
        self._crops["test"] = self._store.crops(self.rows["test"])

    def open(self, manifest: Path, rows: NDArray[np.int64]) -> Crops:
        """Return the crops of some rows of another manifest, as the method sees them, in the memory that is left."""
        store = CropSource(manifest, self.crop, self.device, len(rows), self._left)
        self._left = store.left
        return store.crops(rows)

    def add(self, crops: Crops, expressions: list[str]) -> None:
        """Let further faces be trained on. Averages and probes stay those of the fold's own training part."""
        classes = torch.tensor([self.expressions.index(name) for name in expressions])
        self._pool, self._pool_classes = Joined([self._pool, crops]), torch.cat([self._pool_classes, classes])
        if self._pool_person is not None:
            self._pool_person = torch.cat([self._pool_person, torch.full((len(crops),), -1)])

    def provenance(self) -> dict[str, Any]:
        """Return the hashes of all that is read, by name, and how the faces were prepared."""
        crop = {"crop": asdict(self.crop)} if self.crop != DEFAULT_CROP else {}
        about = files.read_metadata(self.manifest, schema.PREPARED)
        return {
            "read": pairs_read(self.manifest) | whitening_read(self.manifest, self.fold, self._whitening),
            "whitening": self._whitening,
            "protocol": about["summary"]["protocol"],
            "drawn": about["summary"]["drawn"],
            "prepared_by": about["commit"],
        } | crop  # fmt: skip

    def classes(self, part: str) -> Int[Tensor, " faces"]:
        """Return the class of each face of a part, as a place in `expressions`."""
        names = self.table["expression"].take(self.rows[part]).to_pylist()
        return torch.tensor([self.expressions.index(name) for name in names], device=self.device)

    def _people(self) -> Int[Tensor, " faces"] | None:
        """Return the index of each training face's person in their sorted names, -1 of nobody; None: none is named."""
        names = self.table["subject"].take(self.rows["train"]).to_pylist()
        index = {name: number for number, name in enumerate(sorted({name for name in names if name is not None}))}
        return torch.tensor([index.get(name, -1) for name in names]) if index else None

    def _people_at(self, places: list[Tensor]) -> Int[Tensor, "batch sides"] | None:
        if self._pool_person is None:
            return None
        return to_device(torch.stack([self._pool_person[side] for side in places], dim=1), self.device)

    def column(self, part: str, name: str) -> NDArray[Any]:
        """Return a column of the manifest for the faces of a part."""
        return np.array(self.table[name].take(self.rows[part]).to_pylist())

    def batches(
        self, reads: type[Faces] | type[Pairs], batch_size: int, epoch: int, seed: int, balanced: bool = False,
        first: int = 0, share: tuple[int, int] = (0, 1),
    ) -> Iterator[Any]:  # fmt: skip
        """Yield an epoch in an order, and with variants, that depend on epoch and seed only.

        Nothing is left out: an epoch is cut into as few batches of nearly equal size as hold at most `batch_size`; what
        comes before batch `first` is drawn and not made.
        Pairs of epoch e are those that the pairs file holds for epoch e; after the last one they begin again.
        Where `balanced`, an epoch is as long but is drawn anew, classes evenly, with replacement (see `balanced`).
        Of a `share` (rank, num_ranks), every batch is the rank-th equal part of the global batch (`global_batches`).
        """
        generator = torch.Generator().manual_seed(seed)
        sides = self._balanced_sides(reads, generator) if balanced else self._sides(reads, epoch)
        num = len(sides[0])
        order = torch.arange(num) if balanced else torch.randperm(num, generator=generator)
        batches = global_batches(order, batch_size, share[1])
        with closing(stream(self._pool, self._drawn(batches, sides, generator, first, share))) as gathered:
            for crops, (places, variants) in gathered:
                images = [
                    self._cut(side, drawn, self._grids_of)
                    for side, drawn in zip(crops.tensor_split(len(sides)), variants, strict=True)
                ]
                classes = to_device(self._pool_classes[places[0]], self.device)
                people = self._people_at(places)
                if reads is Faces:
                    yield Faces(images[0], classes, None if people is None else people[:, 0])
                else:
                    yield Pairs(images[0], images[1], classes, people)

    def _drawn(
        self, batches: Iterable[Tensor], sides: list[Tensor], generator: torch.Generator, first: int,
        share: tuple[int, int],
    ) -> Iterator[tuple[Tensor, tuple[list[Tensor], list[Tensor]]]]:  # fmt: skip
        """Yield a rank's share of each batch: indices of all sides, together, and with the variants by side."""
        rank, num_ranks = share
        for number, members in enumerate(batches):
            mine = local_share(torch.arange(len(members)), rank, num_ranks)
            variants = [self._draw(len(members), generator)[mine] for _ in sides]
            if number >= first:
                places = [side[members[mine]] for side in sides]
                yield torch.cat(places), (places, variants)

    def _sides(self, reads: type[Faces] | type[Pairs], epoch: int) -> list[Tensor]:
        """Return the indices among the training faces of every face, or of both sides of an epoch's pairs."""
        if reads is Faces:
            return [torch.arange(len(self._pool))]
        self._refuse_extra_faces()
        epochs = self._pairs["epoch"]
        rows = [self._pairs[name][epochs == epoch % (epochs.max() + 1)] for name in ("anchor", "partner")]
        return [torch.from_numpy(np.searchsorted(self.rows["train"], side)) for side in rows]

    def _balanced_sides(self, reads: type[Faces] | type[Pairs], generator: torch.Generator) -> list[Tensor]:
        """Draw the indices among the training faces of as many faces, or of both sides of as many pairs."""
        if reads is Faces:
            return [ClassIndex.of(self._pool_classes).draw(len(self._pool), generator)]
        self._refuse_extra_faces()
        return list(self._pair_index.draw(len(self._pair_index.anchors), generator))

    @cached_property
    def _pairs(self) -> dict[str, NDArray[Any]]:
        """The pairs of all epochs, but those of expressions that are left out."""
        pairs = files.read_pairs(self.manifest, self.fold, self.table)
        kept = np.isin(pairs["anchor"], self.rows["train"])
        return pairs if kept.all() else {name: column[kept] for name, column in pairs.items()}

    @cached_property
    def _pair_index(self) -> PairIndex:
        """Who may be paired with whom. It depends on the training part alone, and not on the order of names in it.

        It is of the people that the pairs file was drawn for, whose hash a run records.
        """
        files.check_pairs_people(self.manifest, self.table)
        people = schema.codes(schema.people(self.table.take(self.rows["train"])))
        index = PairIndex.of(self.classes("train").cpu(), torch.from_numpy(people).long())
        if not len(index.anchors):
            raise schema.ManifestError(
                f"{self.manifest}: in the training part of fold {self.fold} one person alone shows each expression, so "
                "no face has a partner; choose a method that is trained on single faces"
            )
        return index

    def _refuse_extra_faces(self) -> None:
        if len(self._pool) > len(self.rows["train"]):
            raise schema.ManifestError(
                f"pairs are drawn within {self.manifest}, so further faces have none; --extra is for methods that are "
                "trained on single faces"
            )

    def _draw(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw for each face, anew, the number of one of the 14 variants; for plain ones, one of `random_affine`."""
        if self.plain:
            return random_affine(self.crop, num, generator)
        return torch.randint(len(self._grids), (num,), generator=generator)

    def _variant_grids(self, numbers: Int[Tensor, " num"]) -> Float[Tensor, "num side side 2"]:
        return self._grids.index_select(0, numbers)

    def _cut(self, crops: Tensor, drawn: Tensor, grids: Callable[[Tensor], Tensor]) -> Tensor:
        """Return faces, (batch, channels, side, side), as grids of what was drawn cut them out of crops, whitened.

        On the CPU a few at once: what that takes is not given back to the system, to be cleared by it each time.
        """
        at_once = as_many_pixels(CUT_AT_ONCE, self.crop.stored) if self.device.type == "cpu" else max(1, len(crops))
        drawn = to_device(drawn, self.device)
        cut = [
            F.grid_sample(some.float().div_(255), grids(how), align_corners=False)
            for some, how in zip(torch.split(crops, at_once), torch.split(drawn, at_once), strict=True)
        ]
        return self.whiten(torch.cat(cut))

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
        for number in range(len(self._grids)):
            yield (
                self._cut(crops, torch.full((len(crops),), number), self._variant_grids)
                for crops in in_order(self._crops[part])
            )

    def shown(
        self, part: str, places: Int[Tensor, " batch"], variants: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch channels side side"]:
        """Return some faces of a part, by their place in it, whitened: as they are, or each in a variant by number."""
        crops = take(self._crops[part], places)
        if variants is None:
            return self.whiten(middle(crops).float().div_(255))
        return self._cut(crops, variants, self._variant_grids)

    def pictures(self, *parts: str) -> Pictures:
        """Return the faces of parts to look at."""
        return Pictures(Joined([self._crops[part] for part in parts]))


def upright(crops: Crops, whiten: Whitener) -> Iterator[Float[Tensor, "batch channels side side"]]:
    """Yield faces as they are, whitened, in the order of their crops."""
    for batch in in_order(crops):
        yield whiten(middle(batch).float().div_(255))


def shown_in(manifest: Path, expressions: Collection[str]) -> tuple[pa.Table, NDArray[np.int64]]:
    """Return the usable faces of some expressions, whatever their fold, and their rows."""
    table = files.read(manifest)
    usable = np.array(table["usable"].to_pylist()) & np.isin(table["expression"].to_pylist(), sorted(expressions))
    rows = np.flatnonzero(usable)
    return table.take(rows), rows


def whitener(manifest: Path, fold: int, kind: str, device: torch.device) -> Whitener:
    """Return what makes network input of grey levels from 0 to 1."""
    if kind == "none":
        return lambda faces: 2 * faces - 1
    if kind == "standardize":
        return standardize
    mean, components, variance, about = files.read_whitening(manifest, fold, files.read(manifest))
    rest = (about["tail"] + about["epsilon"]) ** -0.5
    gain = torch.from_numpy(((variance + about["epsilon"]) ** -0.5 - rest).astype(np.float32)).to(device)
    centre, basis = torch.from_numpy(mean).to(device), torch.from_numpy(components).to(device)

    def zca(faces: Tensor) -> Tensor:
        centred = faces.flatten(1) - centre
        return torch.addmm(rest * centred, centred @ basis.T * gain, basis).view_as(faces)

    return zca


def standardize(faces: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Subtract each image's mean and divide by its spread, which is at least that of one odd pixel."""
    centred = faces - faces.mean((1, 2, 3), keepdim=True)
    spread = centred.square().mean((1, 2, 3), keepdim=True).sqrt()  # on the CPU in a tenth of the time of std
    return centred / spread.clamp_min(faces[0].numel() ** -0.5)
