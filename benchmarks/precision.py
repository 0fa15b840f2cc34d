"""What bf16, or compilation, changes in the end: accuracy and identity leak over folds, beside those of float32.

The same folds and seeds are trained in each way, in the preset for few faces, for fewer epochs; differences are paired.
Writes docs/results/precision.json: python benchmarks/precision.py --manifest MANIFEST --work FOLDER
"""

import argparse
import dataclasses
import json
import os
import platform
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

from scipy import stats

from trainer.runs.device import environment, pick_device
from trainer.runs.run import Run
from trainer.training.fit import RunSpec, fit, num_folds
from trainer.training.precision import StepRunner

SCORES = {
    "accuracy": ("classification", "accuracy"),
    "macro F1": ("classification", "macro_f1"),
    "identity from E": ("codes", "expression", "identity_probe", "maximum"),
}


def trained_for(run: Run) -> float:
    """Return the seconds that a run's steps have taken."""
    return round(sum(row["seconds"] for row in run.metrics()), 1)


def difference(values: list[float], reference: list[float]) -> dict[str, float | None]:
    """Return the mean of paired differences, and half of its 95 % interval by Student's t, where it has one."""
    apart = [one - other for one, other in zip(values, reference, strict=True)]
    half = float(stats.sem(apart) * stats.t.ppf(0.975, len(apart) - 1)) if len(apart) > 1 else None
    return {"mean": mean(apart), "half of its interval": half}


def main() -> None:
    """Train, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where the runs are kept; what is done is not redone")
    parser.add_argument("--method", default="dicefer")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--set", nargs="*", default=["epochs_expression=40", "epochs_identity=10"])
    parser.add_argument("--folds", type=int, help="how many; else all")
    parser.add_argument("--compile", action="store_true", help="compiled runs, too")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("docs/results/precision.json"))
    arguments = parser.parse_args()
    ways = {"float32": StepRunner("float32"), "bf16": StepRunner("bf16")}
    ways |= {"float32, compiled": StepRunner("float32", True)} if arguments.compile else {}
    folds = range(1, (arguments.folds or num_folds(arguments.manifest)) + 1)
    scores: dict[str, dict[str, list[float]]] = {way: {name: [] for name in SCORES} for way in ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for fold in folds:
        for way, step_runner in ways.items():
            asked = RunSpec(
                manifest=arguments.manifest, method=arguments.method, preset=arguments.preset,
                settings=tuple(arguments.set), epochs=None, fold=fold, seed=0,
            )  # fmt: skip
            asked = dataclasses.replace(asked, step_runner=step_runner)
            runs = arguments.work / way.replace(", ", "-")
            run = fit(asked, runs, pick_device(arguments.device), lambda *_: None)
            seconds[way].append(trained_for(run))
            for name, path in SCORES.items():
                scores[way][name].append(run.value("scores.json", *path))
        print(fold, {way: found["accuracy"][-1] for way, found in scores.items()}, flush=True)
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "where": environment(pick_device(arguments.device)),
        "method": arguments.method, "preset": arguments.preset, "settings": arguments.set, "folds": list(folds),
        "scores": scores, "seconds of steps": seconds,
        "difference to float32": {
            way: {name: difference(scores[way][name], scores["float32"][name]) for name in SCORES}
            for way in ways if way != "float32"
        },
    }  # fmt: skip
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
