"""Grey levels of more than 8 bits to 8: by what the values of the file show, since files rarely say it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fertools.faces.formats.bounds import ImageError

DEPTHS = (8, 10, 12, 14, 16)  # bits, of what cameras and scanners deliver


def to_uint8(values: NDArray[Any], bits: int | None = None) -> NDArray[np.uint8]:
    """Return values as 0 to 255; black stays black, and nothing is stretched to the darkest or brightest.

    The depth is the least of 8, 10, 12, 14 and 16 bits that holds the largest value; of floats, at most 1 is a range of
    0 to 1. So a 12-bit picture whose brightest pixel is below a quarter of white is taken for one of 10 bits, and is
    four times as bright. Integers lose their low bits, floats are rounded.

    Args:
        values: of any shape, integers or floats.
        bits: depth, where the file says it.

    Raises:
        ImageError: a value is negative, no number, or above 65,535.
    """
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError("grey values that are no numbers (NaN or infinite); save it with 8 or 16 bits")
    if low < 0:
        raise ImageError(f"grey values below 0 (from {low:g} to {high:g}); expected 0 to 1, or 8 to 16 bits")
    if np.issubdtype(values.dtype, np.floating) and high <= 1:
        return np.asarray(np.rint(values * 255), np.uint8)
    bits = bits or next((depth for depth in DEPTHS if high < 2**depth), None)
    if bits is None:
        raise ImageError(f"grey values up to {high:g}; expected 0 to 1, or 8 to 16 bits (up to 65,535)")
    if np.issubdtype(values.dtype, np.floating):
        return np.asarray(np.rint(values * (255 / (2**bits - 1))).clip(max=255), np.uint8)
    return np.asarray(values >> (bits - 8), np.uint8)
