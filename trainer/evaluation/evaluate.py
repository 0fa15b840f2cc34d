"""Evaluate a trained run: open its test part, write its predictions, return its scores."""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from manifests import files, schema
from manifests.parquet import atomic_parquet
from trainer.data.augment import VARIANTS
from trainer.data.fold_data import FoldData, shown_in, upright
from trainer.data.provenance import changed
from trainer.errors import TrainerError
from trainer.evaluation.metrics import disentanglement
from trainer.evaluation.metrics.calibration import calibration
from trainer.evaluation.metrics.classification import classification
from trainer.evaluation.metrics.dependence import dependence
from trainer.evaluation.metrics.fairness import age_groups, fairness
from trainer.evaluation.metrics.information import information_gap
from trainer.evaluation.metrics.leaks import identity_within_expression, person_information
from trainer.evaluation.metrics.probes import expression_probe, factor_probe, identity_probe, verification
from trainer.evaluation.metrics.retrieval import retrieval
from trainer.evaluation.metrics.robustness import robustness
from trainer.methods import build, find_method
from trainer.methods.base import Method
from trainer.runs.atomic import writing
from trainer.runs.run import Run, RunError

Codes = dict[str, NDArray[np.float32]]  # (faces, dims) each
PATIENCE = 60.0  # s that another evaluation of the same run may take to write
LABELS = ("face_id", "expression", "subject", "sequence", "source")


@dataclass(frozen=True)
class Outputs:
    """Faces as a method takes them, and what is known of them."""

    logits: NDArray[np.float32]  # (faces, expressions)
    codes: Codes
    labels: dict[str, NDArray[Any]]  # (faces,) each

    def __add__(self, other: "Outputs") -> "Outputs":
        """Return the faces of both."""
        return Outputs(
            np.concatenate([self.logits, other.logits]),
            {name: np.concatenate([code, other.codes[name]]) for name, code in self.codes.items()},
            {name: np.concatenate([label, other.labels[name]]) for name, label in self.labels.items()},
        )


def load(run: Run, manifests: Path, device: torch.device) -> tuple[Method, FoldData]:
    """Return a trained run's method, and the data it was trained on.

    Raises:
        RunError: it is not trained, or the manifest is not the one it was trained on.
    """
    config, provenance = run.read_json("config.json"), run.read_json("provenance.json")
    manifest = files.find(manifests, [config["dataset"]])[0]
    kind = find_method(config["method"])
    data = FoldData.seen_by(kind, config["settings"], manifest, config["fold"], device, config["expressions"])
    if names := changed(provenance, data.provenance()["read"]):
        raise RunError(
            f"{run.folder} was trained on other data than {data.manifest} holds now: {', '.join(names)} differ. Train "
            "it again, or name the --manifests that it was trained on"
        )
    return load_method(run, device), data


def load_method(run: Run, device: torch.device) -> Method:
    """Return a trained run's method.

    Raises:
        RunError: it is not trained.
    """
    config = run.read_json("config.json")
    method = build(config["method"], config["settings"], config["expressions"], config["seed"], device)
    run.load_weights(method)
    return method


def crop_of(run: Run) -> schema.Crop:
    """Return how the faces that a run sees are cut out."""
    return schema.crop_of(run.read_json("provenance.json")["data"])


@torch.inference_mode()
def predict(method: Method, batches: Iterable[Tensor]) -> tuple[NDArray[np.float32], Codes]:
    """Return the logits (faces, expressions) and the codes (faces, dims) of batches of faces, in float32."""
    method.eval()
    logits, codes = [], []
    for images in batches:
        logits.append(method(images).float().cpu().numpy())
        codes.append({name: code.float().cpu().numpy() for name, code in method.codes(images).items()})
    return np.concatenate(logits), {name: np.concatenate([batch[name] for batch in codes]) for name in codes[0]}


def infer(method: Method, data: FoldData, part: str) -> Outputs:
    """Return a part's faces as the method takes them. The test part must be open."""
    return Outputs(*predict(method, data.upright(part)), _labels({name: data.column(part, name) for name in LABELS}))


def _labels(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what is known of faces; where no person or recording is published, each face stands for one."""
    absent = {name: columns[name] == None for name in ("subject", "sequence")}  # noqa: E711 - elementwise
    return columns | {name: np.where(none, columns["face_id"], columns[name]) for name, none in absent.items()}


def open_test(run: Run, data: FoldData) -> None:
    """Open the test part, which the run records."""
    with run.writer(PATIENCE):
        opened = run.read_json("provenance.json")
        opened["test_opened"].append(datetime.now(UTC).isoformat(timespec="seconds"))
        run.write_json("provenance.json", opened)
    data.open_test()


# --- what every run is judged by


def judge(run: Run, method: Method, data: FoldData) -> tuple[dict[str, Any], Outputs]:
    """Write the predictions of a run on its test fold.

    Returns:
        Its scores, and what it makes of the faces of the validation and the test part.
    """
    open_test(run, data)
    train, validation, test = (infer(method, data, part) for part in ("train", "validation", "test"))
    unseen = validation + test  # faces of people that no weight was trained on
    probabilities = _probabilities(test.logits)
    predicted = _names(test.logits, data.expressions)
    _write_predictions(run, test, probabilities, predicted, data.expressions)
    truth = test.labels["expression"]
    turned = [_names(predict(method, batches)[0], data.expressions) for batches in data.variants("test")]
    scores: dict[str, Any] = {
        "faces": {"train": len(train.logits), "validation": len(validation.logits), "test": len(test.logits)},
        "people": _known(data.column("test", "subject"), data.column("test", "group")),
        "classification": classification(truth, predicted, test.labels["subject"], data.expressions),
        "calibration": calibration(probabilities, truth, data.expressions),
        "robustness": robustness(np.stack(turned), truth, VARIANTS),
        "codes": {name: _read(name, train, test, unseen) for name in test.codes},
        "budget": _budget(run),
    }
    if by_group := _by_group(test, predicted, partial(data.column, "test")):
        scores["fairness"] = by_group
    if "identity" in unseen.codes:
        scores["dependence"] = dependence(
            unseen.codes["expression"], unseen.codes["identity"], unseen.labels["sequence"]
        )
    return scores, unseen


def _known(subjects: NDArray[Any], groups: NDArray[Any]) -> dict[str, int]:
    """Return of how many faces it is published who they show, and of how many others groups tell it."""
    named = subjects != None  # noqa: E711 - elementwise
    return {"faces": len(named), "named": int(named.sum()), "grouped": int((~named & (groups != None)).sum())}  # noqa: E711


def _budget(run: Run) -> dict[str, Any] | None:
    """Return what the expression code was given (see `training.budget`), and how many settings were tried before.

    None: it was trained before this was counted. Processor seconds stay in the provenance: scores are reproducible.
    """
    stages = run.read_json("provenance.json").get("budget")
    if stages is None:
        return None
    config = run.read_json("config.json")
    of_code = [stage for stage in stages.values() if stage["trains_code"]]
    counted = {name: sum(stage[name] for stage in of_code) for name in ("steps", "faces", "updates")}
    return counted | {"settings_tried": find_method(config["method"]).TRIED.get(config["preset"])}


def _read(name: str, train: Outputs, test: Outputs, unseen: Outputs) -> dict[str, Any]:
    """Return what can be read from one code."""
    code, labels = unseen.codes[name], unseen.labels
    expression, subject, sequence = (labels[key] for key in ("expression", "subject", "sequence"))
    return {
        "expression_probe": expression_probe(
            train.codes[name], train.labels["expression"], test.codes[name], test.labels["expression"]
        ),
        "identity_verification": verification(code, subject, expression, sequence),
        "identity_within_expression": identity_within_expression(code, subject, expression, sequence),
        "person_information": person_information(code, subject, expression, sequence),
        "identity_probe": identity_probe(code, subject, expression, sequence),
        "expression_retrieval": retrieval(code, expression, subject),
        "identity_retrieval": retrieval(code, subject, sequence),
        "expression_verification": verification(code, expression, subject, sequence),
    }


def _by_group(
    outputs: Outputs, predicted: NDArray[Any], column: Callable[[str], NDArray[Any]]
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Return the scores by group of each attribute of people that is known of a face; `column` gives it by name."""
    truth, subjects, found = outputs.labels["expression"], outputs.labels["subject"], {}
    for name in schema.ATTRIBUTES:
        groups = age_groups(column(name)) if name == "age" else column(name)
        if any(group is not None for group in groups):
            found[name] = fairness(truth, predicted, subjects, groups)
    return found


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exp = np.exp(logits - logits.max(1, keepdims=True))
    probabilities: NDArray[np.float32] = exp / exp.sum(1, keepdims=True)
    return probabilities


def _names(logits: NDArray[np.float32], expressions: list[str]) -> NDArray[Any]:
    names: NDArray[Any] = np.array(expressions)[logits.argmax(1)]
    return names


def _write_predictions(
    run: Run, outputs: Outputs, probabilities: NDArray[np.float32], predicted: NDArray[Any], expressions: list[str],
    name: str = "predictions.parquet",
) -> None:  # fmt: skip
    columns = {label: outputs.labels[label] for label in ("face_id", "subject", "expression")} | {
        "predicted": predicted
    }
    columns |= {f"p_{expression}": probabilities[:, place] for place, expression in enumerate(expressions)}
    table = pa.table(columns)
    with writing(run.folder / name), atomic_parquet(run.folder / name, table.schema, {}) as writer:
        writer.write_table(table)


# --- what takes longer, and is asked for


def examine(run: Run, method: Method, data: FoldData, factors: Path | None = None) -> dict[str, Any]:
    """Write what E and I hold, of each other and of every known factor, on people that no weight was trained on.

    Args:
        run: a run whose method has both codes.
        method: its method.
        data: its data.
        factors: a table (CSV) of further factors: a column `path`, as the manifest's `source`, and one each. Of the
            drawn corpus' table, those of the photograph are read, whose names begin with "nuisance.".

    Raises:
        RunError: the method has no identity code.
        TrainerError: there is no such table, or it has no row for a face.
    """
    open_test(run, data)
    outputs = {part: infer(method, data, part) for part in ("train", "validation", "test")}
    unseen = outputs["validation"] + outputs["test"]
    if "identity" not in unseen.codes:
        raise RunError(f"{run.folder} has no identity code to hold against its expression code")
    codes = {name: unseen.codes[name] for name in ("expression", "identity")}
    known = _factors(factors, unseen.labels["source"]) if factors else {}
    every = {name: unseen.labels[name] for name in ("expression", "subject")} | known
    examined = {
        "information": information_gap({name: _part(faces) for name, faces in outputs.items()}),
        "mutual_information_gap": disentanglement.mutual_information_gap(codes, every),
        "dci": disentanglement.dci(codes, every, unseen.labels["sequence"]),
        "sap": disentanglement.attribute_predictability(codes, every, unseen.labels["sequence"]),
        "factors": {
            name: {code: factor_probe(values, factor, unseen.labels["subject"]) for code, values in codes.items()}
            for name, factor in known.items()
        },
    }
    with run.writer(PATIENCE):
        run.write_json("examination.json", examined)
    return examined


def _part(outputs: Outputs) -> dict[str, NDArray[Any]]:
    """Return faces as `information_gap` takes them."""
    codes = {name: outputs.codes[name] for name in ("expression", "identity")}
    return codes | {"expressions": outputs.labels["expression"], "subjects": outputs.labels["subject"]}


def _factors(path: Path, sources: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return each factor of the faces; one whose values are all numbers is of floating type."""
    if not path.is_file():
        raise TrainerError(f"no table {path}; the drawn corpus has one, factors.csv, in its raw folder")
    with path.open(newline="") as lines:
        rows = {row.pop("path", None): row for row in csv.DictReader(lines)}
    missing = [source for source in sources if source not in rows]
    if missing:
        raise TrainerError(
            f"{path} has no row for {missing[0]} ({len(missing)} of {len(sources)} faces have none); expected a column "
            "path with the manifest's source"
        )
    names = list(next(iter(rows.values())))
    chosen = [name for name in names if name.startswith("nuisance.")] or names
    columns = {name: np.array([rows[source][name] for source in sources]) for name in chosen}
    return {name: _numbers(values) for name, values in columns.items()}


def _numbers(values: NDArray[Any]) -> NDArray[Any]:
    try:
        return values.astype(np.float64)
    except ValueError:
        return values


# --- another dataset


def judge_elsewhere(run: Run, method: Method, data: FoldData, manifest: Path) -> dict[str, Any]:
    """Judge a run on every usable face of another dataset whose expression it knows; its own whitening is kept.

    Raises:
        RunError: the run was trained on this dataset, or shares no expression with it.
        ManifestError: its faces are smaller, grey, or aligned otherwise than those that the run was trained on.
    """
    name = manifest.stem
    if name == run.read_json("config.json")["dataset"]:
        raise RunError(f"{run.folder} was trained on {name}; its own test fold judges it: leave out --on")
    table, rows = shown_in(manifest, data.expressions)
    if len(table) == 0:
        raise RunError(f"{manifest} shows none of {', '.join(data.expressions)}, which {run.folder} knows")

    def column(name: str) -> NDArray[Any]:
        return np.array(table[name].to_pylist())

    labels = _labels({label: column(label) for label in LABELS})
    outputs = Outputs(*predict(method, upright(data.open(manifest, rows), data.whiten)), labels)
    predicted = _names(outputs.logits, data.expressions)
    scores = classification(labels["expression"], predicted, labels["subject"], data.expressions)
    scores["people"] = _known(column("subject"), column("group"))
    if by_group := _by_group(outputs, predicted, column):
        scores["fairness"] = by_group
    scores["drawn"] = files.read_metadata(manifest, schema.PREPARED)["summary"]["drawn"]
    probabilities, file = _probabilities(outputs.logits), f"predictions-on-{name}.parquet"
    with run.writer(PATIENCE):
        _write_predictions(run, outputs, probabilities, predicted, data.expressions, file)
        run.write_json(f"scores-on-{name}.json", scores)
    return scores
