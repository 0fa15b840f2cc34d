"""The 14 variants of a face that `trainer` shows: turned by up to 15 degrees to both sides, each also mirrored."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from manifests.schema import ANGLES, Crop

VARIANTS = [(float(angle), flipped) for flipped in (False, True) for angle in ANGLES]  # degrees


@dataclass(frozen=True)
class Variants:
    """All 14 of every face, in the order of `trainer`; nothing is drawn.

    Source:
        DICE-FER section 5.2.
    """

    copies: int = len(VARIANTS)
    seed: None = None
    libraries: tuple[str, ...] = ("fertools",)

    @property
    def pipeline(self) -> str:
        """Return what is done, as JSON: the variants in their order."""
        return json.dumps([_parameters(angle, flipped) for angle, flipped in VARIANTS], sort_keys=True)

    def apply(
        self, crop: Crop, pixels: NDArray[np.uint8], face_ids: Sequence[str]
    ) -> tuple[NDArray[np.uint8], list[str], set[str]]:
        """Return the variants of faces, those of one face together, what each is, and what to note: nothing.

        Args:
            crop: how the faces are cut out.
            pixels: (faces, *crop.shape), of stored crops.
            face_ids: of the faces.

        Returns:
            (14 faces, face, face, ...) grey levels, rounded, and as many JSON texts.
        """
        columns = pixels.reshape(len(pixels), crop.stored**2, -1).swapaxes(0, 1)
        turned = np.rint(_turns(crop) @ columns.reshape(crop.stored**2, -1).astype(np.float32)).astype(np.uint8)
        by_face = turned.reshape(len(VARIANTS), crop.face**2, len(pixels), -1).transpose(2, 0, 1, 3)
        images = by_face.reshape(-1, crop.face, crop.face, *crop.shape[2:])
        return images, [json.dumps(_parameters(*variant)) for variant in VARIANTS] * len(face_ids), set()


def _parameters(angle: float, flipped: bool) -> dict[str, Any]:
    return {"angle": angle, "flipped": flipped}


@lru_cache(maxsize=1)
def _turns(crop: Crop) -> csr_array:
    """Return what all pixels of all variants are, linear in those of the stored crop: (14 face², stored²), float32."""
    return vstack([_turn(crop, angle, flipped) for angle, flipped in VARIANTS], format="csr")


def _turn(crop: Crop, angle: float, flipped: bool) -> csr_array:
    """Return one variant's bilinear interpolation, about the centre: (face², stored²), four weights a row.

    The stored margin holds every turned face whole: no corner is invented.
    """
    place = np.arange(crop.face) - (crop.face - 1) / 2  # px from the centre
    y, x = np.meshgrid(place, -place if flipped else place, indexing="ij")
    cos, sin, centre = math.cos(math.radians(angle)), math.sin(math.radians(angle)), (crop.stored - 1) / 2
    (right, left), (down, top) = np.modf(cos * x - sin * y + centre), np.modf(sin * x + cos * y + centre)
    weights = np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], axis=-1)
    first = (top * crop.stored + left).astype(np.int32)[..., None]
    columns = first + np.array([0, 1, crop.stored, crop.stored + 1], np.int32)
    starts = np.arange(0, weights.size + 1, 4, dtype=np.int32)
    return csr_array((weights.ravel().astype(np.float32), columns.ravel(), starts), (crop.face**2, crop.stored**2))
