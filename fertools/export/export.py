"""A manifest to what others read: Parquet for Hugging Face, WebDataset tars, or a folder of images with a CSV.

Each comes with a card (README.md) and Croissant metadata. Memory: one row group, all rows without their pixels, and
a fold's pairs.
"""

import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fertools.errors import FertoolsError
from fertools.export import croissant
from fertools.export.formats import FORMATS, PARTS, Exported, Part
from manifests import faces as crops
from manifests import files, schema
from manifests.lock import whole_folder
from manifests.parquet import atomic_parquet
from manifests.provenance import commit

PAIRS = pa.schema([("epoch", pa.int16()), ("anchor", pa.string()), ("partner", pa.string())])
EXPORTED = (*schema.PREPARED, "title", "source", "command", "fertools", "detector")  # what a card says
CHUNK = 10_000  # faces without pixels, or pairs, that are written at once
Progress = Callable[[int, int], None]  # faces done, faces in all


class ExportError(FertoolsError):
    """An export that cannot be made as asked."""


def export(
    manifest: Path,
    out: Path,
    form: str,
    today: datetime.date,
    *,
    pixels: bool = False,
    fold: int | None = None,
    progress: Progress = lambda *_: None,
) -> Exported:
    """Write a manifest as a folder in another format, whole or not at all.

    The parts are those of a fold, or of the official split, or there is one, train. What takes no part (no face
    found, no expression, no fold or split) is the part `rest`.

    Args:
        manifest: of which dataset.
        out: the folder to make.
        form: hf, webdataset or folder.
        today: the date of publication, which Croissant asks for.
        pixels: take the images too, under the terms of their dataset.
        fold: that tests; with it come the pairs of its training part.
        progress: called with the number of faces written and of all.

    Raises:
        ExportError: something is in the way.
        ManifestError: no such fold, pairs of other rows, or something that cannot be written.
    """
    metadata, faces = files.read_metadata(manifest, EXPORTED), files.read(manifest)
    parts_by, parts = _parts(faces, metadata, fold)
    counts = {part: _count(faces.filter(parts == part)) for part in PARTS if part in parts}
    _refuse_what_is_there(out.resolve())
    with whole_folder(out.resolve()) as folder:
        pictures = schema.crop_of(metadata) if pixels else None
        with FORMATS[form](folder, {part: count.faces for part, count in counts.items()}, pictures) as write:
            for first, chunk in _chunks(manifest, faces, pixels):
                mine = parts[first : first + len(chunk)]
                for part in counts:
                    write(part, chunk.filter(mine == part))
                progress(first + len(chunk), len(faces))
        exported = Exported(
            dataset=manifest.stem, format=form, out=str(out), pixels=pixels, fold=fold, parts_by=parts_by, parts=counts,
            pairs=_write_pairs(manifest, faces, fold, folder) if fold else 0, rows_sha256=_sha256(faces),
        )  # fmt: skip
        told = croissant.describe(folder, exported, metadata, terms(metadata), today)
        (folder / "croissant.json").write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(_card(exported, metadata), encoding="utf-8")
    return exported


def _refuse_what_is_there(out: Path) -> None:
    """Raise ExportError where the folder is there and not empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        found = f"holds {', '.join(sorted(path.name for path in out.iterdir())[:5])}" if out.is_dir() else "is a file"
        raise ExportError(f"{out} {found}; remove it, or name another folder with --out")


def _parts(faces: pa.Table, metadata: dict[str, Any], fold: int | None) -> tuple[str, NDArray[np.str_]]:
    """Return where the parts come from, and the part of every face."""
    parts = np.full(len(faces), "rest", dtype="<U10")
    if fold is not None:
        for part, rows in schema.parts(faces, fold).items():
            parts[rows] = part
        rule = metadata.get("folds", {}).get("rule", "hand")
        return f"fold {fold} tests, the next one validates; folds by {rule}", parts
    official = faces["split"].drop_null()
    if unknown := set(pc.unique(official).to_pylist()) - set(PARTS[:3]):
        raise ExportError(f"the manifest has an official split {min(unknown)!r}; known: {', '.join(PARTS[:3])}")
    expressed = np.array(pc.is_valid(faces["expression"]))
    taken = np.array(faces["usable"]) & (expressed | (not expressed.any()))  # sets of faces have no expressions
    where = np.array(faces["split"].fill_null("rest").to_pylist() if len(official) else ["train"] * len(faces))
    parts[taken] = where[taken]
    return ("the official split" if len(official) else "no split is published; all of it is train"), parts


def _count(faces: pa.Table) -> Part:
    expressions = Counter(faces["expression"].drop_null().to_pylist())
    return Part(
        faces=len(faces), subjects=len(pc.unique(faces["subject"].drop_null())),
        expressions=dict(sorted(expressions.items())),
    )  # fmt: skip


def _chunks(manifest: Path, faces: pa.Table, pixels: bool) -> Iterator[tuple[int, pa.Table]]:
    """Yield the faces of a manifest, some thousand at most at a time, each chunk with its first row."""
    first, field = 0, schema.FACES.field("image")
    if not pixels:
        yield from ((first, faces.slice(first, CHUNK)) for first in range(0, len(faces), CHUNK))
        return
    for images in crops.stored(manifest, np.arange(len(faces))):
        yield first, faces.slice(first, len(images)).append_column(field, images)
        first += len(images)


def _write_pairs(manifest: Path, faces: pa.Table, fold: int, folder: Path) -> int:
    """Write the pairs of a fold's training part by the faces' ids, where pairs were drawn; return how many."""
    drawn = files.pairs_path(manifest)
    if not drawn.exists():
        return 0
    pairs = files.read_pairs(manifest, fold, faces)
    ids, num_pairs = faces["face_id"].combine_chunks(), len(pairs["epoch"])
    if not num_pairs:
        return 0
    with atomic_parquet(folder / "pairs.parquet", PAIRS, {}) as writer:
        for first in range(0, num_pairs, CHUNK):
            epoch, *sides = (pa.array(pairs[name][first : first + CHUNK]) for name in ("epoch", "anchor", "partner"))
            writer.write_table(pa.table([epoch, *map(ids.take, sides)], schema=PAIRS))
    return num_pairs


def _sha256(faces: pa.Table) -> str:
    """Return the hash of what was exported, for its version: of the columns that pairs are made from."""
    return hashlib.sha256(json.dumps(files.pairs_source(faces)).encode()).hexdigest()


def terms(metadata: dict[str, Any]) -> str:
    """Return under which terms the images of a manifest may be used."""
    title = metadata.get("title", "a dataset that is not named")
    if metadata["summary"]["drawn"]:
        return f"Faces drawn by code (fertools draw), a stand-in for {title}: not the dataset, and they show nobody."
    return f"{title}. Licence: {metadata.get('licence', 'not known')}. Source: {metadata.get('source', 'not known')}"


def command(exported: Exported) -> str:
    """Return the command that makes an export."""
    options = " --pixels" * exported.pixels + (f" --fold {exported.fold}" if exported.fold else "")
    return f"fertools export {exported.dataset} --format {exported.format}{options}"


def _card(exported: Exported, metadata: dict[str, Any]) -> str:
    """Return the dataset card."""
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    known = {name for part in exported.parts.values() for name in part.expressions}
    return environment.from_string(Path(__file__).with_name("card.md").read_text(encoding="utf-8")).render(
        exported=exported, metadata=metadata, terms=terms(metadata), command=command(exported), commit=commit(),
        drawn=metadata["summary"]["drawn"], crop=schema.crop_of(metadata),
        expressions=[name for name in schema.EXPRESSIONS if name in known],
        columns=[
            {"name": field.name, "type": field.type}
            | {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
            for field in (schema.FACES if exported.pixels and exported.format == "hf" else schema.ROWS)
        ],
    )  # fmt: skip


def describe(exported: Exported) -> str:
    """Return an export as lines to read."""
    lines = [f"{exported.out}: {exported.format}, {'with pixels' if exported.pixels else 'without pixels (--pixels)'}"]
    lines.append(f"  parts: {exported.parts_by}")
    for name, part in exported.parts.items():
        counts = ", ".join(f"{expression} {count}" for expression, count in part.expressions.items())
        lines.append(f"  {name:<10} {part.faces:>7} faces of {part.subjects} people: {counts or 'no expression'}")
    if exported.pairs:
        lines.append(f"  {exported.pairs} pairs of the training part")
    return "\n".join(lines)
