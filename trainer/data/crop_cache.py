"""Where the crops of a manifest are while they are used: on the device, or in a file that they are streamed from."""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from manifests import atomic, errors, files, schema
from manifests import faces as crops
from manifests.schema import Crop
from trainer.data.crops import Crops, Resident, Streamed
from trainer.runs.device import free_memory

GB = 10**9


class CropSource:
    """The crops of a manifest: all read to the device, or all streamed, which is decided once.

    Attributes:
        left: bytes that further crops may take on the device.
    """

    def __init__(self, manifest: Path, crop: Crop, device: torch.device, num: int, memory: int) -> None:
        """Decide, and say on stderr where they are streamed.

        Args:
            manifest: whose crops.
            crop: how they are seen.
            device: where they are used.
            num: how many will be asked for.
            memory: bytes that they may take on the device.

        Raises:
            ManifestError: they are to be streamed, and the file that this needs cannot be written.
        """
        self._manifest, self._crop, self._device = manifest, crop, device
        needed = num * math.prod(crop.shape)
        self._pixels: NDArray[np.uint8] | None = None
        self.left = memory - needed
        if self.left < 0:
            self.left, path = memory, cache_path(manifest, crop)
            print(
                f"{manifest}: {num} faces take {needed / GB:.3g} GB, more than the {memory / GB:.3g} GB that they may "
                f"take on {device} (--memory): they are streamed from {path.parent}/",
                file=sys.stderr,
            )
            self._usable = np.flatnonzero(np.array(files.read(manifest)["usable"]))
            self._pixels = _cache(manifest, crop, self._usable)

    def crops(self, rows: NDArray[np.int64]) -> Crops:
        """Return the crops of some usable rows."""
        if self._pixels is None:
            return Resident(torch.from_numpy(files.read_images(self._manifest, rows, self._crop)).to(self._device))
        return Streamed(self._pixels, np.searchsorted(self._usable, rows), self._device)


def memory_budget(device: torch.device, asked: float | None = None) -> int:
    """Return how many bytes crops may take on a device: the GB asked for, or half of what is free."""
    return free_memory(device) // 2 if asked is None else int(min(asked * GB, sys.maxsize))


# --- the file that they are streamed from


def cache_path(manifest: Path, crop: Crop) -> Path:
    """Return where the usable crops of a manifest lie one after the other, byte by byte; it may be deleted."""
    name = f"{crops.sha256(manifest)}-{crop.size}-{crop.align}-{crop.color}.uint8"
    return manifest.with_suffix(".crops") / name


def _cache(manifest: Path, crop: Crop, usable: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Map the file of a manifest's usable crops, which is made where it is not there, or not whole."""
    path, shape = cache_path(manifest, crop), (len(usable), *crop.shape)

    def whole() -> bool:
        return path.exists() and path.stat().st_size == math.prod(shape)

    if not whole():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.parent / ".lock"):
                if not whole():  # another process has made it meanwhile
                    _write(manifest, crop, usable, path)
        except (OSError, errors.WriteError) as error:
            raise errors.WriteError(
                f"{error}. {path} takes {math.prod(shape) / GB:.3g} GB: mend that, or let the faces take more of the "
                "device: --memory GB"
            ) from error
    return np.memmap(path, np.uint8, "r", shape=shape)


def _write(manifest: Path, crop: Crop, usable: NDArray[np.int64], path: Path) -> None:
    """Write the file whole, and remove those of earlier crops of the manifest."""
    atomic.remove_leftovers(path.parent)
    with atomic.atomic_file(path) as temporary, temporary.open("wb") as file:
        for rows in by_row_group(usable):
            file.write(files.read_images(manifest, rows, crop).data)
    for other in path.parent.glob("*.uint8"):
        if not other.name.startswith(crops.sha256(manifest)):
            other.unlink()


def by_row_group(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut ascending rows where a row group ends, so that each is read once and none is kept."""
    return np.split(rows, np.flatnonzero(np.diff(rows // schema.ROW_GROUP)) + 1)
