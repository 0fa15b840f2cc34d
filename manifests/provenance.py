"""What tells where a result comes from: hashes of files and rows, the commit of the code."""

import hashlib
import json
import subprocess
from pathlib import Path

import pyarrow as pa


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rows_sha256(faces: pa.Table) -> str:
    """Return the hash of who is where: ids, expressions, subjects, sequences, folds and usability, in row order."""
    rows = zip(
        *(faces[name].to_pylist() for name in ("face_id", "expression", "subject", "sequence", "fold", "usable")),
        strict=True,
    )
    return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()


def commit() -> str | None:
    """Return the commit that this code is checked out at, marked -dirty where it was changed; null where installed."""
    top = Path(__file__).parent.parent
    if not (top / ".git").exists():
        return None
    command = ["git", "-C", str(top), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
