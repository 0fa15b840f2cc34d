"""Image files to pixels, within bounds: what is too large, cut short or no image at all is refused with a reason."""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fertools.faces.formats import decoders, png
from fertools.faces.formats.bounds import MAX_BYTES, MAX_PIXELS, ImageError
from fertools.faces.formats.decoders import Picture
from fertools.inputs.links import is_allowed

__all__ = ["MAX_BYTES", "MAX_PIXELS", "ImageError", "Picture", "decode", "inspect", "load", "read_bytes", "target"]


def read_bytes(root: Path, path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        ImageError: it leaves root, is empty, is larger than 200 MB, or cannot be read.
    """
    with _open(root, path) as file:
        return file.read()


def inspect(root: Path, path: Path) -> None:
    """Look at a file's header and, of PNG and TIFF, whether all of it is there, without decoding its pixels.

    Raises:
        ImageError: as `read_bytes`; or no image, too many pixels, or cut short.
    """
    with _open(root, path) as file:
        start = file.read(26)
        if start.startswith(png.START):
            png.header(start)
            png.chunks(file, file.seek(0, io.SEEK_END))
            return
        file.seek(0)
        decoders.opened(io.BytesIO(file.read()) if start[:2] in (b"II", b"MM") else file)


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


def load(data: bytes) -> Picture:
    """Return the picture of an image file's bytes, upright as the camera says (EXIF): grey as one plane.

    Transparency is dropped, of an animation the first frame is taken. Values of more than 8 bits are scaled by the
    depth that the file shows (`formats.depth`). A JPEG of more than 50 million pixels is decoded at half its size.

    Raises:
        ImageError: no image, too many pixels, cut short, or pixels that do not decode.
    """
    return decoders.decode(data)


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8 RGB as `load` does; grey images have three equal channels.

    Raises:
        ImageError: as `load`.
    """
    return load(data).rgb
