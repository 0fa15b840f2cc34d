"""Fill in the group column of a manifest: faces alike enough to be one person's, by an embedder.

Embeddings are kept beside the manifest, `ckplus.embeddings/<key>-00000.parquet`, a file for every 1,000 faces, so that
an interrupted run goes on and another threshold costs nothing. The key is the hash of what they depend on.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fertools.errors import FertoolsError
from fertools.folds.identities import clustering
from fertools.folds.identities.embed import Embedder
from manifests import faces as crops
from manifests import files
from manifests.errors import ManifestError
from manifests.lock import manifest_writer
from manifests.parquet import again, atomic_parquet, check_whole, read_table

CHUNK = 1000  # faces of a file
BATCH = 100  # faces that an embedder gets at once
Progress = Callable[[int, int], None]  # faces embedded, faces in all


class GroupError(FertoolsError):
    """Faces that cannot be grouped."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """What a manifest says of its groups."""

    embedder: str
    weights_sha256: str
    licence: str  # of the embedder
    embeddings: str  # key of their files
    threshold: float  # mean cosine that joins two groups
    chosen: bool  # by the user; else from how alike strangers are
    faces: int
    groups: int
    largest: int
    single: int  # faces alone in their group
    purity: float  # estimate of B-cubed precision, from how far groups stand apart
    agreement: dict[str, float] | None  # B-cubed with the published people, of the faces that have one


def group(
    manifest: Path,
    embedder: Embedder,
    threshold: float | None = None,
    progress: Progress = lambda *_: None,
) -> Groups:
    """Group the usable faces of a manifest by who they seem to show; its subjects are left as they are.

    Args:
        manifest: of which dataset.
        embedder: that tells people apart.
        threshold: mean cosine that joins two groups; null: chosen from how alike strangers are.
        progress: called with faces embedded and faces in all.

    Raises:
        GroupError: fewer than two usable faces.
        ManifestError: something cannot be written, or another process writes it.
    """
    with manifest_writer(manifest):
        faces, metadata = files.read(manifest), files.read_metadata(manifest)
        rows = np.flatnonzero(np.array(faces["usable"]))
        if len(rows) < 2:
            raise GroupError(f"{manifest}: {len(rows)} usable face(s); nothing to group")
        made_from = [crops.recorded_sha256(manifest), embedder.sha256, len(rows)]
        key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
        _embed(manifest, rows, embedder, key[:16], progress)
        vectors = _read(manifest, key[:16]).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # they are stored in half precision
        level = threshold if threshold is not None else clustering.choose_threshold(vectors, np.random.default_rng(0))
        labels = clustering.group(vectors, level)
        sizes = np.bincount(labels)
        made = Groups(
            embedder=embedder.name, weights_sha256=embedder.sha256, licence=embedder.licence, embeddings=key[:16],
            threshold=round(level, 4), chosen=threshold is not None, faces=len(rows), groups=len(sizes),
            largest=int(sizes.max()), single=int((sizes == 1).sum()),
            purity=round(clustering.purity(vectors, labels, level), 4), agreement=_agreement(faces, rows, labels),
        )  # fmt: skip
        names: list[str | None] = [None] * len(faces)
        dataset = faces["dataset"][0].as_py()
        for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
            names[row] = f"{dataset}/group{label + 1:06d}"
        files.write_column(manifest, "group", names, metadata | {"groups": asdict(made)})
        return made


def _agreement(faces: pa.Table, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[str, float] | None:
    subjects = faces["subject"].take(pa.array(rows)).combine_chunks().dictionary_encode().indices.fill_null(-1)
    people = subjects.to_numpy(zero_copy_only=False)
    known = people >= 0
    return asdict(clustering.agreement(labels[known], people[known])) if known.any() else None


# --- embeddings beside the manifest


def _paths(manifest: Path, key: str) -> list[Path]:
    return sorted(manifest.with_suffix(".embeddings").glob(f"{key}-*.parquet"))


def _embed(manifest: Path, rows: NDArray[np.int64], embedder: Embedder, key: str, progress: Progress) -> None:
    """Write the embeddings that are not there yet; those of another embedder or preparation are removed."""
    folder = manifest.with_suffix(".embeddings")
    kept = {path for path in _paths(manifest, key) if _is_whole(path)}
    for path in folder.glob("*.parquet"):
        if path not in kept:
            path.unlink()
    for number, at in enumerate(range(0, len(rows), CHUNK)):
        progress(at, len(rows))
        path = folder / f"{key}-{number:05d}.parquet"
        if path in kept:
            continue
        pixels = files.read_images(manifest, rows[at : at + CHUNK], files.read_crop(manifest).least)
        vectors = np.concatenate([embedder(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), vectors.shape[1])
        table = pa.table({"row": rows[at : at + CHUNK], "vector": column})
        with atomic_parquet(path, table.schema, {"embedder": embedder.name}) as writer:
            writer.write_table(table)
    progress(len(rows), len(rows))


def _is_whole(path: Path) -> bool:
    try:
        check_whole(path)
    except ManifestError:
        return False
    return True


def _read(manifest: Path, key: str) -> NDArray[np.float16]:
    """Return the embeddings of the usable faces, in row order."""
    parts = [read_table(path)["vector"].combine_chunks() for path in _paths(manifest, key)]
    return np.concatenate([part.flatten().to_numpy().reshape(len(part), -1) for part in parts])


def stored(manifest: Path, metadata: dict[str, Any], num_rows: int) -> NDArray[np.float16] | None:
    """Return the embeddings that the groups were made of, one a row (0: not usable); null: there are none."""
    key = metadata.get("groups", {}).get("embeddings")
    if key is None or not (paths := _paths(manifest, key)):
        return None
    for path in paths:
        with again(f"fertools group {manifest.stem}"):
            check_whole(path)
    vectors = _read(manifest, key)
    rows = np.concatenate([read_table(path, ["row"])["row"].to_numpy() for path in paths])
    placed = np.zeros((num_rows, vectors.shape[1]), np.float16)
    placed[rows] = vectors
    return placed


def describe(made: Groups) -> str:
    """Return groups as lines to read."""
    how = "as asked" if made.chosen else "from how alike strangers are"
    lines = [
        f"  {made.faces} faces in {made.groups} groups, {made.single} of them alone; the largest has {made.largest}",
        f"  mean cosine of a group at least {made.threshold:.3f}, {how}",
        f"  estimated B-cubed precision {made.purity:.3f}, from how far groups stand apart",
    ]
    if made.agreement:
        found = made.agreement
        lines.append(
            f"  with the published people: B-cubed precision {found['precision']:.3f}, recall {found['recall']:.3f}, "
            f"F1 {found['f1']:.3f}"
        )
    return "\n".join(lines)
