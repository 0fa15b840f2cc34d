"""One selected image to one row of the manifest: read, decode, detect, align."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fertools import align, detect, images
from fertools.dataset import Dataset, Sample
from fertools.errors import FertoolsError
from fertools.protocol import Selected
from manifests import files, schema


class RowError(FertoolsError):
    """An image that gives no face; the message is the reason."""


@cache
def _detector(device: str) -> detect.Detector:
    return detect.Detector(device)


def face_row(dataset: Dataset, raw: Path, item: Selected, device: str | None) -> dict[str, Any]:
    """Return one row of the manifest: an image that gives no face is a row with a reason, never a hole.

    Args:
        dataset: of the image.
        raw: the raw folder.
        item: the image.
        device: where its face is detected; null: its published landmarks are taken.
    """
    sample, prefix = item.sample, dataset.name
    name = _name(sample)
    known: dict[str, Any] = dict.fromkeys(schema.FACES.names) | {
        "face_id": f"{prefix}/{name}", "dataset": prefix, "source": sample.path.as_posix(),
        "label": sample.label, "expression": item.expression, "role": item.role,
        "subject": sample.subject and f"{prefix}/{sample.subject}",
        "sequence": sample.sequence and f"{prefix}/{sample.sequence}",
        "frame": sample.frame, "split": sample.split, "usable": False,
    }  # fmt: skip
    try:
        data = images.read_bytes(raw, sample.path) if sample.place is None else _read(dataset, raw, sample)
        known["source_sha256"] = hashlib.sha256(data).hexdigest()
        image = images.decode(data)
        face = _published(dataset, raw, sample) if device is None else _detected(image, sample, _detector(device))
        matrix = align.crop_matrix(face.landmarks)
    except (FertoolsError, OSError) as error:
        return known | {"reason": str(error)}
    pixels = align.crop(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8), matrix)
    return known | {
        "usable": True, "score": None if device is None else face.score,
        "box": face.box.tolist() if len(face.box) else None, "landmarks": face.landmarks.ravel().tolist(),
        "matrix": matrix.ravel().tolist(), "image": {"bytes": files.encode_image(pixels), "path": f"{name}.pgm"},
    }  # fmt: skip


def _name(sample: Sample) -> str:
    """Return what tells an image, or one of its faces, from all others of its dataset."""
    if sample.sequence:
        return f"{sample.sequence}/{sample.frame:08d}"
    name = sample.path.as_posix()
    name += f"@{sample.place}" if sample.place is not None else ""
    return name + (f"#{sample.face}" if sample.face is not None else "")


def _read(dataset: Dataset, raw: Path, sample: Sample) -> bytes:
    if dataset.read is None:
        raise RowError(f"{dataset.title} has no images inside of files")
    return dataset.read(raw, sample)


def _published(dataset: Dataset, raw: Path, sample: Sample) -> detect.Face:
    """Return the face that the authors marked."""
    if (marks := dataset.landmarks(raw, sample)) is None:
        raise RowError("no published landmarks")
    return detect.Face(np.array(sample.box or (), np.float32), np.array(marks, np.float32).reshape(5, 2), 1.0)


def _detected(image: NDArray[np.uint8], sample: Sample, detector: detect.Detector) -> detect.Face:
    """Return the face that is meant, in the turn of the image in which the detector is surest of it."""
    found = []
    for turn in sample.turns:
        turned = detect.upright(image, turn) if turn else image
        if faces := detector(turned):
            face = (
                detect.most_frontal(faces) if sample.profile_beside else detect.choose(faces, turned.shape, sample.box)
            )
            found += [detect.as_stored(face, turn, image.shape)] if face else []
    if not found:
        raise RowError("no face found" + " where one is published" * (sample.box is not None))
    return max(found, key=lambda face: face.score)
