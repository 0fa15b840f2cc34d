"""Image files to pixels, within bounds: what is too large, cut short or no image at all is refused with a reason."""

import io
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fertools.errors import FertoolsError
from fertools.inputs.links import is_allowed

MAX_PIXELS = 50_000_000  # decoded: 150 MB in colour
MAX_BYTES = 200_000_000
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF")
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


class ImageError(FertoolsError):
    """A file that gives no picture; the message is the reason, without the path."""


def read_bytes(root: Path, path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        ImageError: it leaves root, is empty, is larger than 200 MB, or cannot be read.
    """
    with _open(root, path) as file:
        return file.read()


def inspect(root: Path, path: Path) -> None:
    """Look at a file's header and end, without decoding its pixels.

    Raises:
        ImageError: as `read_bytes`; or no image, too many pixels, a PNG that ends early, or a compressed TIFF.
    """
    with _open(root, path) as file:
        _header(file)


def target(root: Path, path: Path) -> Path:
    """Return where a file below root lies.

    Raises:
        ImageError: it leaves root, or is no file.
    """
    found = (root / path).resolve()
    if not is_allowed(root, root / path):
        raise ImageError("leaves the raw folder; it was not followed")
    if not found.is_file():
        raise ImageError("not a file")
    return found


def _open(root: Path, path: Path) -> BinaryIO:
    try:
        found = target(root, path)
        size = found.stat().st_size
        if size > MAX_BYTES:
            raise ImageError(f"{size} bytes; at most {MAX_BYTES} are read")
        if size == 0:
            raise ImageError("the file is empty")
        return found.open("rb")
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from error


def _header(file: BinaryIO) -> Image.Image:
    """Return an image whose header is sound and whose size is bounded; its pixels are not decoded yet."""
    start = file.read(24)
    if start.startswith(PNG_START):
        _check_png(file, start)
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # we have our own bound, below the one that Pillow warns at
            image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large: {error}") from error
    except Exception as error:  # a hostile header may raise anything: it becomes that file's reason
        raise ImageError(f"not an image: it starts with {start[:16].decode('ascii', errors='replace')!r}") from error
    _check_size(image.width, image.height)
    if image.format == "TIFF" and image.info["compression"] != "raw":
        # libtiff reads the header anew and allots tiles as large as it says there, whatever Pillow saw and we bounded
        raise ImageError("a compressed TIFF, whose decoder is not bounded; save it uncompressed or as PNG")
    return image


def _check_png(file: BinaryIO, start: bytes) -> None:
    """Refuse a PNG that is too large or ends early: what Pillow calls no image at all."""
    if len(start) == 24:
        _check_size(*struct.unpack(">II", start[16:]))
    file.seek(-min(1024, file.seek(0, io.SEEK_END)), io.SEEK_END)
    if PNG_END not in file.read():
        raise ImageError("cut short: the PNG has no end")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"too large: {width} x {height} px; at most {MAX_PIXELS:,} pixels are decoded")


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8 RGB, upright as the camera says (EXIF).

    Grey images have three equal channels; 16-bit ones keep their high byte; transparency is dropped.

    Raises:
        ImageError: no image, too many pixels, a compressed TIFF, or pixels that do not decode.
    """
    try:
        image = ImageOps.exif_transpose(_header(io.BytesIO(data)))
        if image.mode.startswith("I;16") or image.mode == "I":
            return np.repeat((np.asarray(image) // 256).astype(np.uint8)[:, :, None], 3, axis=2)
        return np.asarray(image.convert("RGB"))
    except ImageError:
        raise
    except Exception as error:  # a hostile file may raise anything from a decoder: it becomes that file's reason
        raise ImageError(f"does not decode: {error}") from error
