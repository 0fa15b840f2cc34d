"""Files of runs, written by the one atomic writer; what cannot be written is an error of trainer's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from manifests import atomic, errors
from trainer.errors import TrainerError


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
    for left in temporary.parent.glob(".tmp??????"):
        left.unlink()
    temporary.touch()
    mode = temporary.stat().st_mode
    try:
        save_file(tensors, temporary, metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    temporary.chmod(mode)
