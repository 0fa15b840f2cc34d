"""One writer at a time: a command that writes a manifest or a run holds its lock. Whoever only reads never waits.

The lock is the system's, on a hidden file beside what is written: it is free again as soon as its owner has ended,
however that came. The file says who holds it, and is removed with the lock.
"""

import errno
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from manifests.atomic import SUFFIX, flush_below, make_folder, remove_leftovers, rename, writing
from manifests.errors import LockedError
from manifests.text import printable

MOMENT = 0.2  # s: for an owner that is just ending
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)  # of a file system


@contextmanager
def only_writer(path: Path, lock: Path, patience: float = MOMENT) -> Iterator[bool]:
    """Hold the lock of what is written; yield whether it was not held by this process already.

    Where a file system has no locks, stderr is told so, and the work goes on.

    Args:
        path: a manifest, or the folder of a run, for the words of a refusal.
        lock: the file of its lock, whose folder is made.
        patience: how long another owner is waited for, s.

    Raises:
        LockedError: another process holds it.
        WriteError: its file cannot be made.
    """
    held = FileLock(lock, is_singleton=True, fallback_to_soft=False)
    outermost = not held.is_locked
    with writing(path):
        lock.parent.mkdir(parents=True, exist_ok=True)
        _acquire(held, path, lock, patience)
    try:
        if outermost and held.is_locked:
            _sign(lock)
        yield outermost
    finally:
        if outermost and held.is_locked:
            with suppress(OSError):  # of a system that keeps files which are open
                lock.unlink()
        if held.is_locked:
            held.release()


@contextmanager
def manifest_writer(manifest: Path) -> Iterator[None]:
    """Be the only one who writes a manifest and what stands beside it; what dead writers left there is removed.

    Raises:
        LockedError: another process writes it.
        WriteError: the folder cannot be written.
    """
    with only_writer(manifest, manifest.with_name(f".{manifest.stem}.lock")) as outermost:
        if outermost:
            for name in (f"{manifest.stem}.*", f".{manifest.stem}.*"):
                remove_leftovers(manifest.parent, name)
            for beside in ("faces", "whitening", "augmented", "embeddings"):
                remove_leftovers(manifest.with_suffix(f".{beside}"))
        yield


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to write to; it gets the name, in place of what is there, when it is complete and on the disk.

    Raises:
        LockedError: another process writes it.
        WriteError: it cannot be written: a full disk, a folder that is read only. What was there stays.
    """
    part, before = (out.with_name(f".{out.name}.{kind}{SUFFIX}") for kind in ("new", "old"))
    with only_writer(out, out.with_name(f".{out.name}.lock")), writing(out):
        _remove(part, before)  # left by a process that was killed
        try:
            make_folder(part)
            yield part
            flush_below(part)
            if out.exists():
                rename(out, before)
            rename(part, out)
        finally:
            if before.exists() and not out.exists():
                with suppress(OSError):
                    before.rename(out)
            _remove(part, before)


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _acquire(held: FileLock, path: Path, lock: Path, patience: float) -> None:
    try:
        held.acquire(timeout=patience)
    except Timeout:
        raise LockedError(
            f"{printable(path)} is being written by {_owner(lock)}; wait until that has ended, or end it, and run the "
            "same command again"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(
            f"the file system of {printable(path)} has no locks: make sure that no second command writes there",
            file=sys.stderr,
        )


def _sign(lock: Path) -> None:
    """Write into a lock's file who holds it."""
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    owner = {"pid": os.getpid(), "host": platform.node(), "command": printable(" ".join(command))}
    with suppress(OSError):  # of a full disk: the lock holds without a name
        lock.write_text(json.dumps(owner))


def _owner(lock: Path) -> str:
    """Return who holds a lock, in words."""
    try:
        owner = json.loads(lock.read_text())
        return f"process {owner['pid']} on {printable(owner['host'])} ({printable(owner['command'])})"
    except (OSError, ValueError, KeyError, TypeError):  # it has not signed yet
        return "another process"
