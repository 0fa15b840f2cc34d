"""JPEG: its segments up to the pixels, and whether one without its end has every pixel.

Source: ITU-T T.81, annex B; EXIF 2.32, 4.7.2.
"""

import re
import struct
from collections import defaultdict
from dataclasses import dataclass, field

START, END = b"\xff\xd8", b"\xff\xd9"
FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive; others are rare or not decoded at all
OTHER_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}
SCAN, APP1 = 0xDA, 0xE1
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # stuffed bytes and restarts are parts of a scan
FILLERS = tuple(bytes([first, second] * 32) for first, second in (  # in place of what may be missing
    (0x00, 0x00), (0x55, 0x55), (0xAA, 0xAA), (0x33, 0x99), (0xCC, 0x66), (0x7F, 0x3D), (0x80, 0x11), (0xFE, 0xDB),
))  # fmt: skip


@dataclass
class Header:
    """What a sound JPEG says before its pixels.

    Attributes:
        components: their numbers: 1 is grey, 3 colour.
        single_scan: pixels are decoded as they come, not kept as coefficients until the end.
        pixels: where the first scan's segment starts.
    """

    precision: int = 0
    width: int = 0
    height: int = 0
    components: tuple[int, ...] = ()
    single_scan: bool = False
    exif: bytes = b""
    xmp: bytes = b""
    pixels: int = field(default=0, repr=False)


def parse(data: bytes) -> Header | None:
    """Return what a JPEG says before its pixels; null unless every byte up to them is in order.

    So a decoder that is laxer reads the same segments, and the same size.
    """
    if not data.startswith(START):
        return None
    header, offset = Header(), 2
    while offset + 4 <= len(data):
        sign, marker, length = struct.unpack_from(">BBH", data, offset)
        end = offset + 2 + length
        if sign != 0xFF or not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9 or length < 2 or end > len(data):
            return None
        body = memoryview(data)[offset + 4 : end]
        if marker == SCAN:
            header.pixels = offset
            header.single_scan &= len(body) > 0 and body[0] == len(header.components)
            return header if header.components else None
        if marker in OTHER_FRAMES or (marker in FRAMES and not _read_frame(header, marker, body)):
            return None
        if marker == APP1:
            _read_metadata(header, body)
        offset = end
    return None


def _read_frame(header: Header, marker: int, body: memoryview) -> bool:
    """Read the segment of sizes; return whether it is the only one, and in order."""
    if header.components or len(body) < 6 or len(body) != 6 + 3 * body[5]:
        return False
    header.precision, header.height, header.width = struct.unpack_from(">BHH", body)
    header.components = tuple(body[6::3])
    header.single_scan = marker != 0xC2
    return True


def _read_metadata(header: Header, body: memoryview) -> None:
    if body[: len(EXIF)] == EXIF:
        header.exif += bytes(body[len(EXIF) :])  # a block may be longer than a segment
    elif body[: len(XMP)] == XMP:
        header.xmp = header.xmp or bytes(body[len(XMP) :])


def all_scans(data: bytes, header: Header) -> bool:
    """Return whether the scans of a JPEG hold every bit of every coefficient of every component.

    Args:
        data: the file.
        header: what `parse` gives.
    """
    final: dict[int, set[int]] = defaultdict(set)  # component -> coefficients whose last bit has come
    for found in MARKER.finditer(data, header.pixels):
        offset = found.start()
        num = data[offset + 4] if data[offset + 1] == SCAN and offset + 4 < len(data) else 0
        body = data[offset + 5 : offset + 5 + 2 * num + 3]
        if num and len(body) == 2 * num + 3 and body[-1] & 15 == 0:
            for component in body[: 2 * num : 2]:
                final[component] |= set(range(body[-3], body[-2] + 1))
    return all(final[component] >= set(range(64)) for component in header.components)


def is_whole(data: bytes, header: Header) -> bool:
    """Return whether nothing but the end comes after a single scan; of several, whether a JPEG ends with its end.

    Else a decoder fills up what is missing, and may or may not say so.
    """
    if not header.single_scan:
        return data.endswith(END)
    found = MARKER.search(data, header.pixels + 2)
    return found is not None and found[0] == END


def with_ends(data: bytes) -> list[bytes]:
    """Return a JPEG that lacks its end with several bytes and an end behind it.

    Bytes that come after the last pixel change none: where all of these decode to the same pixels, and all scans
    are there, nothing is missing but the end.
    """
    body = data[:-1] if data.endswith(END[:1]) else data
    return [body + filler + END for filler in FILLERS]
