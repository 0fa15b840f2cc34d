"""The one way to write a file: it appears under its name when it is complete and on the disk, or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from manifests.errors import WriteError

SUFFIX = ".part"  # of a file that is not complete yet


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the target's folder, which is made; it gets the target's name at the end.

    File and folder are flushed to the disk, so that after a power cut there is the old file or the new one. The name is
    unique: writers of the same target do not mix, the last one counts.

    Raises:
        WriteError: it cannot be written: a full disk, a folder that is read only. What was there stays.
    """
    temporary = path.with_name(temporary_name(path.name))
    with writing(path):
        try:
            make_folder(path.parent)
            yield temporary
            _flush(temporary)
            rename(temporary, path)
        finally:
            with suppress(OSError):  # of a folder that could not be made
                temporary.unlink(missing_ok=True)


def rename(source: Path, target: Path) -> None:
    """Give a file that is on the disk another name in its folder, and wait until that is on the disk, too.

    Raises:
        OSError: it cannot be renamed.
    """
    source.replace(target)
    _flush(target.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing, and wait until they are on the disk.

    Raises:
        OSError: it cannot be made.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        _flush(path.parent)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file; text is encoded in UTF-8.

    Raises:
        WriteError: it cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the system into a WriteError that names the path and says what to do.

    Raises:
        WriteError: a full disk, a folder that is read only.
    """
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written ({error.strerror or error}); what was there before is as it was. Free space, or "
            "mend what else is wrong, or name another folder, and run the same command again"
        ) from error


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Remove the temporary files that dead writers left in a folder, of some targets or of all.

    Only for who holds the folder's lock (see lock.py): those of a writer at work would go, too.

    Args:
        folder: where they lie; none where there is none.
        name: of the target, as a pattern.
    """
    for left in folder.glob(f".{name}.????????{SUFFIX}"):
        left.unlink(missing_ok=True)


def temporary_name(name: str) -> str:
    """Return a hidden name that no other writer uses."""
    return f".{name}.{secrets.token_hex(4)}{SUFFIX}"


def flush_below(folder: Path) -> None:
    """Wait until all that is below a folder is on the disk.

    Raises:
        OSError: the disk refuses.
    """
    for path in (*folder.rglob("*"), folder):
        _flush(path)


def _flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk; not every system can do folders."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
