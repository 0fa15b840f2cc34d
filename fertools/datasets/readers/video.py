"""The frames of an AVI video, by number: decoded one after the other from the first, for seeking is not exact."""

import struct
from functools import lru_cache
from pathlib import Path

import cv2

from fertools.errors import FertoolsError

MAX_FRAMES = 100_000  # more than an hour
MAX_PIXELS = 50_000_000  # of a frame: 150 MB in colour
SLACK = 16  # bytes by which writers of AVI files overstate their length, counting its own header


class VideoError(FertoolsError):
    """A video that cannot be read; the message is the reason, without the path."""


def num_frames(path: Path) -> int:
    """Return how many frames a video says it has; of these only the first is decoded.

    Raises:
        VideoError: no AVI, cut short, of no or too many frames, too large, or its first frame does not decode.
    """
    capture = _capture(path)
    num = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if not 1 <= num <= MAX_FRAMES:
        raise VideoError(f"says that it has {num} frames; 1 to {MAX_FRAMES:,} are read")
    if not capture.grab():
        raise VideoError("its first frame does not decode")
    return num


def read_frame(path: Path, number: int) -> bytes:
    """Return a frame, counted from 0, as the bytes of a PPM file.

    The last video stays open, so that frames in ascending order are each decoded once.

    Raises:
        VideoError: as `num_frames`, or the frame does not decode.
    """
    assert 0 <= number < MAX_FRAMES
    try:
        status = path.stat()
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}") from error
    return _open(path, status.st_size, status.st_mtime_ns).read(number)


class _Frames:
    """A video that is open, and which of its frames comes next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rewind()

    def read(self, number: int) -> bytes:
        if number < self.next:
            self._rewind()
        while self.next < number:
            self._grab()
        self._grab()
        found, image = self.capture.retrieve()
        if not found:
            raise VideoError(f"frame {number} does not decode")
        return bytes(cv2.imencode(".ppm", image)[1])

    def _rewind(self) -> None:
        self.capture, self.next = _capture(self.path), 0

    def _grab(self) -> None:
        if not self.capture.grab():
            raise VideoError(f"frame {self.next} does not decode, or the video ends before it")
        self.next += 1


@lru_cache(maxsize=1)
def _open(path: Path, size: int, changed: int) -> _Frames:
    del size, changed  # they tell a file from another that took its name
    return _Frames(path)


def _capture(path: Path) -> cv2.VideoCapture:
    """Open a video; what is no AVI never gets to the decoder, which knows formats that name other files."""
    _check_riff(path)
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise VideoError("not a video that OpenCV can open")
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        raise VideoError(f"too large: {width} x {height} px; at most {MAX_PIXELS:,} pixels are decoded")
    return capture


def _check_riff(path: Path) -> None:
    """Refuse a file that does not start as an AVI, or is shorter than it says."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}") from error
    if size == 0:
        raise VideoError("the file is empty")
    if len(start) < 12 or start[:4] != b"RIFF" or start[8:] != b"AVI ":
        raise VideoError(f"not an AVI video: it starts with {start.decode('ascii', errors='replace')!r}")
    (length,) = struct.unpack("<I", start[4:8])
    if size + SLACK < length + 8:
        raise VideoError(f"cut short: {size} of {length + 8} bytes; copy it again")
