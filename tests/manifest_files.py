"""What tests do with the files of a manifest."""

import shutil
from pathlib import Path

import pyarrow as pa

from fertools.folds.make_folds import make_folds
from manifests import faces, files, schema


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


def official_of_nobody(manifest, target):
    """Write a manifest anew as one of an official split in which nobody is named; return where."""
    table = files.read(manifest, images=True)
    for name, values in {
        "subject": [None] * len(table), "sequence": [None] * len(table), "fold": [None] * len(table),
        "split": ["test" if row < 12 else "train" for row in range(len(table))],
    }.items():  # fmt: skip
        field = schema.FACES.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    files.write([table], target, files.read_metadata(manifest))
    make_folds(target, 4, "standardize", seed=0, by="official")
    return target
