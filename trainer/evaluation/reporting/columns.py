"""What tables show of runs: each number by name, its mean, its spread and its interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.metrics.statistics import corrected_resampled_t, subject_bootstrap
from trainer.evaluation.reporting.tables import FEWEST_RUNS, Cell, Column
from trainer.runs.run import Run

SHARE, NATS, ANY = (0.0, 1.0), (0.0, math.inf), (-math.inf, math.inf)


@dataclass(frozen=True)
class Measure:
    """A number of a run: where it stands, and how it is shown."""

    read: Callable[[Run], float]
    percent: bool = False
    examined: bool = False  # it needs what `evaluate.examine` writes
    code: str | None = None  # that it is read from, where not every method has it
    bounds: tuple[float, float] = SHARE  # that it cannot leave

    def told_by(self, run: Run) -> bool:
        """Whether a finished run tells it."""
        if self.examined:
            return (run.folder / "examination.json").exists()
        return self.code is None or self.code in run.read_json("scores.json")["codes"]


def _of(file: str, *path: str) -> Callable[[Run], float]:
    return lambda run: run.value(file, *path)


def _score(*path: str, percent: bool = False) -> Measure:
    return Measure(_of("scores.json", *path), percent)


def _of_information(estimator: str, term: str, value: str) -> Measure:
    path = ("information", "estimators", estimator, term, value)
    return Measure(_of("examination.json", *path), examined=True, bounds=ANY)


def _harmonic(run: Run) -> float:
    scores = run.read_json("scores.json")["classification"]
    precision, recall = scores["macro_precision"], scores["macro_recall"]
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _of_code(code: str, *path: str, bounds: tuple[float, float] = SHARE) -> Measure:
    return Measure(_of("scores.json", "codes", code, *path), code=code, bounds=bounds)


def _probe(code: str, what: str) -> Measure:
    return _of_code(code, f"{what}_probe", "maximum")


def _found(code: str, what: str, score: str) -> Measure:
    return _of_code(code, f"{what}_retrieval", score)


E, I, G = "expression", "identity", "generated"  # noqa: E741 - the papers' letters
MEASURES = {
    "accuracy": _score("classification", "accuracy", percent=True),
    "macro precision": _score("classification", "macro_precision", percent=True),
    "macro recall": _score("classification", "macro_recall", percent=True),
    "macro F1": _score("classification", "macro_f1", percent=True),
    "H(P, R)": Measure(_harmonic),
    "identity AUC by E": _of_code(E, "identity_verification", "matched_auc"),
    "identity from E, within an expression": _of_code(E, "identity_within_expression", "maximum"),
    "null of identity, within an expression": _of_code(E, "identity_within_expression", "null"),
    "identity from E, times its null": _of_code(E, "identity_within_expression", "times_null", bounds=NATS),
    "I(E; person | expression)": _of_code(E, "person_information", "nats", bounds=NATS),
    "I(E; person | expression), permuted": _of_code(E, "person_information", "null", bounds=NATS),
    "identity from E": _probe(E, "identity"),
    "chance of identity": _of_code(E, "identity_probe", "chance_maximum"),
    "expression from I": _probe(I, "expression"),
    "identity AUC by I": _of_code(I, "identity_verification", "matched_auc"),
    "identity from I": _probe(I, "identity"),
    "expression from G(I)": _probe(G, "expression"),
    "identity from G(I)": _probe(G, "identity"),
    "identity AUC by G(I)": _of_code(G, "identity_verification", "matched_auc"),
    "expression by E, precision@5": _found(E, "expression", "precision@5"),
    "chance of expression by E": _found(E, "expression", "chance"),
    "identity by E, precision@5": _found(E, "identity", "precision@5"),
    "identity by I, precision@5": _found(I, "identity", "precision@5"),
    "chance of identity by I": _found(I, "identity", "chance"),
    "expression by I, precision@5": _found(I, "expression", "precision@5"),
    "MIG (InfoNCE)": _of_information("nce", "gap", "nats"),
    "MIG (InfoNCE) / H(Y)": _of_information("nce", "gap", "normalised"),
    "MIG (DV)": _of_information("dv", "gap", "nats"),
    "MIG (SMILE)": _of_information("smile", "gap", "nats"),
    "MIG (KSG)": _of_information("ksg3", "gap", "nats"),
    "I(E_M; E_N)": _of_information("nce", "shared", "nats"),
    "I(E_M; E_N), posterior": _of_information("posterior", "shared", "nats"),
    "I(E_M; E_N), permuted": _of_information("nce", "shared", "null"),
    "I(E_M; I_M)": _of_information("nce", "entangled", "nats"),
    "I(E_M; I_M), permuted": _of_information("nce", "entangled", "null"),
}


def column(measure: str) -> Column:
    """Return the column of a measure."""
    percent = MEASURES[measure].percent
    return Column(measure, percent, 2 if percent else 3)


def measured(measure: str, runs: Sequence[Run], target: str | None = None) -> Cell:
    """Return a measure of finished runs; an empty cell where none tells it, or it is not defined on these faces.

    Args:
        measure: name in MEASURES.
        runs: that differ in fold and seed only.
        target: dataset that they are judged on; None: their own test folds.
    """
    telling = [run for run in runs if MEASURES[measure].told_by(run)]
    values = np.array([_value(run, measure, target) for run in telling])
    if not telling or not np.isfinite(values).all():
        return Cell()
    return Cell(
        mean=float(values.mean()), spread=_spread(values), runs=len(values),
        interval=_interval(measure, telling, values, target), drawn=any(drawn(run, target) for run in telling),
        interval_over="people" if measure == "accuracy" else "runs",
    )  # fmt: skip


def difference(measure: str, pairs: Sequence[tuple[Run, Run]]) -> Cell:
    """Return by how much a measure of the first run of a pair exceeds the second's, over runs of one fold and seed."""
    read = MEASURES[measure].read
    values = np.array([read(one) - read(other) for one, other in pairs])
    if not np.isfinite(values).all():
        return Cell()
    low, high = MEASURES[measure].bounds
    return Cell(
        mean=float(values.mean()), spread=_spread(values), runs=len(values),
        interval=_over_runs(values, pairs[0][0], (low - high, high - low)), drawn=drawn(pairs[0][0]),
    )  # fmt: skip


def drawn(run: Run, target: str | None = None) -> bool:
    """Whether a run was trained, or is judged, on drawn faces."""
    trained = run.read_json("provenance.json")["data"]["drawn"]
    return bool(trained or (target and run.read_json(f"scores-on-{target}.json")["drawn"]))


def _value(run: Run, measure: str, target: str | None) -> float:
    if target is None:
        return MEASURES[measure].read(run)
    return float(run.read_json(f"scores-on-{target}.json")[measure.replace(" ", "_")])


def _spread(values: NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _interval(
    measure: str, runs: Sequence[Run], values: NDArray[np.float64], target: str | None
) -> tuple[float, float] | None:
    """Return the 95 % interval: of an accuracy over people, of anything else over runs, which share training faces."""
    if measure == "accuracy":
        file = f"predictions-on-{target}.parquet" if target else "predictions.parquet"
        seen = [run.read_table(file, ["subject", "expression", "predicted"]) for run in runs]
        correct = np.concatenate([np.array(table["expression"]) == np.array(table["predicted"]) for table in seen])
        low, high = subject_bootstrap(correct, np.concatenate([np.array(table["subject"]) for table in seen]))
        return low, high
    return _over_runs(values, runs[0], MEASURES[measure].bounds)


def _over_runs(values: NDArray[np.float64], run: Run, bounds: tuple[float, float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean over runs, within bounds; None of fewer than three, or where all are equal."""
    if len(values) < FEWEST_RUNS:
        return None
    found = corrected_resampled_t(values, *_sizes(run))["interval"]
    return None if found is None else (max(bounds[0], found[0]), min(bounds[1], found[1]))


def _sizes(run: Run) -> tuple[int, int]:
    """Return how many faces trained a run and how many tested it."""
    train, test = (int(run.value("scores.json", "faces", part)) for part in ("train", "test"))
    return train, test
