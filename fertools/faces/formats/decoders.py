"""Bytes to pixels: by OpenCV where a sound header says that it gives what Pillow gives, else by Pillow.

Where OpenCV gives nothing, Pillow is asked for: it decodes, or says why not.
"""

import io
import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from fertools.faces.formats import depth, exif, jpeg, png, tiff
from fertools.faces.formats.bounds import MAX_PIXELS, ImageError, check_size

FORMATS = ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF", "AVIF"]
HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")  # brands; AVIF has its own
REDUCED = 2  # times smaller is a JPEG decoded that has more than MAX_PIXELS
# Of several scans, all coefficients are kept until the end: 6 bytes a pixel, as many as a picture of MAX_PIXELS takes.
MAX_REDUCED = {True: 3 * MAX_PIXELS, False: 3 * MAX_PIXELS // 2}  # by whether there is a single scan
RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
AS_STORED = cv2.IMREAD_UNCHANGED


@dataclass(frozen=True)
class Picture:
    """A decoded image, upright.

    Attributes:
        pixels: (height, width) uint8 of a grey one, else (height, width, 3) RGB.
        scale: how many times larger the sides of the file's picture are, where it was decoded reduced. Pixel (x, y)
            then covers those from (scale x, scale y) on.
    """

    pixels: NDArray[np.uint8]
    scale: int = 1

    def in_file(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return coordinates x, y in pixels of the file's picture, whole numbers at their centres."""
        return points if self.scale == 1 else points * np.float32(self.scale) + np.float32((self.scale - 1) / 2)

    def of_file(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return coordinates in pixels of the file's picture as those of `pixels`."""
        return points if self.scale == 1 else (points - np.float32((self.scale - 1) / 2)) / np.float32(self.scale)

    def matrix_of_file(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a (2, 3) matrix that takes coordinates of `pixels` as one that takes those of the file's picture."""
        if self.scale == 1:
            return matrix
        linear = matrix[:, :2] / self.scale
        return np.column_stack([linear, matrix[:, 2] - linear.sum(1) * (self.scale - 1) / 2])

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """Pixels as (height, width, 3): three equal channels of grey."""
        if self.pixels.ndim == 3:
            return self.pixels
        return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_GRAY2RGB), np.uint8)


def decode(data: bytes) -> Picture:
    """Return the picture of an image file's bytes, as `images.load` says.

    Raises:
        ImageError: no image, too many pixels, cut short, or pixels that do not decode.
    """
    try:
        if data.startswith(png.START):
            return _decode_png(data)
        if data.startswith(jpeg.START):
            return _decode_jpeg(data)
        if data[:2] in tiff.ORDERS:
            return _decode_tiff(data)
        return _picture(opened(io.BytesIO(data)))
    except ImageError:
        raise
    except Exception as error:  # a hostile file may raise anything from a decoder: it becomes that file's reason
        raise ImageError(f"does not decode: {error}") from error


def opened(file: BinaryIO) -> ImageFile:
    """Return an image whose header is sound and whose size is bounded; its pixels are not decoded yet.

    Raises:
        ImageError: no image, or one that is too large, or compressed in a way that is not read.
    """
    start = file.read(16)
    image = _open(file, [*FORMATS, *_heif(start)], start)
    if image.format in ("JPEG", "MPO") and image.width * image.height > MAX_PIXELS:
        file.seek(0)
        _check_reduced(image, jpeg.parse(file.read()))
    else:
        check_size(image.width, image.height)
    if image.format == "TIFF" and image.info["compression"] != "raw":
        file.seek(0)
        return _open(io.BytesIO(tiff.rewritten(file.read()).data), ["TIFF"], start)
    return image


def _open(file: BinaryIO, formats: list[str], start: bytes) -> ImageFile:
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they name no file, and our bound is below the one that Pillow warns at
            return Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large: {error}") from error
    except Exception as error:  # a hostile header may raise anything: it becomes that file's reason
        raise ImageError(f"not an image: it starts with {start.decode('ascii', errors='replace')!r}") from error


def _heif(start: bytes) -> list[str]:
    """Return the format of HEIC, where a file is one and what reads it is installed."""
    if start[4:8] != b"ftyp" or start[8:12] not in HEIF:
        return []
    try:
        import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise ImageError("HEIC, as telephones store photographs; to read it: pip install 'fertools[heif]'") from error
    return ["HEIF"]


def _check_reduced(image: ImageFile, header: jpeg.Header | None) -> None:
    """Refuse a JPEG that is too large even where it is decoded at half its size."""
    if header is None:
        check_size(image.width, image.height)
    else:
        scans = "pixels of a JPEG" if header.single_scan else "pixels of a progressive JPEG"
        check_size(image.width, image.height, MAX_REDUCED[header.single_scan], scans)


def _decode_png(data: bytes) -> Picture:
    header = png.header(data[:26])
    found = png.chunks(io.BytesIO(data), len(data))
    orientation = exif.orientation(*png.metadata(data, found))
    pixels_only = png.pixels_only(data, found)
    pixels = None
    if header.bits == 16:
        pixels = _deep(pixels_only)
    elif png.is_ordered(found):
        pixels = _by_opencv(pixels_only, GREY if header.color_type in (0, 4) else RGB, (header.height, header.width))
    if pixels is None:
        pixels = _picture(opened(io.BytesIO(pixels_only))).pixels
    return Picture(exif.upright(pixels, orientation))


def _decode_jpeg(data: bytes) -> Picture:
    header = jpeg.parse(data)
    pixels = None
    if header and jpeg.is_whole(data, header) and header.precision == 8 and len(header.components) in (1, 3):
        if 0 < header.width * header.height <= MAX_PIXELS:
            flags = GREY if len(header.components) == 1 else RGB
            pixels = _by_opencv(data, flags, (header.height, header.width))
        if pixels is not None:
            return Picture(exif.upright(pixels, exif.orientation(header.exif, header.xmp)))
    try:
        return _picture(opened(io.BytesIO(data)))
    except OSError:
        if header is None or not jpeg.all_scans(data, header):
            raise
        return _without_end(data)


def _without_end(data: bytes) -> Picture:
    """Return the picture of a JPEG that lacks nothing but its end.

    Raises:
        ImageError: pixels are missing, too.
    """
    first, *others = (_picture(opened(io.BytesIO(ended))) for ended in jpeg.with_ends(data))
    if any(not np.array_equal(first.pixels, other.pixels) for other in others):
        raise ImageError("cut short: the JPEG has no end, and its last pixels are missing")
    return first


def _decode_tiff(data: bytes) -> Picture:
    image = opened(io.BytesIO(data))
    if ";16" in str(image.tile) and image.mode in ("RGB", "RGBA"):
        found = tiff.rewritten(data)
        pixels = _deep(found.data)
        if pixels is None:
            raise ImageError("a TIFF of 16 bits that does not decode; save it with 8 bits, or as PNG")
    else:
        pixels = _picture(image, upright=False).pixels
    return Picture(exif.upright(pixels, tiff.orientation(data, image.info.get("xmp", b""))))


def _by_opencv(data: bytes, flags: int, shape: tuple[int, int]) -> NDArray[Any] | None:
    """Return what OpenCV decodes, null where that is nothing or of another size."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return pixels if pixels is not None and pixels.shape[:2] == shape else None


def _deep(data: bytes) -> NDArray[np.uint8] | None:
    """Return a PNG or TIFF of 16 bits by the depth that it shows, without its transparency: Pillow cuts colours off."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), AS_STORED)
    if values is None or values.dtype != np.uint16:
        return None
    if values.ndim == 2:
        return depth.to_uint8(values)
    colours = values[..., 2::-1] if values.shape[2] >= 3 else values[..., 0]
    return np.ascontiguousarray(depth.to_uint8(colours))


def _picture(image: ImageFile, *, upright: bool = True) -> Picture:
    """Decode an image that Pillow has opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they name no file
        scale = REDUCED if image.width * image.height > MAX_PIXELS else 1
        if scale > 1:
            image.draft(None, (image.width // scale, image.height // scale))
            check_size(image.width, image.height)
        xmp = image.info.get("xmp") or b""
        pixels = _pixels(image)
    orientation = exif.orientation(image.info.get("exif") or b"", xmp) if upright else 1
    return Picture(exif.upright(pixels, orientation), scale)


def _pixels(image: ImageFile) -> NDArray[np.uint8]:
    """Return (height, width) of a grey image, else (height, width, 3)."""
    if image.mode in ("1", "L"):
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    if image.mode in ("LA", "La"):
        return np.asarray(image.getchannel(0))
    if image.mode[0] not in "IF":
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    values = np.asarray(image)
    if image.format != "TIFF":
        # Pillow has scaled a PPM's to 16 bits by the largest value that the file names
        return depth.to_uint8(values, bits=16 if image.format == "PPM" and image.mode == "I" else None)
    levels = depth.to_uint8(values, bits=12 if "I;12" in str(image.tile) else None)
    white_is_zero = image.tag_v2.get(tiff.PHOTOMETRIC) == 0  # type: ignore[attr-defined]
    return 255 - levels if white_is_zero else levels
