"""Selected images to rows of the manifest: read, decode, detect, align."""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fertools.datasets.base import Dataset, Sample
from fertools.datasets.protocols import Selected
from fertools.errors import FertoolsError
from fertools.faces import align, detector, images
from manifests import files, schema
from manifests.text import storable

NO_FACE = "no face found"


class RowError(FertoolsError):
    """An image that gives no face; the message is the reason."""


@cache
def _detector(device: str) -> detector.Detector:
    return detector.Detector(device)


@dataclass
class _Opened:
    """An image on its way to a row; one without pixels has a reason in its row."""

    sample: Sample
    row: dict[str, Any]
    image: NDArray[np.uint8] | None = None
    face: detector.Face | None = None


def face_rows(
    dataset: Dataset, raw: Path, items: Iterable[Selected], device: str | None, crop: schema.Crop
) -> Iterator[dict[str, Any]]:
    """Yield the rows of some images: one that gives no face is a row with a reason, never a hole.

    Memory: 50 million pixels of images at a time, or one image.

    Args:
        dataset: of the images.
        raw: the raw folder.
        items: the images.
        device: where their faces are detected; null: their published landmarks are taken.
        crop: how faces are to be cut out.
    """
    opened = (_open(dataset, raw, item) for item in items)
    for batch in _batches(opened):
        readable = [one for one in batch if one.image is not None]
        if device is not None:
            _detect(readable, _detector(device))
        for one in readable:
            if device is None:
                _take_published(dataset, raw, one)
            _finish(one, crop, scored=device is not None)
            one.image = None
        yield from (one.row for one in batch)


def lost_row(dataset: Dataset, item: Selected) -> dict[str, Any]:
    """Return the row of an image that ended the process which read it, again and again."""
    return _empty_row(dataset, item) | {"reason": "ends the process that reads it (out of memory, or a decoder's bug)"}


def _empty_row(dataset: Dataset, item: Selected) -> dict[str, Any]:
    sample, prefix = item.sample, dataset.name
    return dict.fromkeys(schema.FACES.names) | {
        "face_id": f"{prefix}/{_name(sample)}", "dataset": prefix, "source": storable(sample.path),
        "label": sample.label, "expression": item.expression, "role": item.role,
        "subject": sample.subject and storable(f"{prefix}/{sample.subject}"),
        "sequence": sample.sequence and storable(f"{prefix}/{sample.sequence}"),
        "frame": sample.frame, "split": sample.split, "usable": False,
    }  # fmt: skip


def _open(dataset: Dataset, raw: Path, item: Selected) -> _Opened:
    """Read, hash and decode an image."""
    one = _Opened(item.sample, _empty_row(dataset, item))
    try:
        data = read(dataset, raw, item.sample)
        one.row["source_sha256"] = hashlib.sha256(data).hexdigest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, which name no file; what it cannot read raises
            one.image = images.decode(data)
    except (FertoolsError, OSError) as error:
        one.row["reason"] = str(error)
    return one


def _batches(opened: Iterable[_Opened]) -> Iterator[list[_Opened]]:
    """Gather images until they have as many pixels as one image may have."""
    batch, num_pixels = [], 0
    for one in opened:
        batch.append(one)
        if one.image is not None:
            num_pixels += one.image.size // 3 * len(one.sample.turns)
        if num_pixels >= images.MAX_PIXELS:
            yield batch
            batch, num_pixels = [], 0
    yield batch


def _detect(opened: Sequence[_Opened], detect: detector.Detector) -> None:
    """Find the face that is meant in each image, in the turn in which the detector is surest of it."""
    for only_largest in (True, False):  # where a box is published, a smaller face may be meant
        turned = [
            (one, turn, one.image, detector.upright(one.image, turn) if turn else one.image)
            for one in opened
            for turn in one.sample.turns
            if one.image is not None and (one.sample.box is None) == only_largest
        ]
        found = detect.batch([picture for *_, picture in turned], only_largest=only_largest)
        for (one, turn, image, picture), faces in zip(turned, found, strict=True):
            meant = _meant(faces, picture.shape, one.sample) if faces else None
            face = detector.as_stored(meant, turn, image.shape) if meant else None
            if face and (one.face is None or face.score > one.face.score):
                one.face = face
    for one in opened:
        if one.face is None:
            one.row["reason"] = NO_FACE + " where one is published" * (one.sample.box is not None)


def _meant(faces: list[detector.Face], shape: tuple[int, ...], sample: Sample) -> detector.Face | None:
    return detector.most_frontal(faces) if sample.profile_beside else detector.choose(faces, shape, sample.box)


def _take_published(dataset: Dataset, raw: Path, one: _Opened) -> None:
    """Take the face that the authors marked."""
    try:
        marks = dataset.landmarks(raw, one.sample)
    except FertoolsError as error:
        one.row["reason"] = str(error)
        return
    if marks is None:
        one.row["reason"] = "no published landmarks"
    else:
        box = np.array(one.sample.box or (), np.float32)
        one.face = detector.Face(box, np.array(marks, np.float32).reshape(5, 2), 1.0)


def _finish(one: _Opened, crop: schema.Crop, *, scored: bool) -> None:
    """Cut the face out, where there is one, and fill in its row."""
    if one.image is None or one.face is None:
        return
    face, name = one.face, _name(one.sample)
    try:
        matrix = align.crop_matrix(face.landmarks, crop)
    except align.AlignmentError as error:
        one.row["reason"] = str(error)
        return
    seen = one.image if crop.color == "rgb" else np.asarray(cv2.cvtColor(one.image, cv2.COLOR_RGB2GRAY), np.uint8)
    stored = files.encode_image(align.crop(seen, matrix, crop), crop)
    one.row |= {
        "usable": True, "score": face.score if scored else None,
        "box": face.box.tolist() if len(face.box) else None, "landmarks": face.landmarks.ravel().tolist(),
        "matrix": matrix.ravel().tolist(), "image": {"bytes": stored, "path": name + crop.suffix},
    }  # fmt: skip


def _name(sample: Sample) -> str:
    """Return what tells an image, or one of its faces, from all others of its dataset."""
    if sample.sequence:
        return storable(f"{sample.sequence}/{sample.frame:08d}")
    name = storable(sample.path)
    name += f"@{sample.place}" if sample.place is not None else ""
    return name + (f"#{sample.face}" if sample.face is not None else "")


def read(dataset: Dataset, raw: Path, sample: Sample) -> bytes:
    """Return the bytes of an image: of its file, or of its place in one.

    Raises:
        FertoolsError: it cannot be read.
        OSError: likewise.
    """
    if sample.place is None:
        return images.read_bytes(raw, sample.path)
    if dataset.read is None:
        raise RowError(f"{dataset.title} has no images inside of files")
    return dataset.read(raw, sample)
