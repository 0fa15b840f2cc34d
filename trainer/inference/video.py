"""Video files and cameras to frames, one after the other; none is held."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError

MAX_PIXELS = 50_000_000  # of a frame: 150 MB in colour
RATES, USUAL_RATE = (1, 120), 25.0  # frames a second that are believed; what stands for others
ENDS_EARLY = 0.01  # of the frames that a video says it has; some formats only estimate them
MATROSKA, QUICKTIME, STILLS = b"\x1aE\xdf\xa3", (b"ftyp", b"moov", b"mdat", b"wide"), (b"avi", b"hei", b"hev", b"mif")

TS_PACKET, TS_SYNC = 188, 0x47  # bytes, and the first of each
UNREAD = {  # how videos of other formats start
    b"FLV\x01": "Flash Video (.flv)",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "Windows Media (.wmv, .asf)",
    b"\0\0\x01\xba": "an MPEG program stream (.mpg, .vob)",
    b"\0\0\x01\xb3": "MPEG video (.mpg, .m2v)",
    b"OggS": "Ogg (.ogv)",
    b".RMF": "RealMedia (.rm)",
}


class FrameError(TrainerError):
    """A video or a camera that gives no frames, or not all; the message is the reason, without the path."""


class Frame(NamedTuple):
    """One frame.

    Attributes:
        number: from 0, in the order in which they decode.
        time: seconds from the start.
        rate: frames a second of its video.
        image: (height, width, 3) RGB, upright; null: it does not decode.
    """

    number: int
    time: float
    rate: float
    image: NDArray[np.uint8] | None


def is_video(path: Path) -> bool:
    """Return whether a file starts as an AVI, MP4, MOV, MKV or WebM.

    Nothing else gets to the decoder: it knows formats that name other files, or addresses.

    Raises:
        FrameError: it starts as a video of another format.
    """
    with path.open("rb") as file:
        start = file.read(2 * TS_PACKET + 1)
    if kind := _unread_kind(start):
        raise FrameError(f"a video in {kind}, which is not read; make an MP4 of it, such as: ffmpeg -i FILE FILE.mp4")
    start = start[:12]
    if start[:4] == b"RIFF":
        return start[8:] == b"AVI "
    return start.startswith(MATROSKA) or (start[4:8] in QUICKTIME and start[8:11] not in STILLS)


def _unread_kind(start: bytes) -> str | None:
    """Return the format of a video that is not read, by how its file starts; null: it is none."""
    is_gif = start.startswith(b"GIF")  # G is the same byte
    if len(start) > 2 * TS_PACKET and set(start[::TS_PACKET]) == {TS_SYNC} and not is_gif:
        return "an MPEG transport stream (.ts, .mts)"
    return next((kind for begins, kind in UNREAD.items() if start.startswith(begins)), None)


def read(path: Path, every: int = 1) -> Iterator[Frame]:
    """Yield the first and every so-manieth frame of a video file, for which `is_video` holds.

    Raises:
        FrameError: it does not open, is too large, or, after its last frame, has fewer than it says.
    """
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise FrameError("a video that does not open: cut short, or of a codec that OpenCV does not know")
    _check_size(capture)
    stated, rate, at, number = capture.get(cv2.CAP_PROP_FRAME_COUNT), _rate(capture), 0.0, 0
    while capture.grab():
        told = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        at = told if number == 0 or told > at else at + 1 / rate  # some files tell no times
        if number % every == 0:  # others are decoded all the same, as the next ones need them, but not converted
            yield Frame(number, at, rate, _retrieve(capture))
        number += 1
    if number == 0:
        raise FrameError("a video of which no frame decodes")
    if stated - number > max(1, ENDS_EARLY * number):
        raise FrameError(f"{number} frames decode of {stated:.0f} that it says it has: damaged or cut short")


def watch(camera: int) -> Iterator[Frame]:
    """Yield the frames of a camera as fast as they are taken from here, without end.

    Raises:
        FrameError: there is no such camera, or it stops.
    """
    capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        raise FrameError(f"no camera {camera} here, or another program holds it; --camera 0 is the first")
    _check_size(capture)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one that waited
    start, number = time.monotonic(), 0
    while capture.grab():
        yield Frame(number, time.monotonic() - start, USUAL_RATE, _retrieve(capture))
        number += 1
    raise FrameError(f"camera {camera} gives no more frames after {number}")


def _check_size(capture: cv2.VideoCapture) -> None:
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        raise FrameError(f"too large: {width} x {height} px; at most {MAX_PIXELS:,} pixels are decoded")


def _rate(capture: cv2.VideoCapture) -> float:
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and RATES[0] <= rate <= RATES[1] else USUAL_RATE


def _retrieve(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    found, image = capture.retrieve()
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8) if found else None
