"""Is a manifest whole? Every byte of it and of what stands beside it is read and held against hash, seal and rules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from manifests import faces as crops
from manifests import files, schema
from manifests.errors import ManifestError
from manifests.parquet import check_whole, open_file

Progress = Callable[[int, int], None]  # files read, files in all


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A file that is not what was written, or not of these rows."""

    file: str
    found: str  # with the rows, where these can be told
    command: str  # that makes it again


@dataclass(frozen=True, kw_only=True)
class Wholeness:
    """What was found in a manifest."""

    manifest: str
    files: int  # that were read
    rows: int | None  # null: they cannot be read
    damage: list[Damage]


def examine(manifest: Path, progress: Progress = lambda *_: None) -> Wholeness:
    """Read a manifest, its crops, pairs, whitening, augmented faces and embeddings; name what is damaged."""
    try:
        faces = files.read(manifest)
    except ManifestError as error:  # without rows nothing beside them can be judged
        found = [Damage(file=str(manifest), found=str(error), command=crops.prepare(manifest))]
        return Wholeness(manifest=str(manifest), files=1, rows=None, damage=found)
    checks = [*_of_crops(manifest), *_of_folds(manifest, faces), *_of_augmented(manifest, faces), *_of_groups(manifest)]
    damage = []
    for done, (path, command, check) in enumerate(checks, 1):
        try:
            check()
        except ManifestError as error:
            damage.append(Damage(file=str(path), found=str(error), command=f"{command} {manifest.stem}"))
        progress(done, len(checks))
    return Wholeness(manifest=str(manifest), files=1 + len(checks), rows=len(faces), damage=damage)


Check = tuple[Path, str, Callable[[], object]]  # a file, the command that makes it again, what reads it


def _of_crops(manifest: Path) -> Iterator[Check]:
    first = 0
    for part in crops.parts(manifest):
        path = crops.folder(manifest) / part.name
        yield path, "fertools prepare", partial(_check_part, manifest, part, first)
        first += part.rows


def _check_part(manifest: Path, part: crops.Part, first: int) -> None:
    """Raise ManifestError unless a part has the bytes that were prepared; name the rows whose pages are damaged."""
    path = crops.folder(manifest) / part.name
    if not path.exists():
        raise ManifestError(f"{path} is not there: the crops of rows {first} to {first + part.rows - 1}")
    if crops.is_unchanged(manifest, part):
        return
    rows = ", ".join(f"{first + start} to {first + end - 1}" for start, end in _damaged_rows(path))
    raise ManifestError(f"{path} has other bytes than were prepared; crops that cannot be read: rows {rows or 'none'}")


def _damaged_rows(path: Path) -> Iterator[tuple[int, int]]:
    """Yield the ranges of rows of a file whose pages do not match their checksums, the last row excluded."""
    try:
        with open_file(path) as file:
            first = 0
            for group in range(file.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                try:
                    file.read_row_group(group)
                except (pa.ArrowException, OSError):
                    yield first, last
                first = last
    except (pa.ArrowException, OSError):
        return  # its footer is damaged: no row can be told from another


def _of_folds(manifest: Path, faces: pa.Table) -> Iterator[Check]:
    metadata = files.read_metadata(manifest)
    if "folds" not in metadata:
        return
    numbers = range(1, schema.num_folds(faces) + 1)

    def pairs() -> None:
        for fold in numbers:
            files.read_pairs(manifest, fold, faces)

    yield files.pairs_path(manifest), "fertools make-folds", pairs
    for fold in numbers if metadata.get("whitening", {}).get("kind") == "zca" else ():
        path = files.whitening_path(manifest, fold)
        yield path, "fertools make-folds", partial(files.read_whitening, manifest, fold, faces)


def _of_augmented(manifest: Path, faces: pa.Table) -> Iterator[Check]:
    for path in sorted(files.augmented_path(manifest, 1).parent.glob("fold*.parquet")):
        yield (
            path,
            f"fertools augment --fold {path.stem[4:].lstrip('0')}",
            partial(files.check_augmented, path, manifest, faces),
        )


def _of_groups(manifest: Path) -> Iterator[Check]:
    for path in sorted(manifest.with_suffix(".embeddings").glob("*.parquet")):
        yield path, "fertools group", partial(check_whole, path)


def describe(found: Wholeness) -> str:
    """Return what was found as lines to read."""
    rows = "its rows cannot be read" if found.rows is None else f"{found.rows} rows"
    lines = [f"{found.manifest}: {rows}, {found.files} files read, {len(found.damage)} damaged"]
    for damage in found.damage:
        lines += [f"  {damage.found}", f"    make it again: {damage.command}"]
    return "\n".join(lines)
