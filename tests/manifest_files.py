"""What tests do with the files of a manifest."""

import shutil
from pathlib import Path

from manifests import faces, files


def copy_manifest(manifest: Path, to: Path) -> Path:
    """Copy the rows, crops and pairs of a manifest to another path, which is returned."""
    to.parent.mkdir(exist_ok=True)
    shutil.copy(manifest, to)
    shutil.copytree(faces.folder(manifest), faces.folder(to))
    shutil.copy(files.pairs_path(manifest), files.pairs_path(to))
    return to


def bytes_of(manifest: Path) -> dict[str, bytes]:
    """Return the bytes of the rows and the crops of a manifest, by name."""
    return {path.name: path.read_bytes() for path in (manifest, *faces.folder(manifest).iterdir())}


def with_column(manifest: Path, name: str, values: list) -> None:
    """Replace a column of a manifest, and nothing of what it says of itself."""
    files.write_column(manifest, name, values, files.read_metadata(manifest))
