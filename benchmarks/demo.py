"""What `make demo` came to: scores of its two runs, and the minutes from its first file to its last.

    make demo && python benchmarks/demo.py          writes docs/results/demo.json

The minutes are the clock's, so that they stand for the machine and for what else it did.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from fertools.drawn import corpus
from trainer.evaluation.reporting import comparison
from trainer.runs.made_by import made_by
from trainer.runs.run import Run

RUNS = ("ckplus-dicefer-demo-fold03-seed0", "ckplus-resnet-demo-fold03-seed0")


def main() -> None:
    """Collect, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="where make demo has worked")
    parser.add_argument("--out", type=Path, default=Path("docs/results/demo.json"))
    asked = parser.parse_args()
    runs = [Run(asked.demo / "runs" / name) for name in RUNS]
    first = min(path.stat().st_mtime for path in (asked.demo / "data").rglob("*") if path.is_file())
    last = (asked.demo / "runs/report.html").stat().st_mtime
    result: dict[str, Any] = {
        "made": made_by({"command": "make demo"}, [run.read_json("provenance.json") for run in runs]),
        "what": "drawn CK+ (seed 0), fold 3, preset demo: one run a method",
        "minutes from the first file to the last": round((last - first) / 60, 1),
        "runs": comparison.table(runs), "comparisons": comparison.comparisons(runs),
    }  # fmt: skip
    corpus.write_whole(asked.out, (json.dumps(result, indent=2) + "\n").encode())
    print(json.dumps(result["runs"], indent=1), result["minutes from the first file to the last"], asked.out)


if __name__ == "__main__":
    main()
