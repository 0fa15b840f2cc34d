"""TIFF: read by hand and written anew, so that libtiff decodes a header of ours.

libtiff reads a file's header itself and allots strips and tiles as large as it says there, whatever was bounded before.
Here the first picture's directory is read, its sizes are bounded, its strips or tiles are cut out, and a TIFF of these
and of nothing else is what a decoder gets. Source: TIFF 6.0 (Adobe 1992) and its technical note 2; BigTIFF.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from fertools.faces.formats import exif
from fertools.faces.formats.bounds import MAX_PIXELS, ImageError, check_size

ORDERS = {b"II": "<", b"MM": ">"}
INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of entries
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, SAMPLES, ROWS, STRIP_SIZES, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
COLORS, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES, EXTRA, FORMAT = 320, 322, 323, 324, 325, 338, 339
KEPT = (PHOTOMETRIC, FILL_ORDER, PREDICTOR, COLORS, EXTRA, FORMAT)  # as they are, where they are there
COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits"}
OTHERS = {
    2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "JPEG", 7: "JPEG", 34712: "JPEG 2000", 34925: "LZMA", 50000: "Zstandard",
    50001: "WebP",
}  # fmt: skip
PHOTOMETRICS = (0, 1, 2, 3, 5)  # white is zero, black is zero, RGB, palette, CMYK
MAX_SAMPLES, MAX_BITS = 8, 64
MAX_VALUES = 1 << 20  # of an entry
MAX_EXPANSION = 4  # of a picture's pixels, that its tiles may have

Tags = Mapping[int, tuple[int, ...]]


class Layout(NamedTuple):
    """How an order and the two kinds of TIFF write their numbers: struct's letters, and sizes in bytes."""

    order: str
    start: int  # of the offset of the first directory
    offset: str
    num: str  # of entries
    entry: int  # bytes of an entry; its value is the last `len(offset)` of them


@dataclass(frozen=True)
class Tiff:
    """The first picture of a TIFF.

    Attributes:
        data: a TIFF of this picture alone, whose sizes are bounded.
        bits: of a sample.
        samples: of a pixel.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, 5 CMYK.
        planar: samples lie in planes.
    """

    data: bytes
    bits: int
    samples: int
    photometric: int
    planar: bool


def rewritten(data: bytes) -> Tiff:
    """Return the first picture of a TIFF as one whose header is ours.

    Raises:
        ImageError: no TIFF, too large, cut short, or compressed in a way that is not read.
    """
    order, tags = _directory(data)
    _check(tags)
    height, width, samples = tags[HEIGHT][0], tags[WIDTH][0], tags.get(SAMPLES, (1,))[0]
    planar = samples > 1 and tags.get(PLANAR, (1,))[0] == 2
    if TILES in tags:
        sides = tags.get(TILE_WIDTH, (0,))[0], tags.get(TILE_HEIGHT, (0,))[0]
        num = _num_tiles(width, height, *sides)
        layout = {TILE_WIDTH: sides[:1], TILE_HEIGHT: sides[1:]}
        offsets, sizes = TILES, TILE_SIZES
    else:
        rows = min(tags.get(ROWS, (height,))[0], height)
        if rows < 1:
            raise ImageError("not an image: a TIFF of strips without rows")
        num, layout, offsets, sizes = ceil(height / rows), {ROWS: (rows,)}, STRIPS, STRIP_SIZES
    parts = _parts(data, tags, offsets, sizes, num * (samples if planar else 1))
    bits = tags.get(BITS, (1,))
    written = {tag: tags[tag] for tag in KEPT if tag in tags} | layout | {
        WIDTH: (width,), HEIGHT: (height,), BITS: bits[:1] * samples, COMPRESSION: tags.get(COMPRESSION, (1,))[:1],
        SAMPLES: (samples,), PLANAR: (2 if planar else 1,), sizes: tuple(map(len, parts)),
    }  # fmt: skip
    return Tiff(_written(order, written, offsets, parts), bits[0], samples, tags[PHOTOMETRIC][0], planar)


def orientation(data: bytes, xmp: bytes = b"") -> int:
    """Return how the camera was held, 1 to 8, by the first directory, else by XMP."""
    if _layout(data).num == "Q":  # BigTIFF: EXIF has no such blocks
        value = _directory(data)[1].get(exif.ORIENTATION, (0,))[0]
        return value if 1 <= value <= 8 else exif.orientation(b"", xmp)
    return exif.orientation(data, xmp)


def _directory(data: bytes) -> tuple[str, Tags]:
    """Return the order of bytes, and the integers of the first directory's entries."""
    layout = _layout(data)
    try:
        (start,) = struct.unpack_from(layout.order + layout.offset, data, layout.start)
        (count,) = struct.unpack_from(layout.order + layout.num, data, start)
        first = start + struct.calcsize(layout.num)
        entries = [first + layout.entry * index for index in range(min(count, 4096))]
        return layout.order, {tag: values for at in entries for tag, values in _entry(data, layout, at)}
    except struct.error as error:
        raise ImageError("cut short: the TIFF's directory lies behind its end") from error


def _layout(data: bytes) -> Layout:
    order = ORDERS.get(data[:2], "<")
    if data[2:4] == struct.pack(order + "H", 43):
        return Layout(order, 8, "Q", "Q", 20)
    return Layout(order, 4, "I", "H", 12)


def _entry(data: bytes, layout: Layout, at: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return tag and values of an entry; nothing where they are no integers, or absurdly many."""
    order, offset = layout.order, layout.offset
    tag, kind, count = struct.unpack_from(f"{order}HH{offset}", data, at)
    if kind not in INTEGERS or not 1 <= count <= MAX_VALUES:
        return []
    letters = f"{order}{count}{INTEGERS[kind]}"
    inline = at + 4 + struct.calcsize(order + offset)
    if struct.calcsize(letters) > struct.calcsize(order + offset):
        (inline,) = struct.unpack_from(order + offset, data, inline)
        if inline + struct.calcsize(letters) > len(data):
            return []
    return [(tag, struct.unpack_from(letters, data, inline))]


def _check(tags: Tags) -> None:
    """Refuse what is too large, or compressed or coloured in a way that is not read."""
    if missing := [name for name, tag in (("width", WIDTH), ("height", HEIGHT)) if tag not in tags]:
        raise ImageError(f"not an image: a TIFF without {' and '.join(missing)}")
    check_size(tags[WIDTH][0], tags[HEIGHT][0])
    compression = tags.get(COMPRESSION, (1,))[0]
    if compression not in COMPRESSIONS:
        name = OTHERS.get(compression, f"scheme {compression}")
        raise ImageError(
            f"a TIFF compressed by {name}; read are {', '.join(dict.fromkeys(COMPRESSIONS.values()))}: save it so, or "
            "as PNG"
        )
    if tags.get(PHOTOMETRIC, (-1,))[0] not in PHOTOMETRICS:
        raise ImageError("a TIFF of colours that are not read; save it in grey or RGB, or as PNG")
    bits, samples = tags.get(BITS, (1,)), tags.get(SAMPLES, (1,))[0]
    if not 1 <= samples <= MAX_SAMPLES or not 1 <= bits[0] <= MAX_BITS or len(set(bits)) > 1:
        raise ImageError(f"a TIFF of {samples} samples of {bits[0]} bits a pixel; save it with 8 or 16 bits, or as PNG")


def _num_tiles(width: int, height: int, tile_width: int, tile_height: int) -> int:
    if min(tile_width, tile_height) < 1:
        raise ImageError("not an image: a TIFF of tiles without size")
    num = ceil(width / tile_width) * ceil(height / tile_height)
    area = num * tile_width * tile_height
    if area > MAX_PIXELS or area > MAX_EXPANSION * max(width * height, 1 << 20):
        raise ImageError(f"too large: tiles of {tile_width} x {tile_height} px for {width} x {height} px")
    return num


def _parts(data: bytes, tags: Tags, offsets: int, sizes: int, num: int) -> list[memoryview]:
    """Return the strips or tiles of a picture, as they are in the file."""
    starts, lengths = tags.get(offsets, ()), tags.get(sizes, ())
    if len(starts) < num or len(lengths) < num:
        raise ImageError(f"cut short: the TIFF names {min(len(starts), len(lengths))} of its {num} strips or tiles")
    spans = list(zip(starts[:num], lengths[:num], strict=True))
    if any(start + length > len(data) for start, length in spans):
        raise ImageError("cut short: strips or tiles of the TIFF lie behind its end")
    if sum(lengths[:num]) > len(data):
        raise ImageError("not an image: a TIFF whose strips or tiles overlap")
    return [memoryview(data)[start : start + length] for start, length in spans]


def _written(order: str, tags: Mapping[int, Sequence[int]], offsets: int, parts: Sequence[memoryview]) -> bytes:
    """Return a TIFF of some entries and parts."""
    start = [8]
    for part in parts:
        start.append(start[-1] + len(part))
    body = b"".join(parts)
    directory = 8 + len(body) + len(body) % 2
    entries = sorted({**tags, offsets: tuple(start[:-1])}.items())
    outside = directory + 2 + 12 * len(entries) + 4
    rows, longer = b"", b""
    for tag, values in entries:
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > 4:
            rows += struct.pack(order + "HHII", tag, 4, len(values), outside + len(longer))
            longer += packed
        else:
            rows += struct.pack(order + "HHI", tag, 4, len(values)) + packed
    mark = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", directory)
    count = struct.pack(order + "H", len(entries))
    return b"".join((mark, body, b"\0" * (len(body) % 2), count, rows, bytes(4), longer))
