"""What tells where a result comes from: hashes of files and of columns, the commit of the code."""

import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes, in hexadecimal; they are read once as long as it is the same file."""
    status = path.stat()
    return _file_sha256(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _file_sha256(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def column_sha256(column: pa.ChunkedArray) -> str:
    """Return the hash of a column's values (text, numbers, truth values), however they are cut into chunks."""
    array = pa.concat_arrays([pa.array([], column.type), *column.chunks])
    digest = hashlib.sha256(f"{array.type} {len(array)}\n".encode())
    digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).data)
    if pa.types.is_string(array.type):
        filled = pa.concat_arrays([array.fill_null(""), pa.array([""])])
        _, offsets, data = filled.buffers()
        ends = np.frombuffer(offsets, np.int32, len(filled) + 1, 4 * filled.offset)
        digest.update(np.diff(ends).data)
        digest.update(memoryview(data)[ends[0] : ends[-1]] if data else b"")
    else:
        zero = pa.scalar(0).cast(array.type)
        digest.update(np.ascontiguousarray(array.fill_null(zero).to_numpy(zero_copy_only=False)).data)
    return digest.hexdigest()


def column_hashes(table: pa.Table, names: Iterable[str]) -> dict[str, str]:
    """Return the hash of each of some columns."""
    return {name: column_sha256(table[name]) for name in names}


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs between two sets of hashes, in the order of the second."""
    return [name for name in now if now[name] != then.get(name)]


def commit() -> str | None:
    """Return the commit that this code is checked out at, marked -dirty where it was changed; null where installed."""
    top = Path(__file__).parent.parent
    if not (top / ".git").exists():
        return None
    command = ["git", "-C", str(top), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
