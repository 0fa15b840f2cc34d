"""Further datasets for training: faces that join it, less what is held out, and average faces.

Near copies are found by `fertools`, by the rule that its audits go by.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from manifests import files, schema
from trainer.data.crop_cache import by_row_group
from trainer.data.crops import Crops, Joined, average_faces
from trainer.data.fold_data import FoldData, shown_in
from trainer.data.provenance import faces_read

SAME_PHOTOGRAPHS = ({"ckplus", "ckplus48", "ckextended"}, {"fer2013", "ferplus"})


@dataclass(frozen=True)
class Extra:
    """Faces of another dataset that may be trained on.

    Attributes:
        crops: as the method sees them, with their margin.
        expressions: of each.
        about: its manifest's hash, how many faces were taken, and how many left out, why.
    """

    crops: Crops
    expressions: list[str]
    about: dict[str, Any]


def find_extra(manifest: Path, data: FoldData) -> Extra:
    """Return the faces of another dataset that may join the training part of a fold.

    Left out are photographs and people of the fold's validation and test parts. A near copy of such a photograph is
    that photograph, and whoever is on it is a person held out, under whatever name; of people without a name, only
    their photographs can be known. The test faces are read for that, and for nothing else.

    Raises:
        ManifestError: it has no face to add, or shows the same photographs as what is trained on.
    """
    name, dataset = manifest.stem, data.manifest.stem
    if any({name, dataset} <= same for same in ({dataset}, *SAME_PHOTOGRAPHS)):
        raise schema.ManifestError(f"{name} shows the same photographs as {dataset}: leave it out of --extra")
    faces, shown_rows = shown_in(manifest, data.expressions)
    if len(faces) == 0:
        raise schema.ManifestError(
            f"{manifest} has no usable face that shows {', '.join(data.expressions)}: leave it out of --extra"
        )
    judged = np.sort(np.concatenate([data.rows["validation"], data.rows["test"]]))
    held_out = data.table.take(judged)
    hashes = {*held_out["source_sha256"].to_pylist()} - {None}
    shown = np.array([digest in hashes for digest in faces["source_sha256"].to_pylist()])
    near = _near_copies(*(_thumbnails(*those) for those in ((manifest, shown_rows), (data.manifest, judged))))
    subjects = np.array(faces["subject"].to_pylist(), object)
    people = {*held_out["subject"].to_pylist(), *subjects[shown | near]} - {None}
    known = np.array([subject in people for subject in subjects])
    kept = np.flatnonzero(~(shown | near | known))
    if len(kept) == 0:
        raise schema.ManifestError(f"{manifest} shows nobody who is not held out: leave it out of --extra")
    about = {
        "read": faces_read(manifest, ("face_id", "usable", "expression", "subject", "source_sha256")),
        "faces": len(kept),
        "left out": {"photographs held out": int(shown.sum()), "near copies of these": int((near & ~shown).sum()),
                     "further faces of people held out": int((known & ~shown & ~near).sum())},
    }  # fmt: skip
    return Extra(data.open(manifest, shown_rows[kept]), faces["expression"].take(kept).to_pylist(), about)


def _thumbnails(manifest: Path, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return ascending rows' faces, small, as any manifest has them."""
    from fertools.faces import near_copies

    crop = files.read_crop(manifest).least
    return np.concatenate(
        [near_copies.thumbnails(files.read_images(manifest, some, crop)) for some in by_row_group(rows)]
    )


def _near_copies(faces: NDArray[np.uint8], held_out: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which faces are near copies of one that is held out."""
    from fertools.faces import near_copies

    recordings = np.repeat([0, 1], [len(faces), len(held_out)])  # within a recording, none are sought
    found = near_copies.near_copies(np.concatenate([faces, held_out]), recordings)
    near = np.zeros(len(faces), bool)
    near[found.left] = True
    return near


def averages_of(manifests: Sequence[Path], data: FoldData) -> Float[Tensor, "expressions channels side side"]:
    """Return the average face of each expression over the training parts of other datasets' first folds.

    Raises:
        ManifestError: none of them shows one of the expressions.

    Source:
        IF-GAN section 4.3: RAF-DB's average faces are of BU-3DFE, CK+ and MMI, neutral of their neutral images.
    """
    crops, names = [], []
    for manifest in manifests:
        table = files.read(manifest)
        rows = schema.parts(table, 1)["train"]
        crops.append(data.open(manifest, rows))
        names += table["expression"].take(rows).to_pylist()
    if missing := sorted(set(data.expressions) - set(names)):
        hint = "; a protocol *_neutral has neutral faces, see: fertools protocols" if missing == ["neutral"] else ""
        raise schema.ManifestError(
            f"no training face of {', '.join(path.stem for path in manifests)} shows {', '.join(missing)}: it has no "
            f"average face{hint}"
        )
    classes = torch.tensor([data.expressions.index(name) if name in data.expressions else -1 for name in names])
    return data.whiten(average_faces(Joined(crops), classes.to(data.device), len(data.expressions)))


def sha256(averages: Tensor) -> str:
    """Return the hash of average faces."""
    return hashlib.sha256(averages.cpu().numpy().tobytes()).hexdigest()
