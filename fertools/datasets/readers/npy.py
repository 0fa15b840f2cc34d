"""Small NumPy arrays (.npy) that come with a dataset, read within bounds; arrays of objects, which are code, never."""

import io
import math
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from fertools.datasets.base import DatasetError

MAX_BYTES = 65_536
PREFIX = 10  # bytes: magic, version, and the length of the header that follows


def read_numbers(path: Path) -> list[float]:
    """Return the numbers in an array, which may be stored as text, row by row.

    Raises:
        DatasetError: no such array, or one of objects, larger than 64 KiB, or of what is no finite number. The message
            is the reason, without the path.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise DatasetError(f"larger than {MAX_BYTES} bytes")
    start = PREFIX + int.from_bytes(data[8:PREFIX], "little")
    dtype, count = _header(data[:start])
    if len(data) - start != count * dtype.itemsize:
        raise DatasetError(f"not whole: {len(data) - start} bytes for {count} times {dtype}")
    try:
        numbers = [float(cell) for cell in np.frombuffer(data, dtype, count, start).tolist()]
    except ValueError as error:
        raise DatasetError(f"holds what is no number: {error}") from error
    if not all(map(math.isfinite, numbers)):
        raise DatasetError("holds a number that is not finite")
    return numbers


@lru_cache(maxsize=64)  # the arrays of a dataset share a few headers
def _header(data: bytes) -> tuple[np.dtype[Any], int]:
    """Return the type of an array and how many numbers it holds."""
    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the array was written by Python 2
            shape, is_by_column, dtype = npy.read_array_header_1_0(file)
    except Exception as error:  # a hostile header may raise anything: it becomes that file's reason
        raise DatasetError(f"not a NumPy array: {error}") from error
    if version != (1, 0) or min(shape, default=0) < 0 or (is_by_column and len(shape) > 1):
        raise DatasetError(f"an array of version {version} and shape {shape}; not a list of numbers")
    if dtype.kind not in "iufUS" or not dtype.itemsize:
        raise DatasetError(f"an array of {dtype}, not of numbers; objects are never read")
    return dtype, math.prod(shape)
