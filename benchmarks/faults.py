"""Every change of a disk fails in turn while a command works: is anything half written, lost, or told as a traceback?

An open for writing, a write, a sync, a rename or a removal fails with ENOSPC, EIO or EINTR, once or from there on
(tests/faults.c before libc). Afterwards each file is what it was or what it comes to, and the same command, run again,
ends with the bytes of a run that nothing disturbed, or the command has said in one sentence what to do.

    PYTHONPATH=tests python benchmarks/faults.py --work FOLDER
"""

import argparse
import json
from pathlib import Path
from typing import Any

from conftest import write_patterns
from failing_disk import on_a_failing_disk

from fertools.drawn.corpus import draw
from manifests.atomic import write_atomic
from manifests.schema import DEFAULT_CROP
from trainer.runs.made_by import made_by

CODE = ("manifests", "fertools/preparation", "fertools/folds", "fertools/export", "trainer/runs", "trainer/training",
        "trainer/inference")  # fmt: skip


def tried(work: Path, num_faults: int) -> dict[str, Any]:
    """Return what was tried of each command; a file that is half written ends this with an error."""
    raw, manifests = work / "raw", work / "manifests"
    draw(raw, 8, seed=0, workers=1, dataset="affectnet")
    manifests.mkdir()
    manifest = write_patterns(manifests, DEFAULT_CROP)
    found: dict[str, Any] = {}
    for names, function, arguments in (
        (["fertools prepare"], "preparation", (raw, work / "prepared")),
        (["fertools export"], "export", (raw, work / "exported")),
        (["trainer fit", "trainer export"], "training", (manifest, work / "runs")),
        (["fertools make-folds"], "folds", (manifest,)),
    ):
        rows = on_a_failing_disk(function, work, *arguments, num_faults)
        found |= dict(zip(names, rows, strict=True))
        print({name: found[name] for name in names}, flush=True)
    return found


def main() -> None:
    """Try, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--num-faults", type=int, default=0, help="of each command; 0: every change fails once")
    parser.add_argument("--out", type=Path, default=Path("docs/results/faults.json"))
    options = parser.parse_args()
    options.work.mkdir(parents=True)
    made = {
        "made": made_by({"num_faults": options.num_faults}, parts=CODE),
        "command": f"PYTHONPATH=tests python benchmarks/faults.py --work FOLDER --num-faults {options.num_faults}",
        "commands": tried(options.work.absolute(), options.num_faults),
    }
    write_atomic(options.out, json.dumps(made, indent=1) + "\n")
    print(options.out)


if __name__ == "__main__":
    main()
