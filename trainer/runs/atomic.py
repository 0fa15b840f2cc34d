"""Files that appear under their name only when they are complete; what cannot be written is said in one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from trainer.errors import TrainerError


class WriteError(TrainerError):
    """A file that cannot be written."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say of what cannot be written what to do.

    Raises:
        WriteError: a full disk, a folder that is read only.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WriteError(
            f"{path} cannot be written ({reason}); what was there before is as it was. Free space, or mend what else "
            "is wrong, and run the same command again"
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write a file under; it appears under its own when it is complete.

    Raises:
        WriteError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with writing(path):
            yield part
            part.replace(path)
    finally:
        with suppress(OSError):  # of a folder that is not there
            part.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole.

    Raises:
        WriteError: it cannot be written.
    """
    with whole_file(path) as part:
        part.write_text(text)


def write_tensors(tensors: dict[str, Tensor], part: Path, about: dict[str, str]) -> None:
    """Write tensors under a temporary name, so that they outlast a power cut once they are renamed.

    `save_file` makes a file of its owner alone, under a name by chance that a kill leaves behind: both is mended here.
    """
    for left in part.parent.glob(".tmp??????"):
        left.unlink()
    part.touch()
    mode = part.stat().st_mode
    save_file(tensors, part, about)
    part.chmod(mode)
    with part.open("rb") as file:
        os.fsync(file.fileno())
