"""Image files for tests to read."""

import io
import struct
import zlib

from PIL import Image


def encoded(pixels, format="PNG", **options):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format=format, **options)
    return data.getvalue()


def png_header(width, height):
    """A PNG that claims a size and holds nothing of it."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return start + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
