"""PNG: its chunks, and the same picture without those that no pixel depends on.

Text chunks may be as large as one likes, colour profiles may be broken, and something may stand behind the end: none
of it is the picture, and decoders stumble over each. Source: PNG (W3C, third edition), sections 5 and 11.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from fertools.faces.formats.bounds import ImageError, check_size

END = b"IEND\xaeB`\x82"
START = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
XMP = b"XML:com.adobe.xmp\0"
RAW_EXIF = (b"Raw profile type exif\0", b"Raw profile type APP1\0")  # as ImageMagick wrote it before PNG had eXIf
MAX_TEXT = 1 << 20


class Chunk(NamedTuple):
    """One chunk: its kind, where its body starts, and how long that is."""

    kind: bytes
    start: int
    length: int

    @property
    def span(self) -> slice:
        """All of it: length, kind, body, checksum."""
        return slice(self.start - 8, self.start + self.length + 4)


@dataclass(frozen=True)
class Header:
    """What IHDR says.

    Attributes:
        bits: of a sample.
        color_type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
    """

    width: int
    height: int
    bits: int
    color_type: int


def chunks(file: BinaryIO, size: int) -> list[Chunk]:
    """Return the chunks of a PNG up to its end, without reading their bodies; up to where they are in disorder.

    Raises:
        ImageError: it has no end.
    """
    found = list(_walk(file, size))
    if not is_ordered(found):
        file.seek(max(0, size - 1024))
        if END not in file.read():
            raise ImageError("cut short: the PNG has no end")
    return found


def is_ordered(found: list[Chunk]) -> bool:
    """Return whether the last of some chunks is the end."""
    return bool(found) and found[-1].kind == b"IEND"


def _walk(file: BinaryIO, size: int) -> Iterator[Chunk]:
    offset = len(START)
    while offset + 12 <= size:
        file.seek(offset)
        length, kind = struct.unpack(">I4s", file.read(8))
        if offset + 12 + length > size:
            return
        yield Chunk(kind, offset + 8, length)
        if kind == b"IEND":
            return
        offset += 12 + length


def header(start: bytes) -> Header:
    """Return what the first 26 bytes of a PNG say.

    Raises:
        ImageError: they are fewer, are not IHDR, or name too many pixels.
    """
    if len(start) < 26:
        raise ImageError("cut short: the PNG has no end")
    if start[12:16] != b"IHDR":
        raise ImageError("not an image: a PNG whose first chunk is not IHDR")
    read = Header(*struct.unpack(">IIBB", start[16:26]))
    check_size(read.width, read.height)
    return read


def pixels_only(data: bytes, found: list[Chunk]) -> bytes:
    """Return a PNG of the chunks that pixels depend on; without transparency, which is dropped anyway.

    One in disorder is returned as it is.

    Args:
        data: the file.
        found: its chunks.
    """
    if not is_ordered(found):
        return data
    if all(chunk.kind in PIXELS for chunk in found) and found[-1].span.stop == len(data):
        return data
    return START + b"".join(data[chunk.span] for chunk in found if chunk.kind in PIXELS)


def metadata(data: bytes, found: list[Chunk]) -> tuple[bytes, bytes]:
    """Return the blocks of EXIF and of XMP, empty where there is none."""
    exif = xmp = b""
    for chunk in found:
        body = memoryview(data)[chunk.start : chunk.start + min(chunk.length, MAX_TEXT)]
        if chunk.kind == b"eXIf":
            exif = exif or bytes(body)
        elif chunk.kind == b"iTXt" and bytes(body[: len(XMP)]) == XMP:
            xmp = xmp or _itxt(bytes(body[len(XMP) :]))
        elif chunk.kind in (b"tEXt", b"zTXt"):
            exif = exif or _raw_exif(bytes(body), compressed=chunk.kind == b"zTXt")
    return exif, xmp


def _itxt(rest: bytes) -> bytes:
    """Return the text of an iTXt chunk after its keyword."""
    text = rest[2:].split(b"\0", 2)[-1]
    return _inflated(text) if rest[:1] == b"\1" else text


def _raw_exif(body: bytes, *, compressed: bool) -> bytes:
    """Return EXIF from a text chunk of hexadecimal digits, after a line with its name and one with its length."""
    keyword = next((name for name in RAW_EXIF if body.startswith(name)), None)
    if keyword is None:
        return b""
    rest = body[len(keyword) :]
    text = _inflated(rest[1:]) if compressed else rest
    try:
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        return b""


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MAX_TEXT)
    except zlib.error:
        return b""
