"""Several runs: means and spreads, and whether two methods differ."""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.metrics.statistics import (
    bayesian_correlated_t,
    corrected_resampled_t,
    mcnemar,
    paired_bootstrap,
)
from trainer.evaluation.reporting.budgets import budget_of
from trainer.evaluation.reporting.fairness_rows import over_runs, over_runs_text
from trainer.evaluation.reporting.known_people import over
from trainer.evaluation.reporting.score_rows import CODES
from trainer.evaluation.reporting.tables import FEWEST_RUNS
from trainer.runs.run import Run, RunError

REQUIRED = ("codes", *(f"classification.{name}" for name in ("accuracy", "macro_f1", "correct", "faces")))

# --- means and spreads


def groups_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return runs that differ in fold and seed only, by what they are.

    Raises:
        RunError: one of them is not of faces that show expressions.
    """
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        config = run.read_json("config.json")
        if "fold" not in config:
            raise RunError(f"{run.folder} is a pre-training: it judges people, not expressions; leave it out")
        groups[" ".join([config["dataset"], config["method"], *run.folder.name.split("-")[2:-2]])].append(run)
    return dict(sorted(groups.items()))


def cautions(runs: Sequence[Run]) -> list[str]:
    """Return what is to be known of the weights that runs started from."""
    started = {run.folder.name: run.read_json("provenance.json").get("encoder_weights") or {} for run in runs}
    return [f"{name}: {about['note']}" for name, about in started.items() if about.get("note")]


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one row a group of runs that differ in fold and seed only: means, sample spreads, number of runs."""
    return [_group(name, members) for name, members in groups_of(runs).items()]


def _group(name: str, runs: list[Run]) -> dict[str, Any]:
    scores = [run.read_json("scores.json", REQUIRED) for run in runs]
    configs = [run.read_json("config.json") for run in runs]
    columns = {
        "accuracy": [score["classification"]["accuracy"] for score in scores],
        "macro_f1": [score["classification"]["macro_f1"] for score in scores],
    }
    for code in scores[0]["codes"]:
        for what in ("expression", "identity"):
            probes = [score["codes"][code][f"{what}_probe"] for score in scores]
            columns[f"{what} from {CODES.get(code, code)}"] = [probe["accuracy"] for probe in probes]
            columns[f"chance of {what}"] = [probe["chance"] for probe in probes]
        told = [score["codes"][code]["identity_verification"]["matched_auc"] for score in scores]
        columns[f"identity AUC by {CODES.get(code, code)}"] = told
    correct = sum(score["classification"]["correct"] for score in scores)
    faces = sum(score["classification"]["faces"] for score in scores)
    return {
        "runs": name, "count": len(runs), "folds": sorted({config["fold"] for config in configs}),
        "seeds": sorted({config["seed"] for config in configs}), "pooled": f"{correct}/{faces}",
        "budget": budget_of(runs)._asdict(),
        "devices": sorted({run.read_json("provenance.json")["device"] for run in runs}),
        "mean": {key: float(np.mean(values)) for key, values in columns.items()},
        "spread": {key: float(np.std(values, ddof=1)) if len(values) > 1 else None for key, values in columns.items()},
    }  # fmt: skip


def by_group(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Return the scores by group of people, where it is known who they are: means over runs, by name of the runs."""
    found = {
        name: over_runs([run.read_json("scores.json").get("fairness", {}) for run in members])
        for name, members in groups_of(runs).items()
    }
    return {name: means for name, means in found.items() if means}


def by_group_texts(runs: Sequence[Run]) -> list[str]:
    """Return the same as lines to read, a text a group of runs."""
    return [over_runs_text(name, means) for name, means in by_group(runs).items()]


def markdown(groups: list[dict[str, Any]]) -> str:
    """Return the table of several runs, each score as mean and spread over runs, never a bare best."""
    keys = list(dict.fromkeys(key for group in groups for key in group["mean"]))
    lines = [
        "| runs | number | correct of all | " + " | ".join(keys) + " |",
        "|---" * (len(keys) + 3) + "|",
    ]
    for group in groups:
        cells = [cell_text(group["mean"].get(key), group["spread"].get(key)) for key in keys]
        lines.append(f"| {group['runs']} | {group['count']} | {group['pooled']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell_text(mean: float | None, spread: float | None) -> str:
    """Return a mean and its spread over runs; nothing where there is none, no spread of one run."""
    if mean is None:
        return ""
    if math.isnan(mean):
        return "not defined"
    return f"{mean:.3f}" + ("" if spread is None else f" +- {spread:.3f}")


# --- whether two differ

COMPARED = {  # what -> where in a run's scores
    "accuracy": ("classification", "accuracy"),
    "identity told apart by E, AUC": ("codes", "expression", "identity_verification", "matched_auc"),
    "macro F1": ("classification", "macro_f1"),
    "identity read from E at most": ("codes", "expression", "identity_probe", "maximum"),
}


def comparisons(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Compare every two groups of one dataset on the folds and seeds that both have, run by run and face by face."""
    found = []
    for (name, first), (other_name, second) in combinations(groups_of(runs).items(), 2):
        pairs = paired(first, second)
        if pairs and name.split()[0] == other_name.split()[0]:
            found.append({"first": name, "second": other_name, "runs": len(pairs)} | _compare(pairs))
    return found


def paired(first: Sequence[Run], second: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Return the runs of both that have fold and seed in common, in that order."""
    by_key = [{fold_and_seed(run): run for run in runs} for runs in (first, second)]
    return [(by_key[0][key], by_key[1][key]) for key in sorted(by_key[0].keys() & by_key[1].keys())]


def fold_and_seed(run: Run) -> tuple[int, int]:
    """Return what tells the runs of a group apart."""
    config = run.read_json("config.json")
    return config["fold"], config["seed"]


def differences(pairs: Sequence[tuple[Run, Run]]) -> dict[str, dict[str, Any]]:
    """Return, for each score, the mean difference of pairs (first less second); of three pairs or more with two tests.

    Args:
        pairs: runs of one fold and seed each, as `paired` returns them.
    """
    train, test = (int(pairs[0][0].value("scores.json", "faces", part)) for part in ("train", "test"))
    found: dict[str, dict[str, Any]] = {}
    for what, path in COMPARED.items():
        values = np.array([one.value("scores.json", *path) - other.value("scores.json", *path) for one, other in pairs])
        found[what] = {"mean": float(values.mean())}
        if len(values) >= FEWEST_RUNS:
            found[what] |= _bounded(corrected_resampled_t(values, train, test))
            found[what]["posterior"] = bayesian_correlated_t(values, test / (train + test))
    return found


def _compare(pairs: list[tuple[Run, Run]]) -> dict[str, Any]:
    """Return all differences of pairs, and tests on every face."""
    first, second, subjects = (np.concatenate(column) for column in zip(*map(_correctness, pairs), strict=True))
    return {
        "differences": differences(pairs), "mcnemar": mcnemar(first, second),
        "over people": paired_bootstrap(first, second, subjects),
        "drawn_over": over(pairs[0][0].read_json("scores.json")),
    }  # fmt: skip


def _bounded(test: dict[str, Any]) -> dict[str, Any]:
    """Return a test of shares with its interval within what a difference of two shares can be."""
    interval = test["interval"]
    return test | {"interval": interval and [max(-1.0, interval[0]), min(1.0, interval[1])]}


def _correctness(pair: tuple[Run, Run]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[Any]]:
    """Return which test faces each of two runs of one fold has right, and who they show."""
    one, other = (run.read_table("predictions.parquet").sort_by("face_id") for run in pair)
    assert one["face_id"] == other["face_id"], f"{pair[0].folder} and {pair[1].folder} tested other faces"
    right = [np.array(table["expression"]) == np.array(table["predicted"]) for table in (one, other)]
    return right[0], right[1], np.array(one["subject"])


def comparison_text(compared: dict[str, Any]) -> str:
    """Return a comparison as lines to read."""
    lines = [f"{compared['first']} less {compared['second']}, {compared['runs']} paired runs:"]
    for what, found in compared["differences"].items():
        if math.isnan(found["mean"]):
            continue
        line = f"  {what:<32} {found['mean']:+.3f}"
        if found.get("interval"):
            low, high = found["interval"]
            after = found["posterior"]
            line += (
                f"  95 % {low:+.3f} to {high:+.3f}, corrected resampled t: p {found['p']:.3f}; "
                f"less {after['left']:.2f}, within 0.01 {after['equivalent']:.2f}, more {after['right']:.2f}"
            )
        lines.append(line)
    if undefined := [what for what, found in compared["differences"].items() if math.isnan(found["mean"])]:
        lines.append(f"  not defined on these faces: {'; '.join(undefined)}")
    told, people = compared["mcnemar"], compared["over people"]
    low, high = people["interval"]
    lines += [
        f"  faces right by one alone: {told['only_first']} and {told['only_second']}; McNemar: p {told['p']:.3f}",
        f"  accuracy, over {compared['drawn_over']} drawn anew ({people['people']}): {people['difference']:+.3f}, "
        f"95 % {low:+.3f} to {high:+.3f}",
    ]
    return "\n".join(lines)
