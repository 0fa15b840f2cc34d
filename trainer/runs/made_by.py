"""What made a result: code, commit, processor and date; and which results are older than the code they describe."""

import ast
import hashlib
import io
import json
import platform
import tokenize
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from manifests.provenance import commit

ROOT = Path(__file__).parent.parent.parent
CODE = (  # what the numbers of a run come from; commands, tables and pages change none
    "fertools/drawn", "fertools/faces", "fertools/folds", "trainer/data", "trainer/evaluation/evaluate.py",
    "trainer/evaluation/metrics", "trainer/methods", "trainer/networks", "trainer/training",
)  # fmt: skip
CPUINFO = Path("/proc/cpuinfo")  # Linux
NOT_RECORDED = "the code that made it is not recorded"


def code_digests(parts: Iterable[str] = CODE, root: Path = ROOT) -> dict[str, str]:
    """Return a hash of each part of the code, a folder or a file; comments, docstrings and empty lines do not count."""
    return {part: _digest(root, part) for part in parts}


@cache
def _digest(root: Path, part: str) -> str:
    found, folder = hashlib.sha256(), root / part
    for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
        source = effective(path.read_text(encoding="utf-8")) if path.exists() else ""
        found.update(f"{path.relative_to(root).as_posix()}\n{source}\n".encode())
    return found.hexdigest()[:16]


def effective(source: str) -> str:
    """Return Python source without its comments, docstrings and empty lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            lines[first.lineno - 1 : first.end_lineno] = [""] * (1 + (first.end_lineno or 0) - first.lineno)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def processor() -> dict[str, Any]:
    """Return the processor's model and the instruction set that torch uses of it."""
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return {
        "model": models[0] if models else platform.processor() or platform.machine(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }


def made_by(
    options: Mapping[str, object], provenances: Iterable[dict[str, Any]] = (), parts: Iterable[str] = CODE
) -> dict[str, Any]:
    """Return what makes a result now.

    Args:
        options: what was asked for, by name; a value that is None or empty is left out.
        provenances: of the runs that it is of; `code` is theirs, and None where it is not the same in all.
        parts: of the code, where it is of no runs: it is made by them as they are.
    """
    known = list(provenances)
    codes = {json.dumps(provenance.get("code")) for provenance in known} or {json.dumps(code_digests(parts))}
    return {
        "date": datetime.now(UTC).date().isoformat(), "commit": commit(), "processor": processor(),
        "threads": torch.get_num_threads(),
        "options": {name: _shown(value) for name, value in options.items() if value not in (None, (), "", False)},
        "runs": {
            "number": len(known),
            "commits": sorted({provenance.get("commit") or "unknown" for provenance in known}),
            "devices": sorted({provenance.get("device", "unknown") for provenance in known}),
        },
        "code": json.loads(codes.pop()) if len(codes) == 1 else None,
    }  # fmt: skip


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def stale(results: Path, root: Path = ROOT) -> dict[str, list[str]]:
    """Return the result files below a folder that are older than the code they describe.

    Returns:
        path below the folder -> the parts of the code that changed since, or that none was recorded.
    """
    found = {}
    for path in sorted(results.rglob("*.json")):
        made = json.loads(path.read_text())
        then = (made.get("made") or {}).get("code") if isinstance(made, dict) else None
        changed = [part for part, digest in then.items() if _digest(root, part) != digest] if then else [NOT_RECORDED]
        if changed:
            found[path.relative_to(results).as_posix()] = changed
    return found
