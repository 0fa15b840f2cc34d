"""Files of runs, written by the one atomic writer; what cannot be written is an error of trainer's.

JSON files and tensors carry a hash of all else that they hold, so that damage, or a change by hand, is noticed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from manifests import atomic, errors
from trainer.errors import TrainerError

SHA256 = "sha256"  # the key of the hash


class WriteError(TrainerError):
    """A file that cannot be written."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the system into a WriteError that says what to do.

    Raises:
        WriteError: a full disk, a folder that is read only.
    """
    try:
        with atomic.writing(path):
            yield
    except errors.WriteError as error:
        raise WriteError(str(error)) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write a file at; it appears under its name when it is complete.

    Raises:
        WriteError: it cannot be written.
    """
    with writing(path), atomic.atomic_file(path) as temporary:
        yield temporary


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole.

    Raises:
        WriteError: it cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_tensors(tensors: dict[str, Tensor], temporary: Path, metadata: dict[str, str]) -> None:
    """Write tensors to a temporary path.

    `save_file` makes a file of its owner alone, under a name by chance that a kill leaves behind: both is mended here.

    Raises:
        OSError: it cannot be written.
    """
    metadata = {**metadata, SHA256: tensors_sha256(tensors, metadata)}
    for left in temporary.parent.glob(".tmp??????"):
        left.unlink()
    temporary.touch()
    mode = temporary.stat().st_mode
    try:
        save_file(tensors, temporary, metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    temporary.chmod(mode)
    _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Write the metadata of a safetensors file in the order of its keys: it comes in another one each time."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        told = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(told) <= length
        file.seek(8)
        file.write(told.ljust(length))


# --- hashes


def tensors_sha256(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the hash of tensors by name, and of what is said of them."""
    told = {name: value for name, value in sorted(metadata.items()) if name != SHA256}
    digest = hashlib.sha256(json.dumps(told).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def damage_of_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str | None:
    """Return what is wrong with tensors that were read, in words; null: nothing. Those of others have no hash."""
    if metadata.get(SHA256, "") not in ("", tensors_sha256(tensors, metadata)):
        return "is damaged: its tensors are not those that were written"
    if names := [name for name, tensor in tensors.items() if not is_usable(tensor)]:
        return f"holds values that are no numbers, or infinite, in {names[0]} ({len(names)} of {len(tensors)} tensors)"
    return None


def is_usable(tensor: Tensor) -> bool:
    """Return whether no value is nan or infinite; MINE's average alone is -inf, before its first batch."""
    return bool((tensor < torch.inf).all())


def sealed_json(values: Mapping[str, Any]) -> str:
    """Return values as the text of a JSON file, with its own hash as the last key."""
    digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()
    return json.dumps({**values, SHA256: digest}, indent=1) + "\n"


def is_sealed_well(values: dict[str, Any]) -> bool:
    """Take the hash out of values that were read; return whether it is theirs. Those of others have none."""
    digest = values.pop(SHA256, None)
    return digest is None or digest == hashlib.sha256(json.dumps(values).encode()).hexdigest()
