"""Photographs and frames to faces as a manifest stores them: with `extra`, all of this package that calls on fertools.

What is asked for is a stream: a folder is listed as it is read, and a batch of pictures is held at a time.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from manifests.schema import Crop
from trainer.errors import TrainerError

TOGETHER = 16  # pictures of a batch, or as many as have the pixels that one picture may have
NO_FACE = "no face found"
Item = TypeVar("Item")


class PhotoError(TrainerError):
    """Photographs that give no face."""


@dataclass(frozen=True)
class Found:
    """One face of a photograph.

    Attributes:
        box: (4,) x0, y0, x1, y1 in pixels of the photograph; may leave it.
        score: the detector's confidence, 0 to 1.
        crop: the face, aligned, as a manifest stores it: (144, 144), or as `Crop.shape` says.
    """

    box: NDArray[np.float32]
    score: float
    crop: NDArray[np.uint8]


@dataclass(frozen=True)
class Photo:
    """A photograph or a frame: its faces, the one that is meant first, then the surest; or why it gives none.

    Attributes:
        place: where it lies below what was asked for: a file's name, or a folder's and what follows.
        image: (height, width, 3) RGB, upright; null: it cannot be read.
        frame: its number, from 0.
        time: of the frame, seconds.
        rate: frames a second of its video.
    """

    path: Path
    faces: tuple[Found, ...] = ()
    reason: str | None = None
    place: Path = Path()
    image: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    frame: int | None = None
    time: float | None = None
    rate: float | None = None


class Entry(NamedTuple):
    """A file that is asked for: below `root`, which it must not leave; or why it is not read."""

    path: Path
    root: Path
    below: Path
    place: Path
    reason: str | None = None


def read(paths: Sequence[Path], crop: Crop, device: str) -> list[Photo]:
    """Detect and align the faces of photographs as `fertools prepare` does, in the order asked.

    Args:
        paths: of photographs, or of folders, all whose files are taken for such.
        crop: how faces are cut out.
        device: where faces are detected.

    Raises:
        PhotoError: an empty folder, or none of all these gives a face.
    """
    opened = (_photograph(entry) for entry in entries(paths))
    found = [replace(photo, image=None) for batch in find(opened, crop, device) for photo in batch]
    if not any(photo.faces for photo in found):
        raise PhotoError(f"no face in {len(found)} file(s): " + "; ".join(f"{p.path}: {p.reason}" for p in found[:5]))
    return found


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return the picture of an image file's bytes, (height, width, 3) RGB, upright.

    Raises:
        PhotoError: it gives none; the message is the reason.
    """
    from fertools.faces import images

    try:
        return images.decode(data)
    except images.ImageError as error:
        raise PhotoError(str(error)) from error


def finder(crop: Crop, device: str) -> Callable[[NDArray[np.uint8]], tuple[Found, ...]]:
    """Return what gives the faces of a picture, the one that is meant first, and raises PhotoError where is none."""
    from fertools.faces import detector

    detect = detector.Detector(device)

    def faces(image: NDArray[np.uint8]) -> tuple[Found, ...]:
        photo = _cut(Photo(Path(), image=image), image, detect(image), crop)
        if not photo.faces:
            raise PhotoError(photo.reason)
        return photo.faces

    return faces


# --- files


def entries(paths: Sequence[Path], leave_out: Sequence[Path] = ()) -> Iterator[Entry]:
    """Yield every file that is asked for, those of a folder in order. No link to a folder is followed.

    Args:
        paths: of files, or of folders.
        leave_out: files and folders that are no part of what is asked for.

    Raises:
        PhotoError: an empty folder.
    """
    names: Counter[str] = Counter()
    kept_out = {os.path.realpath(path) for path in leave_out}
    for path in paths:
        name = Path(path.resolve().name)
        names[name.name] += 1
        if names[name.name] > 1:
            name = Path(f"{name.stem}-{names[name.name]}{name.suffix}")
        if not path.is_dir():
            yield Entry(path, path.resolve().parent, Path(path.resolve().name), name)
            continue
        empty = True
        for file, reason in _below(path, kept_out):
            empty = False
            yield Entry(file, path, file.relative_to(path), name / file.relative_to(path), reason)
        if empty:
            raise PhotoError(f"{path} is an empty folder; expected photographs in it")


def _below(folder: Path, leave_out: set[str]) -> Iterator[tuple[Path, str | None]]:
    """Yield what lies in a folder and in those below it, each folder sorted, and why it is not looked into."""
    waiting = [(folder, True)]
    while waiting:
        path, is_folder = waiting.pop()
        if leave_out and os.path.realpath(path) in leave_out:
            continue
        if not is_folder:
            link = path.is_symlink() and path.is_dir()
            yield path, "a link to a folder; it was not followed" if link else None
            continue
        try:
            with os.scandir(path) as inside:
                listed = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in inside)
        except OSError as error:
            yield path, f"cannot be read: {error.strerror}"
            continue
        waiting += [(path / name, deeper) for name, deeper in reversed(listed)]


def pictures(files: Iterable[Entry], every: int = 1) -> Iterator[Photo]:
    """Yield photographs and frames of videos, told from one another by how their files begin; no faces yet.

    Args:
        files: to be opened.
        every: of a video, take frames 0, every, 2 * every, ...
    """
    from fertools.faces import images
    from trainer.inference import video

    for entry in files:
        reason = entry.reason
        try:
            if reason is None and video.is_video(images.target(entry.root, entry.below)):
                frames = video.read(images.target(entry.root, entry.below), every)
                yield from (_frame(entry.path, entry.place, frame) for frame in frames)
                continue
        except (images.ImageError, TrainerError) as error:
            reason = str(error)
        except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself
            reason = f"cannot be read: {error}"
        yield Photo(entry.path, reason=reason, place=entry.place) if reason else _photograph(entry)


def given(asked: Iterable[Any]) -> Iterator[Photo]:
    """Yield what a program asks for: paths, of folders too, and pictures in memory, named by their place; no faces yet.

    Args:
        asked: paths; arrays, uint8 (height, width) or (height, width, 3) RGB; or Pillow's images.

    Raises:
        PhotoError: something else, or an empty folder.
    """
    for number, picture in enumerate(asked):
        if isinstance(picture, str | os.PathLike):
            yield from pictures(entries([Path(picture)]))
        else:
            yield Photo(Path(f"picture {number}"), image=_rgb(picture, number))


def _rgb(picture: Any, number: int) -> NDArray[np.uint8]:
    if hasattr(picture, "getexif"):
        from PIL import ImageOps

        picture = ImageOps.exif_transpose(picture).convert("RGB")
    image = np.asarray(picture)
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise PhotoError(
            f"picture {number} is {image.dtype} of shape {image.shape}; expected a path, an image of Pillow, or uint8 "
            "of shape (height, width) or (height, width, 3)"
        )
    return image


def camera(number: int) -> Iterator[Photo]:
    """Yield the frames of a camera, and why it stops; no faces yet.

    Raises:
        TrainerError: there is no such camera.
    """
    from trainer.inference import video

    path, began = Path(f"camera-{number}"), False
    try:
        for frame in video.watch(number):
            began = True
            yield _frame(path, path, frame)
    except video.FrameError as error:
        if not began:
            raise
        yield Photo(path, reason=str(error), place=path)


def _photograph(entry: Entry) -> Photo:
    from fertools.faces import images

    if entry.reason:
        return Photo(entry.path, reason=entry.reason, place=entry.place)
    try:
        image = images.decode(images.read_bytes(entry.root, entry.below))
        return Photo(entry.path, place=entry.place, image=image)
    except (images.ImageError, RuntimeError) as error:
        return Photo(entry.path, reason=str(error), place=entry.place)


def _frame(path: Path, place: Path, frame: Any) -> Photo:
    reason = None if frame.image is not None else f"frame {frame.number} does not decode"
    return Photo(
        path, reason=reason, place=place, image=frame.image, frame=frame.number, time=frame.time, rate=frame.rate
    )


# --- faces


def find(
    opened: Iterable[Photo], crop: Crop, device: str, *, only_largest: bool = False, together: int = TOGETHER
) -> Iterator[list[Photo]]:
    """Yield pictures with their faces, in their order, a batch at a time; the next one is decoded meanwhile.

    Args:
        opened: pictures.
        crop: how faces are cut out.
        device: where faces are detected.
        only_largest: give but the face that is meant, several times faster.
        together: how many pictures a batch has at most; it changes no face.
    """
    from fertools.faces import detector

    detect = detector.Detector(device)
    batches = _batches(opened, together)
    for batch in ahead(batches) if together > 1 else batches:  # of a camera, what is decoded ahead would be old
        readable = [photo.image for photo in batch if photo.image is not None]
        faces = iter(detect.batch(readable, only_largest=only_largest))
        yield [
            photo if photo.image is None else _cut(photo, photo.image, next(faces), crop, only_largest)
            for photo in batch
        ]


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield what an iterator yields, whose next item a thread makes while this one is used."""
    end = object()
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = worker.submit(next, items, end)
            yield cast(Item, item)


def _batches(opened: Iterable[Photo], together: int) -> Iterator[list[Photo]]:
    from fertools.faces.images import MAX_PIXELS

    batch: list[Photo] = []
    num_pixels = 0
    for photo in opened:
        batch.append(photo)
        num_pixels += photo.image.size // 3 if photo.image is not None else 0
        if num_pixels >= MAX_PIXELS or len(batch) >= together:
            yield batch
            batch, num_pixels = [], 0
    if batch:
        yield batch


def _cut(photo: Photo, image: NDArray[np.uint8], faces: list[Any], crop: Crop, only_largest: bool = False) -> Photo:
    """Return a picture with its faces cut out of it."""
    import cv2

    from fertools.faces import align, detector

    if not faces:
        return replace(photo, reason=NO_FACE)
    meant = detector.choose(faces, image.shape)
    ordered = [meant, *([] if only_largest else (face for face in faces if face is not meant))]
    grey = crop.color == "grey"
    seen = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) if grey else image
    found, reason = [], None
    for face in ordered:
        try:
            found.append(Found(face.box, face.score, align.crop(seen, align.crop_matrix(face.landmarks, crop), crop)))
        except align.AlignmentError as error:
            reason = f"a face that cannot be aligned: {error}"
    return replace(photo, faces=tuple(found), reason=reason)
