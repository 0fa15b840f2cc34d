"""A manifest to faces by who they show: those to learn, and those of other people to be judged on."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from manifests import files
from trainer.data.crop_cache import by_row_group
from trainer.data.fold_data import Whitener
from trainer.data.provenance import faces_read
from trainer.errors import TrainerError
from trainer.runs.distributed import rank, world_size

FEWEST = 4  # people on either side


class IdentityBatch(NamedTuple):
    """A batch of faces, and who they show."""

    image: Float[Tensor, "batch 1 112 112"]
    person: Int[Tensor, " batch"]


@dataclass(frozen=True)
class IdentityData:
    """The faces of a manifest by who they show; one person in so many is held out, by place in their sorted names."""

    faces: UInt8[Tensor, "faces 112 112"]
    person: Int[Tensor, " faces"]
    num_people: int
    held_out: UInt8[Tensor, "others 112 112"]
    held_out_names: NDArray[Any]
    about: dict[str, Any]

    def batches(
        self, batch_size: int, whiten: Whitener, seed: int, first: int, device: torch.device
    ) -> Iterator[IdentityBatch]:
        """Yield an epoch, each face once, mirrored or not; a process takes its share of each batch.

        All processes take as many: of a batch that they cannot share evenly, some faces are left out.
        """
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.faces), generator=generator)
        mirrored = torch.rand(len(self.faces), generator=generator) < 0.5
        for members in order.tensor_split(math.ceil(len(order) / batch_size))[first:]:
            mine = members[rank() : len(members) // world_size() * world_size() : world_size()]
            images = self.faces[mine].to(device)[:, None].float() / 255
            flips = mirrored[mine].to(device)[:, None, None, None]
            yield IdentityBatch(whiten(torch.where(flips, images.flip(3), images)), self.person[mine].to(device))


def read_people(manifest: Path, one_in: int) -> IdentityData:
    """Return the usable faces of people who are named.

    Raises:
        TrainerError: too few people are named, or shown twice.
    """
    table, metadata = files.read(manifest), files.read_metadata(manifest)
    subjects = np.array(table["subject"].to_pylist(), object)
    usable = np.array(table["usable"].to_pylist())
    named = np.array([subject is not None for subject in subjects])
    rows = np.flatnonzero(usable & named)
    names, person = np.unique(subjects[rows].astype(str), return_inverse=True)
    apart = np.arange(len(names)) % one_in == one_in - 1
    twice = int((np.bincount(person[apart[person]]) > 1).sum()) if len(rows) else 0
    if min(apart.sum(), (~apart).sum(), twice) < FEWEST:
        raise TrainerError(
            f"{manifest}: {len(names)} people are named, {apart.sum()} of them held out, {twice} of these on two faces "
            f"or more; expected {FEWEST} at least on either side"
        )
    number = np.cumsum(~apart) - 1  # of those who are learnt
    learnt = ~apart[person]
    about = {
        "read": faces_read(manifest, ("face_id", "usable", "subject")), "protocol": metadata["summary"]["protocol"],
        "align": files.read_crop(manifest).align, "drawn": metadata["summary"]["drawn"],
        "prepared_by": metadata["commit"],
        "title": metadata.get("title", manifest.stem), "licence": metadata.get("licence", "not known"),
        "people": int((~apart).sum()), "faces": int(learnt.sum()),
        "held_out_people": int(apart.sum()), "held_out_faces": int((~learnt).sum()),
        "left_out": {"not usable": int((~usable).sum()), "nobody named": int((usable & ~named).sum())},
    }  # fmt: skip
    return IdentityData(
        _faces(manifest, rows[learnt]), torch.from_numpy(number[person[learnt]]), int((~apart).sum()),
        _faces(manifest, rows[~learnt]), names[person[~learnt]], about,
    )  # fmt: skip


def _faces(manifest: Path, rows: NDArray[np.int64]) -> UInt8[Tensor, "faces 112 112"]:
    crop = files.read_crop(manifest).least
    inside = slice(crop.margin, crop.margin + crop.face)
    faces, first = np.empty((len(rows), crop.face, crop.face), np.uint8), 0
    for some in by_row_group(rows):
        faces[first : first + len(some)] = files.read_images(manifest, some, crop)[:, inside, inside]
        first += len(some)
    return torch.from_numpy(faces)
