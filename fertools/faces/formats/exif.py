"""EXIF: the orientation alone. Whatever else a camera or an editor wrote, in or out of order, is not read.

Source: EXIF 2.32 (CIPA DC-008), 4.6.2 and 4.6.4 A; TIFF 6.0, section 2.
"""

import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORIENTATION = 0x0112
ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i"}  # type of an entry -> struct's letter
RATIONALS = {5: "II", 10: "ii"}
IN_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\b")


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """Return how a camera was held, 1 to 8: by the first sound entry of EXIF's first directory, else by XMP, else 1.

    Args:
        exif: a block of EXIF, or a TIFF; it may be damaged in any way.
        xmp: a packet of XMP.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = ORDERS.get(exif[:4])
    if order and len(exif) >= 8:
        (start,) = struct.unpack(order + "I", exif[4:8])
        (count,) = struct.unpack(order + "H", exif[start : start + 2].ljust(2, b"\0"))
        for offset in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
            tag, kind, _, raw = struct.unpack(order + "HHI4s", exif[offset : offset + 12])
            if tag == ORIENTATION and 1 <= (value := _value(exif, kind, raw, order)) <= 8:
                return value
    found = IN_XMP.search(xmp)
    return int(found[1]) if found else 1


def _value(exif: bytes, kind: int, raw: bytes, order: str) -> int:
    """Return the first number of an entry, of whichever type it is; 0 where it has none."""
    if kind in INTEGERS:
        letter = INTEGERS[kind]
        return int(struct.unpack_from(order + letter, raw)[0])
    if kind in RATIONALS:
        (offset,) = struct.unpack(order + "I", raw)
        above, below = struct.unpack(order + RATIONALS[kind], exif[offset : offset + 8].ljust(8, b"\0"))
        return int(above // below) if below else 0
    return int(raw[:1]) if kind == 2 and raw[:1].isdigit() else 0


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror a picture as its orientation says; 1 gives the same array.

    Args:
        pixels: (height, width) or (height, width, channels).
        orientation: 1 to 8; from 5 on, height and width change places.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
