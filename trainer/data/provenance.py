"""What a run reads of a manifest, by hash: each thing under its own name, so that a refusal names what differs."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from manifests import faces as crops
from manifests import files
from manifests.parquet import read_table
from manifests.provenance import column_hashes, differing, file_sha256

COLUMNS = ("face_id", "usable", "expression", "subject", "sequence", "split", "fold")


def faces_read(manifest: Path, columns: tuple[str, ...] = COLUMNS) -> dict[str, str]:
    """Return the hashes of a manifest's crops and of some of its columns.

    Raises:
        ManifestError: no manifest, one of another version, or crops that are not those that were prepared.
    """
    status, faces = manifest.stat(), crops.sha256(manifest)
    state = status.st_ino, status.st_size, status.st_mtime_ns
    return {"faces": faces} | _column_hashes(manifest.absolute(), columns, *state)


@lru_cache(maxsize=64)
def _column_hashes(manifest: Path, columns: tuple[str, ...], *_: int) -> dict[str, str]:
    return column_hashes(read_table(manifest, columns), columns)


def pairs_read(manifest: Path) -> dict[str, str]:
    """Return the hashes of the same, and of the pairs."""
    return faces_read(manifest) | {"pairs": file_sha256(files.pairs_path(manifest))}


def whitening_read(manifest: Path, fold: int, kind: str) -> dict[str, str]:
    """Return the hash of a fold's whitening statistics; of a kind that has none, the kind."""
    return {"whitening": file_sha256(files.whitening_path(manifest, fold)) if kind == "zca" else kind}


def changed(provenance: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of what a run read that differs now.

    Args:
        provenance: of the run.
        now: hashes by name, all or some of what it read.
    """
    return differing(provenance["data"].get("read", {}), now)
