"""How the faces of a manifest are cut out, and how a crop is stored: as the bytes of a PGM or PPM file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.errors import ManifestError

SIZES = (128, 256)
ALIGNMENTS = ("five-points", "eyes-nose")
COLORS = ("grey", "rgb")


@dataclass(frozen=True)
class Crop:
    """How every face of a manifest is cut out; its metadata says so under `crop`, and without it, this is the default.

    A crop is stored as a binary PGM or PPM: any image library opens it, and its pixels follow a header of fixed length.

    Attributes:
        size: side of the aligned picture as papers count it, px: 7/8 of it are seen at a time, 9/8 of it are stored.
        align: by which of the five landmarks.
        color: grey, or rgb as in the source (three equal channels of a grey one).
    """

    size: int = 128
    align: str = "five-points"
    color: str = "grey"

    def __post_init__(self) -> None:
        """Refuse what no crop can be."""
        for name, value, known in (
            ("size", self.size, SIZES), ("align", self.align, ALIGNMENTS), ("color", self.color, COLORS)
        ):  # fmt: skip
            if value not in known:
                raise ManifestError(f"no crop of {name} {value!r}; known: {', '.join(map(str, known))}")

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.color} crops of {self.size} px aligned by {self.align}"

    @property
    def face(self) -> int:
        """Side of what a network sees, px: 112 or 224."""
        return self.size * 7 // 8

    @property
    def stored(self) -> int:
        """Side of what is stored, px: 144 or 288. A face turned by 15 degrees fills 1.22 of its own side."""
        return self.size * 9 // 8

    @property
    def margin(self) -> int:
        """Stored px on each side of the face: 16 or 32."""
        return self.size // 8

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stored pixels: (rows, columns), in colour (rows, columns, 3)."""
        return (self.stored, self.stored, *(3,) * (self.color == "rgb"))

    @property
    def header(self) -> bytes:
        """What stands before the pixels in a file."""
        return self._header(self.stored)

    def _header(self, side: int) -> bytes:
        return f"P{6 if self.color == 'rgb' else 5} {side} {side} 255\n".encode()

    @property
    def num_bytes(self) -> int:
        """Length of a file."""
        return len(self.header) + int(np.prod(self.shape))

    @property
    def suffix(self) -> str:
        """How a file's name ends."""
        return ".ppm" if self.color == "rgb" else ".pgm"

    @property
    def least(self) -> "Crop":
        """As what any crop of this alignment can be read: grey, 128 px."""
        return replace(self, size=min(SIZES), color="grey")

    @property
    def options(self) -> str:
        """The options of `fertools prepare` that make it, where they are not the default."""
        usual, own = vars(DEFAULT_CROP), vars(self)
        return "".join(f" --{name} {value}" for name, value in own.items() if value != usual[name])

    def encode(self, pixels: NDArray[np.uint8]) -> bytes:
        """Return a crop's pixels, of this `shape`, as the bytes of a PGM or PPM file."""
        assert pixels.shape == self.shape and pixels.dtype == np.uint8
        return self.header + pixels.tobytes()

    def encode_face(self, pixels: NDArray[np.uint8]) -> bytes:
        """Return a face's pixels, without the margin of its crop, as the bytes of a PGM or PPM file."""
        assert pixels.shape == (self.face, self.face, *self.shape[2:]) and pixels.dtype == np.uint8
        return self._header(self.face) + pixels.tobytes()

    def decode(self, images: pa.ChunkedArray | pa.Array) -> NDArray[np.uint8]:
        """Return the pixels of an image column: (rows, *shape). The bytes are copied once.

        Raises:
            ManifestError: an image is missing, or has not the length of such a crop.
        """
        chunks = images.chunks if isinstance(images, pa.ChunkedArray) else [images]
        pixels = np.empty((len(images), *self.shape), np.uint8)
        first = 0
        for chunk in chunks:
            rows = pixels[first : first + len(chunk)]
            rows[:] = self._pixels(chunk.field("bytes"), first).reshape(rows.shape)
            first += len(chunk)
        return pixels

    def _pixels(self, data: pa.BinaryArray, first: int) -> NDArray[np.uint8]:
        """Return a view of a chunk's bytes without their headers: (rows, pixels)."""
        if len(data) == 0:
            return np.empty((0, 0), np.uint8)
        ends = np.frombuffer(data.buffers()[1], np.int32, len(data) + 1, 4 * data.offset)
        lengths = np.diff(ends)
        if (wrong := lengths != self.num_bytes).any():  # of each: where lengths cancel, faces would shift
            row = int(wrong.argmax())
            raise ManifestError(f"image {first + row} has {lengths[row]} bytes, {self} have {self.num_bytes}")
        flat = np.frombuffer(data.buffers()[2], np.uint8, len(data) * self.num_bytes, int(ends[0]))
        return flat.reshape(len(data), self.num_bytes)[:, len(self.header) :]

    def resample(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return stored crops as this one: luma of colours (BT.601, in 256ths), means of what a larger pixel covers."""
        if pixels.ndim > len(self.shape) + 1:
            red, green, blue = np.moveaxis(pixels, -1, 0)
            luma = red * np.uint16(77) + green * np.uint16(150) + blue * np.uint16(29)
            pixels = ((luma + 128) >> 8).astype(np.uint8)
        if (factor := pixels.shape[1] // self.stored) > 1:
            parts = [pixels[:, down::factor, right::factor] for down in range(factor) for right in range(factor)]
            total = np.sum(parts, axis=0, dtype=np.uint16)
            pixels = ((total + factor**2 // 2) // factor**2).astype(np.uint8)
        return pixels


DEFAULT_CROP = Crop()


def crop_of(metadata: Mapping[str, Any]) -> Crop:
    """Return how the faces of a manifest are cut out, by its metadata."""
    return Crop(**metadata.get("crop", {}))
