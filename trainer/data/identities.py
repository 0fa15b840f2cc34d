"""A manifest to faces with identities: people to train on, and other people held out for evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from manifests import files, schema
from trainer.data.crop_cache import by_row_group
from trainer.data.fold_data import Whitener
from trainer.data.provenance import faces_read
from trainer.errors import TrainerError
from trainer.runs.distributed import global_batches, local_share, rank, world_size

MIN_PEOPLE = 4  # trained on, and held out


class IdentityBatch(NamedTuple):
    """A batch of faces, and the index of the person that each shows."""

    image: Float[Tensor, "batch 1 112 112"]
    person: Int[Tensor, " batch"]


@dataclass(frozen=True)
class IdentityData:
    """The faces of a manifest with their identities; every n-th person by sorted name is held out."""

    faces: UInt8[Tensor, "faces 112 112"]
    person: Int[Tensor, " faces"]
    num_people: int
    held_out: UInt8[Tensor, "others 112 112"]
    held_out_names: NDArray[Any]
    provenance: dict[str, Any]

    def batches(
        self, batch_size: int, whiten: Whitener, seed: int, first: int, device: torch.device
    ) -> Iterator[IdentityBatch]:
        """Yield an epoch from batch `first` on, each face once, mirrored at random: this rank's share."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.faces), generator=generator)
        mirrored = torch.rand(len(self.faces), generator=generator) < 0.5
        for batch in global_batches(order, batch_size, world_size())[first:]:
            local = local_share(batch, rank(), world_size())
            images = self.faces[local].to(device)[:, None].float() / 255
            flips = mirrored[local].to(device)[:, None, None, None]
            yield IdentityBatch(whiten(torch.where(flips, images.flip(3), images)), self.person[local].to(device))


def read_people(manifest: Path, one_in: int) -> IdentityData:
    """Return the usable faces of people who are named.

    Raises:
        TrainerError: too few people are named, or have two faces.
    """
    table, metadata = files.read(manifest), files.read_metadata(manifest, schema.PREPARED)
    subjects = np.array(table["subject"].to_pylist(), object)
    usable = np.array(table["usable"].to_pylist())
    named = np.array([subject is not None for subject in subjects])
    rows = np.flatnonzero(usable & named)
    names, person = np.unique(subjects[rows].astype(str), return_inverse=True)
    held_out = np.arange(len(names)) % one_in == one_in - 1
    paired = int((np.bincount(person[held_out[person]]) > 1).sum()) if len(rows) else 0
    if min(held_out.sum(), (~held_out).sum(), paired) < MIN_PEOPLE:
        raise TrainerError(
            f"{manifest}: {len(names)} people are named, {held_out.sum()} of them held out, {paired} of these on two "
            f"faces or more; expected at least {MIN_PEOPLE} to train on, and {MIN_PEOPLE} held out with two faces"
        )
    index = np.cumsum(~held_out) - 1  # among the people to train on
    trained = ~held_out[person]
    provenance = {
        "read": faces_read(manifest, ("face_id", "usable", "subject")), "protocol": metadata["summary"]["protocol"],
        "align": files.read_crop(manifest).align, "drawn": metadata["summary"]["drawn"],
        "prepared_by": metadata["commit"],
        "title": metadata.get("title", manifest.stem), "licence": metadata.get("licence", "not known"),
        "people": int((~held_out).sum()), "faces": int(trained.sum()),
        "held_out_people": int(held_out.sum()), "held_out_faces": int((~trained).sum()),
        "left_out": {"not usable": int((~usable).sum()), "nobody named": int((usable & ~named).sum())},
    }  # fmt: skip
    return IdentityData(
        _faces(manifest, rows[trained]), torch.from_numpy(index[person[trained]]), int((~held_out).sum()),
        _faces(manifest, rows[~trained]), names[person[~trained]], provenance,
    )  # fmt: skip


def _faces(manifest: Path, rows: NDArray[np.int64]) -> UInt8[Tensor, "faces 112 112"]:
    crop = files.read_crop(manifest).least
    inside = slice(crop.margin, crop.margin + crop.face)
    faces, first = np.empty((len(rows), crop.face, crop.face), np.uint8), 0
    for group in by_row_group(rows):
        faces[first : first + len(group)] = files.read_images(manifest, group, crop)[:, inside, inside]
        first += len(group)
    return torch.from_numpy(faces)
