"""What commands cost before they begin: processor seconds of a fresh process, of this tree and of another beside it.

    python benchmarks/startup.py --before OTHER_CHECKOUT --run RUN --photograph PHOTO --manifests MANIFESTS

Medians of five, the trees in turn, after one run each that is not counted: it leaves bytecode in a folder of its own.
Both trees run in the environment of the python that runs this, on one thread.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from trainer.runs.made_by import made_by

ROOT = Path(__file__).parent.parent
ROUNDS = 5
PACKAGES = ("torch", "torchvision", "facenet-pytorch", "typer", "rich", "numpy", "pyarrow")
CODE = ("fertools/cli.py", "trainer/cli", "trainer/inference", "trainer/methods/__init__.py")
YARDSTICKS = {"import typer, rich": "import typer, rich", "import torch": "import torch"}


def jobs(tree: Path, predict: list[str]) -> dict[str, str]:
    """Return the code of each job by its name."""
    trainer = "trainer.cli.main" if (tree / "trainer/cli/main.py").exists() else "trainer.cli"
    return {
        "fertools --help": "from fertools.cli import app; app(['--help'])",
        "trainer --help": f"from {trainer} import app; app(['--help'])",
        "trainer methods": f"from {trainer} import app; app(['methods'])",
        "trainer predict, one photograph": f"from {trainer} import app; app({predict!r})",
        "import trainer": "import trainer",
    }


def seconds(code: str, tree: Path, bytecode: Path) -> float:
    """Return the processor seconds, user and system, of a fresh process that runs code in a tree."""
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    paths = {"PYTHONPATH": str(tree), "PYTHONPYCACHEPREFIX": str(bytecode), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], cwd=tree, env=kept | paths, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(trees: dict[str, Path], predict: list[str], scratch: Path) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of every job on every tree, and of the yardsticks, which are no tree's."""
    found: dict[str, dict[str, list[float]]] = {}
    for turn in range(ROUNDS + 1):
        for name, code in YARDSTICKS.items():
            found.setdefault(name, {}).setdefault("now", []).append(seconds(code, scratch, scratch / "yardsticks"))
        for which, tree in trees.items():
            for name, code in jobs(tree, predict).items():
                taken = seconds(code, tree, scratch / which)
                found.setdefault(name, {}).setdefault(which, []).append(taken)
        print(f"{turn}/{ROUNDS}", file=sys.stderr)
    return {name: {which: taken[1:] for which, taken in by.items()} for name, by in found.items()}


def main() -> None:
    """Measure, print a table and write docs/results/startup.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="another checkout")
    for name in ("run", "photograph", "manifests"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/startup.json")
    asked = parser.parse_args()
    run, photograph, manifests = (path.resolve() for path in (asked.run, asked.photograph, asked.manifests))
    predict = ["predict", str(run), str(photograph), "--manifests", str(manifests)]
    with tempfile.TemporaryDirectory() as scratch:
        taken = measure({"before": asked.before.resolve(), "now": ROOT}, predict, Path(scratch))
    rows = {
        name: {which: round(statistics.median(values), 3) for which, values in by.items()}
        | {f"{which} range": [round(min(values), 3), round(max(values), 3)] for which, values in by.items()}
        for name, by in taken.items()
    }
    result = {
        "what": "processor seconds (user + system) of a fresh process, medians of five, trees in turn, bytecode there",
        "made": made_by({}, parts=CODE),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "jobs": rows,
    }
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in rows.items():
        print(f"{name:34} {row.get('before', '')!s:>8} -> {row['now']}")


if __name__ == "__main__":
    main()
