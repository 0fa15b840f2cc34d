"""Predictions that any code has made, judged by the same functions as a run's.

They come as a table, .csv or .parquet, with a row a face: named by `face_id`, or by `path` (the manifest's `source`, or
the end of it that no other has). A column an expression holds its probability, `anger` or `p_anger`; or one column,
`label`, holds the expression.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests import files, schema
from manifests.schema import EXPRESSIONS
from manifests.text import SourceIndex, printable
from trainer.errors import TrainerError
from trainer.evaluation.metrics.calibration import calibration
from trainer.evaluation.metrics.classification import classification
from trainer.evaluation.metrics.fairness import age_groups, fairness

MAX_BYTES = 500_000_000  # of a table
MAX_ROWS = 20_000_000
MAX_HEADER = 65_536  # characters
MAX_LISTED = 1000  # missing faces: as many are listed, all are counted
NAMED = 3  # of what is refused
SUM_TOLERANCE = 0.005  # of the sum of a row's probabilities: those of eight expressions, written with three decimals
SEPARATORS = ",;\t|"
NAMES = ("face_id", "path")
LABEL, PREFIX = "label", "p_"
SHARED = {  # what a judged face may share with a face that was trained on: the column that says so
    "face": "face_id", "person": "subject", "group": "group", "recording": "sequence", "file": "source_sha256",
}  # fmt: skip

Rows = NDArray[np.int64]


class SubmissionError(TrainerError):
    """Predictions or a list of faces that cannot be judged as they are."""


@dataclass(frozen=True)
class Submission:
    """Expressions that were predicted of faces of a manifest.

    Attributes:
        rows: (faces,) of the manifest, each once.
        predicted: (faces,) expressions.
        expressions: what the probabilities are of, in order; empty where there are none.
        probabilities: (faces, expressions); each row sums to 1.
        notes: what is worth knowing of them, in words.
    """

    rows: Rows
    predicted: NDArray[Any]
    expressions: tuple[str, ...] = ()
    probabilities: NDArray[np.floating] | None = None
    notes: tuple[str, ...] = ()


# --- tables


def read(path: Path, faces: pa.Table) -> Submission:
    """Return the predictions of a table.

    Args:
        path: of a .csv or .parquet.
        faces: the rows of the manifest whose faces it names.

    Raises:
        SubmissionError: no such table; a face that is unknown or named twice; an expression that is none; probabilities
            that are none.
    """
    table = _open(path)
    if len(table) > len(faces):
        raise SubmissionError(f"{path} has {len(table)} rows, the manifest {len(faces)} faces; expected a row a face")
    rows, names = _find(path, table, faces)
    known = {name: name.removeprefix(PREFIX) for name in table.column_names}
    columns = {known[name]: name for name in table.column_names if known[name] in EXPRESSIONS}
    if LABEL not in table.column_names and not columns:
        raise SubmissionError(
            f"{path} has no prediction; found the columns {_named(table.column_names, 12)}; expected {LABEL}, or one a "
            f"probability, named by the expression: {', '.join(EXPRESSIONS)}"
        )
    labels = _labels(path, table, names) if LABEL in table.column_names else None
    if not columns:
        assert labels is not None
        return Submission(rows, labels)
    expressions = tuple(sorted(columns))
    probabilities = _probabilities(path, table, [columns[name] for name in expressions], names)
    predicted = np.array(expressions)[probabilities.argmax(1)]
    if labels is not None and (other := np.flatnonzero(labels != predicted)).size:
        raise SubmissionError(
            f"{path}: {LABEL} is not the most probable expression of {_faces(names, other)}; leave one of the two out"
        )
    return Submission(rows, predicted, expressions, probabilities)


def read_list(path: Path, faces: pa.Table) -> tuple[Rows, list[str]]:
    """Return the rows of the faces that a list names, each once, and what it names that the manifest does not have.

    Args:
        path: of a .csv or .parquet with a column `face_id` or `path`; a path stands for all faces of the file.
        faces: the rows of a manifest.

    Raises:
        SubmissionError: no such list.
    """
    table = _open(path)
    column, names = _names(path, table)
    find = _lookup(column, faces, path)
    found = {name: find(name) for name in dict.fromkeys(names)}
    rows = np.unique(np.array([row for those in found.values() for row in those], np.int64))
    return rows, [name for name, those in found.items() if not those]


def _open(path: Path) -> pa.Table:
    """Return a table with the names of its columns in lower case; what it says of faces is text."""
    reader = {".csv": _read_csv, ".parquet": _read_parquet}.get(path.suffix.lower())
    if reader is None:
        raise SubmissionError(f"{path}: expected a table that ends in .csv or .parquet")
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise SubmissionError(f"{path}: {size:,} bytes; a table of at most {MAX_BYTES:,} is read")
        table = reader(path)
    except (pa.ArrowException, OSError, UnicodeError, csv.Error) as error:
        raise SubmissionError(f"{path} cannot be read: {printable(str(error).splitlines()[0])}") from error
    if not len(table):
        raise SubmissionError(f"{path} has no rows")
    return table


def _read_csv(path: Path) -> pa.Table:
    from pyarrow import csv as reader

    with path.open(encoding="utf-8-sig") as file:
        header = file.readline(MAX_HEADER)
    separator = max(SEPARATORS, key=header.count)
    written = next(csv.reader([header], delimiter=separator), [])
    names = _header(path, written)
    text = reader.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    options = reader.ReadOptions(column_names=names, skip_rows=1)
    return reader.read_csv(path, options, reader.ParseOptions(delimiter=separator), text)


def _read_parquet(path: Path) -> pa.Table:
    file = pq.ParquetFile(path)
    if (num := file.metadata.num_rows) > MAX_ROWS:
        raise SubmissionError(f"{path}: {num:,} rows; a table of at most {MAX_ROWS:,} is read")
    plain = [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type)]
    return file.read(plain).rename_columns(_header(path, plain))


def _header(path: Path, written: Sequence[str]) -> list[str]:
    names = [name.strip().lower() for name in written]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise SubmissionError(f"{path}: the column {printable(twice[0])!r} stands twice in its header")
    return names


# --- faces


def _names(path: Path, table: pa.Table) -> tuple[str, list[str]]:
    """Return which column names the faces, and the names."""
    found = [name for name in NAMES if name in table.column_names]
    if not found:
        raise SubmissionError(
            f"{path}: no column {' or '.join(NAMES)}; found {_named(table.column_names, 12)}; expected one that names "
            "each face as the manifest does"
        )
    names = table[found[0]].cast(pa.string()).to_pylist()
    if empty := sum(not name for name in names):
        raise SubmissionError(f"{path}: {empty} of {len(names)} rows have no {found[0]}")
    return found[0], names


def _lookup(column: str, faces: pa.Table, path: Path) -> Callable[[str], list[int]]:
    """Return what gives the rows of a name: none where it is unknown."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(faces["face_id" if column == "face_id" else "source"].to_pylist()):
        rows.setdefault(name, []).append(row)
    if column == "face_id":
        return lambda name: rows.get(name, [])
    index = SourceIndex(rows)

    def of_path(name: str) -> list[int]:
        if len(sources := index.find(name)) > 1:
            raise SubmissionError(f"{path}: {printable(name)} may be {' or '.join(sources[:2])}; give its whole path")
        return rows[sources[0]] if sources else []

    return of_path


def _find(path: Path, table: pa.Table, faces: pa.Table) -> tuple[Rows, list[str]]:
    """Return the row of the manifest that each row of a table names, and the names."""
    column, names = _names(path, table)
    find, usable = _lookup(column, faces, path), faces["usable"].to_pylist()
    found = [find(name) for name in names]
    if unknown := [name for name, rows in zip(names, found, strict=True) if not rows]:
        like = faces["face_id" if column == "face_id" else "source"][0].as_py()
        raise SubmissionError(
            f"{path}: the manifest has no face {_named(unknown)} ({len(unknown)} of {len(names)} rows); expected a "
            f"{column} like {printable(like)}"
        )
    chosen: list[int] = []
    for name, rows in zip(names, found, strict=True):
        kept = [row for row in rows if usable[row]] or rows[:1]
        if len(kept) > 1:
            raise SubmissionError(f"{path}: {printable(name)} shows {len(kept)} faces; name them by face_id")
        chosen += kept
    found_rows = np.array(chosen, np.int64)
    _, first, counts = np.unique(found_rows, return_index=True, return_counts=True)
    if (twice := first[counts > 1]).size:
        raise SubmissionError(f"{path}: more than one row for {_faces(names, twice)}; expected one a face")
    return found_rows, names


# --- values


def _labels(path: Path, table: pa.Table, names: list[str]) -> NDArray[Any]:
    written = [(value or "").strip().lower() for value in table[LABEL].cast(pa.string()).to_pylist()]
    if unknown := sorted(set(written) - set(EXPRESSIONS)):
        odd = np.flatnonzero(~np.isin(written, EXPRESSIONS))
        raise SubmissionError(
            f"{path}: unknown {LABEL} {', '.join(repr(printable(name, 40)) for name in unknown[:NAMED])} of "
            f"{_faces(names, odd)}; expected {', '.join(EXPRESSIONS)}"
        )
    return np.array(written)


def _probabilities(path: Path, table: pa.Table, columns: Sequence[str], names: list[str]) -> NDArray[np.floating]:
    """Return the probabilities of a table, in the precision in which it has them: float64 of text."""
    stacked = []
    for column in columns:
        try:
            values = table[column]
            text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
            numbers = values.cast(pa.float64()) if text or not pa.types.is_floating(values.type) else values
            stacked.append(pc.fill_null(numbers, float("nan")).to_numpy())
        except pa.ArrowException as error:
            raise SubmissionError(f"{path}: {column}: {printable(str(error).splitlines()[0])}") from error
    probabilities = np.stack(stacked, axis=1)
    check_probabilities(probabilities, names, str(path))
    return probabilities


def check_probabilities(probabilities: NDArray[np.floating], names: Sequence[str], what: str) -> None:
    """Raise SubmissionError unless each row is from 0 to 1 and sums to 1.

    Args:
        probabilities: (faces, expressions).
        names: of the faces.
        what: they are from.
    """
    within = (probabilities >= 0) & (probabilities <= 1 + SUM_TOLERANCE)  # not of what is no number
    if (odd := np.flatnonzero(~within.all(1))).size:
        raise SubmissionError(f"{what}: what is no probability, from 0 to 1, stands for {_faces(names, odd)}")
    sums = probabilities.sum(1)
    if (odd := np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)).size:
        raise SubmissionError(
            f"{what}: probabilities sum to {sums[odd[0]]:.4g} for {_faces(names, odd)}; expected 1: a column for each "
            "expression, and a softmax of logits"
        )


def _faces(names: Sequence[str], rows: NDArray[np.intp]) -> str:
    told = _named([names[row] for row in rows[:NAMED]])
    return told if len(rows) <= NAMED else f"{told} and {len(rows) - NAMED} others"


def _named(names: Sequence[str], most: int = NAMED) -> str:
    return ", ".join(printable(name, 60) for name in names[:most])


# --- scores


def judge(
    submission: Submission, manifest: Path, faces: pa.Table, fold: int | None = None, trained_on: Path | None = None
) -> dict[str, Any]:
    """Return the scores of predictions, as those of a run on its test part are told.

    Args:
        submission: what was predicted.
        manifest: of which faces.
        faces: its rows.
        fold: judge the test part of this fold; null: every usable face with an expression.
        trained_on: a list of the faces that the predicting model was trained on.

    Returns:
        classification, by_expression, people and, where they are known, calibration and fairness; coverage: which
        faces were to be predicted and were not; leaks: what judged faces share with those that were trained on.

    Raises:
        SubmissionError: nothing to judge, or no such list.
        ManifestError: no such fold.
    """
    wanted = asked(faces, fold)
    told = np.array(faces["expression"].fill_null("").to_pylist())
    expressions = sorted(submission.expressions or {*told[wanted], *submission.predicted})
    foreign = wanted[~np.isin(told[wanted], expressions)]
    wanted = np.setdiff1d(wanted, foreign)
    kept = np.isin(submission.rows, wanted)
    rows, predicted = submission.rows[kept], submission.predicted[kept]
    if not len(rows):
        where = f"the test part of fold {fold}" if fold else "the manifest"
        raise SubmissionError(f"no face is predicted that {where} shows with one of {', '.join(expressions)}")
    column = {name: np.array(faces[name].take(rows).to_pylist(), object) for name in _COLUMNS}
    nobody = column["subject"] == None  # noqa: E711 - elementwise
    subjects = np.where(nobody, column["face_id"], column["subject"]).astype(str)
    truth, missing = told[rows], np.setdiff1d(wanted, rows)
    scores: dict[str, Any] = {
        "dataset": manifest.stem, "fold": fold,
        "drawn": files.read_metadata(manifest, schema.PREPARED)["summary"]["drawn"],
        "coverage": {
            "faces": len(wanted), "predicted": len(rows), "missing": len(missing),
            "missing_faces": faces["face_id"].take(missing[:MAX_LISTED]).to_pylist(),
            "not_asked": int((~kept).sum()),
            "unknown_expressions": dict(zip(*_counts(told[foreign]), strict=True)),
            "accuracy_with_missing_as_wrong": float((truth == predicted).sum() / len(wanted)),
        },
        "people": {
            "faces": len(rows), "named": int((~nobody).sum()),
            "grouped": int((nobody & (column["group"] != None)).sum()),  # noqa: E711
        },
        "classification": classification(truth, predicted, subjects, expressions),
        "by_expression": _by_expression(truth, predicted, expressions),
        "notes": list(submission.notes),
    }  # fmt: skip
    if submission.probabilities is not None:
        scores["calibration"] = calibration(submission.probabilities[kept], truth, list(submission.expressions))
    if by_group := _by_group(truth, predicted, subjects, column):
        scores["fairness"] = by_group
    if trained_on:
        scores["leaks"] = _leaks(faces, rows, truth == predicted, trained_on)
    return scores


_COLUMNS = ("face_id", "subject", "group", *schema.ATTRIBUTES)


def asked(faces: pa.Table, fold: int | None) -> Rows:
    """Return the rows that are judged: the test part of a fold, or every usable face with an expression."""
    if fold is not None:
        return schema.parts(faces, fold)["test"]
    return np.flatnonzero(np.array(faces["usable"]) & np.array(pc.is_valid(faces["expression"])))


def _counts(values: NDArray[Any]) -> tuple[list[str], list[int]]:
    names, counts = np.unique(values, return_counts=True)
    return names.tolist(), counts.tolist()


def _by_expression(truth: NDArray[Any], predicted: NDArray[Any], expressions: list[str]) -> dict[str, dict[str, Any]]:
    """Return precision, recall and F1 of each expression, and how many faces show it."""
    from sklearn.metrics import precision_recall_fscore_support

    found = precision_recall_fscore_support(truth, predicted, labels=expressions, zero_division=0)
    return {
        name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "faces": int(num)}
        for name, precision, recall, f1, num in zip(expressions, *found, strict=True)
    }


def _by_group(
    truth: NDArray[Any], predicted: NDArray[Any], subjects: NDArray[Any], column: dict[str, NDArray[Any]]
) -> dict[str, dict[str, Any]]:
    found = {}
    for name in schema.ATTRIBUTES:
        groups = age_groups(column[name]) if name == "age" else column[name]
        if any(group is not None for group in groups):
            found[name] = fairness(truth, predicted, subjects, groups)
    return found


def _leaks(faces: pa.Table, rows: Rows, right: NDArray[np.bool_], trained_on: Path) -> dict[str, Any]:
    """Return how many judged faces share something with those of a list, and the accuracy of those that do not."""
    listed, unknown = read_list(trained_on, faces)
    shared, kinds = np.zeros(len(rows), bool), {}
    for kind, name in SHARED.items():
        values = schema.codes(faces[name])
        if kind == "group":  # where a person is named, groups do not count
            values = np.where(schema.codes(faces["subject"]) < 0, values, -1)
        mine = values[rows]
        same = np.isin(mine, values[listed]) & (mine >= 0)
        kinds[kind] = {"shared": int(same.sum()), "known": int((mine >= 0).sum())}
        shared |= same
    return {
        "listed": len(listed), "unknown": len(unknown), "unknown_names": unknown[:NAMED], "shares": kinds,
        "sharing": int(shared.sum()), "not_sharing": int((~shared).sum()),
        "accuracy_of_not_sharing": float(right[~shared].mean()) if not shared.all() else None,
    }  # fmt: skip
