"""The files that annotated pictures and videos become, each written whole."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.errors import TrainerError

STILLS, CLIPS = (".jpg", ".jpeg", ".png"), {".mp4": "mp4v", ".avi": "MJPG"}
DEFAULTS = {STILLS: ".png", tuple(CLIPS): ".mp4"}
QUALITY = 95  # of a JPEG
MAX_PAUSE = 10.0  # s for which one frame of a video is shown at most


class AnnotationError(TrainerError):
    """Annotated pictures that cannot be written."""


class Album:
    """Where annotated pictures and videos go: into a folder, placed as they were found, or into one file."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._clip: _VideoWriter | None = None

    def write_image(self, place: Path, image: NDArray[np.uint8]) -> None:
        """Write a picture.

        Args:
            place: below the folder; a name that says neither JPEG nor PNG gets `.png` added.
            image: (height, width, 3) RGB.

        Raises:
            AnnotationError: it cannot be written, or a video is asked for.
        """
        path = self._path(place, STILLS, "photograph")
        part = path.with_name(f".{path.name}.part")
        form = "PNG" if path.suffix.lower() == ".png" else "JPEG"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(part, form, quality=QUALITY)
            part.replace(path)
        except OSError as error:
            raise _not_written(path, error.strerror) from error

    def frame(self, place: Path, image: NDArray[np.uint8], time: float, rate: float) -> None:
        """Write the next frame of a video, all whose frames come one after the other.

        Args:
            place: of the video, below the folder; a name that says neither MP4 nor AVI gets `.mp4` added.
            image: (height, width, 3) RGB.
            time: s from the start; a frame is shown until the next one's.
            rate: frames a second that are written.

        Raises:
            AnnotationError: it cannot be written, or a picture is asked for.
        """
        path = self._path(place, tuple(CLIPS), "video")
        if self._clip is None or self._clip.path != path:
            self.close()
            self._clip = _VideoWriter(path, image, rate)
        self._clip.write(image, time)

    def close(self) -> None:
        """Let the last video appear under its name."""
        if self._clip:
            self._clip.close()
        self._clip = None

    def discard(self) -> None:
        """Leave no half of a video."""
        if self._clip:
            self._clip.discard()

    def _path(self, place: Path, suffixes: tuple[str, ...], what: str) -> Path:
        if names_file(self._target):
            if self._target.suffix.lower() not in suffixes:
                wanted = " or ".join(suffixes)
                raise AnnotationError(f"--annotated {self._target}: {place} is a {what}; name a folder, or a {wanted}")
            return self._target
        known = place.suffix.lower() in suffixes
        return self._target / (place if known else place.with_name(place.name + DEFAULTS[suffixes]))


class _VideoWriter:
    """A video that is being written, in a steady rate."""

    def __init__(self, path: Path, first: NDArray[np.uint8], rate: float) -> None:
        self.path, self._rate, self._written = path, rate, 0
        self._size, self._last = (first.shape[1], first.shape[0]), first
        self._part = path.with_name(f".{path.stem}.part{path.suffix}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_written(path, error.strerror) from error
        code = cv2.VideoWriter.fourcc(*CLIPS[path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, code, rate, self._size)
        if not self._writer.isOpened():
            raise _not_written(path, "OpenCV does not open it")

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Show a frame from its time on, the one before until then."""
        place = round(time * self._rate)
        for _ in range(min(place - self._written, math.ceil(MAX_PAUSE * self._rate))):
            self._writer.write(self._last)
        self._last = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
        if self._last.shape[1::-1] != self._size:  # a video may change its size
            self._last = np.asarray(cv2.resize(self._last, self._size), np.uint8)
        if place >= self._written:
            self._writer.write(self._last)
            self._written = place + 1

    def close(self) -> None:
        """Let it appear under its name."""
        self._writer.release()
        try:
            if not self._part.stat().st_size:
                raise _not_written(self.path, "no byte of it was")
            self._part.replace(self.path)
        except OSError as error:
            raise _not_written(self.path, error.strerror) from error

    def discard(self) -> None:
        """Drop it."""
        self._writer.release()
        self._part.unlink(missing_ok=True)


@contextmanager
def album(target: Path) -> Iterator[Album]:
    """Open where annotated pictures go; a video that is cut short by an error does not appear."""
    opened = Album(target)
    try:
        yield opened
        opened.close()
    finally:
        opened.discard()


def names_file(target: Path) -> bool:
    """Return whether a path names one picture or video, and not a folder."""
    return target.suffix.lower() in (*STILLS, *CLIPS)


def _not_written(path: Path, why: str | None) -> AnnotationError:
    return AnnotationError(f"{path} cannot be written: {why}; mend that, or name another place with --annotated")
