"""A trained run is judged: the test part is opened, predictions, scores and the page are written."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from manifests import files
from trainer import report
from trainer.data import FoldData
from trainer.method import Method
from trainer.methods import build
from trainer.metrics.classification import classification
from trainer.metrics.probes import expression_probe, identity_probe
from trainer.metrics.retrieval import retrieval
from trainer.run import Run, RunError

UNSEEN = ("validation", "test")  # faces of people that no weight was trained on


def evaluate_run(run: Run, manifests: Path, device: torch.device) -> dict[str, Any]:
    """Judge a trained run again.

    Raises:
        RunError: it is not trained, or the manifest is not the one it was trained on.
    """
    config, provenance = run.read_json("config.json"), run.read_json("provenance.json")
    data = FoldData(files.find(manifests, [config["dataset"]])[0], config["fold"], device)
    if (now := data.provenance()) != provenance["data"]:
        changed = ", ".join(key for key in now if now[key] != provenance["data"].get(key))
        raise RunError(f"{run.folder} was trained on another manifest than {data.manifest} ({changed} differ)")
    method = build(config["method"], config["settings"], config["expressions"], config["seed"], device)
    run.load_weights(method)
    return judge(run, method, data)


@torch.inference_mode()
def predict(method: Method, data: FoldData, part: str) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Return the logits (faces, expressions) and the codes (faces, dims) of a part's faces, in float32."""
    method.eval()
    logits, codes = [], []
    for images in data.upright(part):
        logits.append(method(images).float().cpu().numpy())
        codes.append({name: code.float().cpu().numpy() for name, code in method.codes(images).items()})
    return np.concatenate(logits), {name: np.concatenate([batch[name] for batch in codes]) for name in codes[0]}


def judge(run: Run, method: Method, data: FoldData) -> dict[str, Any]:
    """Open the test part, which the run records; write predictions, scores and report."""
    opened = run.read_json("provenance.json")
    opened["test_opened"].append(datetime.now(UTC).isoformat(timespec="seconds"))
    run.write_json("provenance.json", opened)
    data.open_test()

    logits, test_codes = predict(method, data, "test")
    truth, subjects = data.column("test", "expression"), data.column("test", "subject")
    predicted = np.array(data.expressions)[logits.argmax(1)]
    _write_predictions(run, data, logits, predicted)

    _, train_codes = predict(method, data, "train")
    _, validation_codes = predict(method, data, "validation")
    unseen = {name: np.concatenate([data.column(part, name) for part in UNSEEN]) for name in ("expression", "subject")}
    unseen["sequence"] = np.concatenate([_sequences(data, part) for part in UNSEEN])
    scores: dict[str, Any] = {
        "classification": classification(truth, predicted, subjects, data.expressions), "codes": {}
    }  # fmt: skip
    for name, test in test_codes.items():
        both = np.concatenate([validation_codes[name], test])
        scores["codes"][name] = {
            "expression_probe": expression_probe(train_codes[name], data.column("train", "expression"), test, truth),
            "identity_probe": identity_probe(both, unseen["subject"], unseen["sequence"]),
            "expression_retrieval": retrieval(both, unseen["expression"], unseen["subject"]),
            "identity_retrieval": retrieval(both, unseen["subject"], unseen["sequence"]),
        }
    pictures = np.concatenate([data.pictures(part) for part in UNSEEN])
    codes = {name: np.concatenate([validation_codes[name], test]) for name, test in test_codes.items()}
    rows = report.retrieval_rows(codes, unseen["subject"], pictures)
    run.write_text("report.html", report.run_page(run, scores, rows))
    run.write_json("scores.json", scores)
    return scores


def _sequences(data: FoldData, part: str) -> NDArray[Any]:
    """Return each face's sequence; a face without one is a sequence of its own."""
    sequences, faces = data.column(part, "sequence"), data.column(part, "face_id")
    return np.where(sequences == None, faces, sequences)  # noqa: E711 - elementwise


def _write_predictions(run: Run, data: FoldData, logits: NDArray[np.float32], predicted: NDArray[Any]) -> None:
    exp = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exp / exp.sum(1, keepdims=True)
    columns = {name: data.column("test", name) for name in ("face_id", "subject", "expression")}
    columns |= {"predicted": predicted}
    columns |= {f"p_{name}": probabilities[:, place] for place, name in enumerate(data.expressions)}
    part = run.folder / ".predictions.parquet.part"
    pq.write_table(pa.table(columns), part)
    part.replace(run.folder / "predictions.parquet")
