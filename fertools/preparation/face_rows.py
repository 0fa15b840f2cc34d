"""Selected images to rows of the manifest: read, decode, detect, align."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from manifests import schema
from manifests.text import storable

NO_FACE = "no face found"
RETRY_SCORE = 0.97  # of a face that a retry finds; between MIN_SCORE and this, 4 of 704 pictures without one gave some
MIN_LEVELS = 32  # of grey in a crop, of 256: a face of fewer is banded, or nearly black
BRIGHTENED, TURNED = "brightened", {1: "turned by 90 degrees", 3: "turned by 270 degrees"}  # clockwise
Look = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]  # how an image is changed before faces are looked for


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
    picture: images.Picture | None = None
    face: detector.Face | None = None  # in pixels of the picture, which may be smaller than the file's
    retry: bool = True

    @property
    def image(self) -> NDArray[np.uint8] | None:
        """Pixels: (height, width) of a grey image, else (height, width, 3) RGB."""
        return self.picture.pixels if self.picture else None


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
            _detect_all(readable, _detector(device))
        for one in readable:
            if device is None:
                _take_published(dataset, raw, one)
            _finish(one, crop, scored=device is not None)
            one.picture = None
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
        "gender": sample.gender, "age": sample.age, "race": sample.race,
        "frame": sample.frame, "split": sample.split, "usable": False,
    }  # fmt: skip


def _open(dataset: Dataset, raw: Path, item: Selected) -> _Opened:
    """Read, hash and decode an image."""
    one = _Opened(item.sample, _empty_row(dataset, item), retry=item.retry)
    try:
        data = read(dataset, raw, item.sample)
        one.row["source_sha256"] = hashlib.sha256(data).hexdigest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, which name no file; what it cannot read raises
            one.picture = images.load(data)
    except (FertoolsError, OSError) as error:
        one.row["reason"] = str(error)
    return one


def _batches(opened: Iterable[_Opened]) -> Iterator[list[_Opened]]:
    """Gather images until they have as many pixels as one image may have."""
    batch, num_pixels = [], 0
    for one in opened:
        batch.append(one)
        if one.image is not None:
            num_pixels += one.image.shape[0] * one.image.shape[1] * len(one.sample.turns)
        if num_pixels >= images.MAX_PIXELS:
            yield batch
            batch, num_pixels = [], 0
    yield batch


def _detect_all(opened: Sequence[_Opened], detect: detector.Detector) -> None:
    """Find the face that is meant in each image: at first sight, else brightened, else turned by a quarter."""
    _detect(opened, detect, lambda sample: sample.turns)
    _detect(_to_retry(opened), detect, lambda sample: sample.turns, brightened, RETRY_SCORE)
    _detect(_to_retry(opened), detect, _other_turns, None, RETRY_SCORE)
    for one in opened:
        if one.face is None:
            one.row["reason"] = NO_FACE + " where one is published" * (one.sample.box is not None)


def _other_turns(sample: Sample) -> list[int]:
    return [turn for turn in TURNED if turn not in sample.turns]


def _to_retry(opened: Sequence[_Opened]) -> list[_Opened]:
    return [one for one in opened if one.retry and one.face is None]


def _detect(
    opened: Sequence[_Opened],
    detect: detector.Detector,
    turns: Callable[[Sample], Sequence[int]],
    changed: Look | None = None,
    least: float = detector.MIN_SCORE,
) -> None:
    """Find the face that is meant in each image, in the turn in which the detector is surest of it.

    Args:
        opened: images.
        detect: finds faces.
        turns: quarter turns, clockwise, in which one is looked at.
        changed: what makes of an image that in which faces are looked for.
        least: score of a face.
    """
    for only_largest in (True, False):  # where a box is published, a smaller face may be meant
        turned = [
            (one, turn, one.image, detector.upright(image, turn) if turn else image)
            for one in opened
            if one.image is not None and (one.sample.box is None) == only_largest
            for image in [changed(one.image) if changed else one.image]
            for turn in turns(one.sample)
        ]
        found = detect.batch([picture for *_, picture in turned], only_largest=only_largest)
        for (one, turn, image, _), faces in zip(turned, found, strict=True):
            stored = [detector.as_stored(face, turn, image.shape) if turn else face for face in faces]
            face = _meant(stored, image.shape, one) if stored else None
            if face and face.score >= least and (one.face is None or face.score > one.face.score):
                one.face = face
                one.row["found_by"] = BRIGHTENED if changed else None if turn in one.sample.turns else TURNED[turn]


def brightened(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image whose brightness is spread evenly over 0 to 255: faces in the dark, or before a bright window.

    Args:
        image: (height, width), or (height, width, 3) RGB, whose hue stays.
    """
    if image.ndim == 2:
        return np.asarray(cv2.equalizeHist(image), np.uint8)
    luma, *chroma = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    return np.asarray(cv2.cvtColor(cv2.merge([cv2.equalizeHist(luma), *chroma]), cv2.COLOR_YCrCb2RGB), np.uint8)


def _meant(faces: list[detector.Face], shape: tuple[int, ...], one: _Opened) -> detector.Face | None:
    if one.sample.profile_beside:
        return detector.most_frontal(faces)
    if one.sample.box is None or one.picture is None:
        return detector.choose(faces, shape)
    box = one.picture.of_file(np.array(one.sample.box, np.float32).reshape(2, 2))
    return detector.choose(faces, shape, box.ravel().tolist())


def _take_published(dataset: Dataset, raw: Path, one: _Opened) -> None:
    """Take the face that the authors marked."""
    try:
        marks = dataset.landmarks(raw, one.sample)
    except FertoolsError as error:
        one.row["reason"] = str(error)
        return
    if marks is None:
        one.row["reason"] = "no published landmarks"
    elif one.picture is not None:
        points = np.array([*(one.sample.box or ()), *marks], np.float32).reshape(-1, 2)
        points = one.picture.of_file(points)
        one.face = detector.Face(points[:-5].ravel(), points[-5:], 1.0)


def _finish(one: _Opened, crop: schema.Crop, *, scored: bool) -> None:
    """Cut the face out, where there is one, and fill in its row."""
    if one.picture is None or one.face is None:
        return
    face, name, picture = one.face, _name(one.sample), one.picture
    try:
        matrix = align.crop_matrix(face.landmarks, crop)
    except align.AlignmentError as error:
        one.row["reason"] = str(error)
        return
    pixels = align.crop(_in_color(picture, crop.color), matrix, crop)
    one.row |= {
        "score": face.score if scored else None,
        "box": picture.in_file(face.box.reshape(-1, 2)).ravel().tolist() if len(face.box) else None,
        "landmarks": picture.in_file(face.landmarks).ravel().tolist(),
        "matrix": picture.matrix_of_file(matrix).ravel().tolist(),
    }
    if (levels := num_levels(pixels)) < MIN_LEVELS:
        one.row["reason"] = f"too few grey levels in the face: {levels}; expected at least {MIN_LEVELS} of 256"
        return
    stored = crop.encode(pixels)
    one.row |= {"usable": True, "image": {"bytes": stored, "path": name + crop.suffix}}


def _in_color(picture: images.Picture, color: str) -> NDArray[np.uint8]:
    if color == "rgb":
        return picture.rgb
    if picture.pixels.ndim == 2:
        return picture.pixels
    return np.asarray(cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def num_levels(pixels: NDArray[np.uint8]) -> int:
    """Return how many different values a crop has."""
    return int(np.count_nonzero(np.bincount(pixels.ravel(), minlength=256)))


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
