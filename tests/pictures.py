"""Image and video files for tests to read."""

import io
import struct
import zlib

import cv2
import numpy as np
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


def write_video(path, num_frames=8, size=(64, 48)):
    """An AVI whose frame n is grey, of brightness 20 + 8n."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter_fourcc(*"MJPG"), 24, size)
    for number in range(num_frames):
        writer.write(np.full((size[1], size[0], 3), 20 + 8 * number, np.uint8))
    writer.release()
