"""Links of a raw folder: by default none is followed out of it; a user may say that they are."""

import os
from pathlib import Path, PosixPath, WindowsPath


class FollowedFolder(WindowsPath if os.name == "nt" else PosixPath):  # type: ignore[misc]
    """A raw folder whose links may lead out of it, as those of DVC, git-annex and Hugging Face's cache do.

    The class is the setting: it goes with the path to every reader, and into every process.
    """


def is_followed(root: Path, path: Path) -> bool:
    """Whether a folder of root is no link, or one that root's links may be."""
    return isinstance(root, FollowedFolder) or not path.is_symlink()


def is_allowed(root: Path, path: Path) -> bool:
    """Whether a path lies below root, or root's links may lead to it.

    Args:
        root: the raw folder.
        path: absolute or from the working directory; links in it are followed to find out.
    """
    if isinstance(root, FollowedFolder):
        return True
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long, a null character
        return False
