"""A finished run to a folder that needs neither the run nor its manifest: weights, graph, card.

A folder holds the model (see `trainer.inference.model`), beside it the graph that was asked for; a bundle the ONNX
graph, and all that reads photographs with it (see `trainer.inference.bundle`). What is written is held against the run:
on the validation faces and, what it reads there, on the test faces.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from manifests.lock import whole_folder
from manifests.provenance import file_sha256
from trainer.data.fold_data import FoldData
from trainer.evaluation import evaluate
from trainer.evaluation.metrics.temperature import compare
from trainer.evaluation.reporting.fairness_rows import fairness_rows
from trainer.evaluation.reporting.known_people import over
from trainer.inference import bundle
from trainer.inference.model import CONFIG, WEIGHTS, Network, config_sha256, of_run, read
from trainer.inference.onnx import GRAPHS, Answer, ExportError, batches, graph, module
from trainer.runs.atomic import whole_file, write_tensors, write_whole
from trainer.runs.run import Run

BUNDLE = "bundle"
FORMATS = ("safetensors", *GRAPHS, BUNDLE)
PRECISIONS = ("fp32", "fp16", "int8")
CARD = "README.md"  # where the Hugging Face Hub looks for a model's card
OURS = {CONFIG, WEIGHTS, CARD, *GRAPHS.values(), *bundle.FILES}
TOLERANCE = 1e-4  # of a probability: more is no rounding


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how it compares with the run.

    Attributes:
        files: name -> bytes and sha256.
        calibration: on the validation faces, as `trainer.evaluation.metrics.temperature.calibrate` tells.
        calibration_of_test: the same temperature on the test fold's recorded predictions.
        agreement: faces, largest difference of a probability from the run's, predictions that differ, accuracies.
        bundle: what its script finds and takes, as `trainer.inference.bundle.write` tells; null of other formats.
    """

    out: str
    format: str
    precision: str
    files: dict[str, dict[str, Any]]
    calibration: dict[str, Any]
    calibration_of_test: dict[str, Any]
    agreement: dict[str, Any]
    bundle: dict[str, Any] | None = None


def export(run: Run, manifests: Path, form: str, out: Path | None = None, precision: str = "fp32") -> Exported:
    """Write a finished run as a folder, whole or not at all. All is computed on the CPU.

    Args:
        run: which.
        manifests: where its manifest is.
        form: a key of FORMATS.
        out: the folder to make; null: in the run's.
        precision: of an ONNX graph's method; int8 is fitted on the validation faces.

    Raises:
        ExportError: the run is not finished, something is in the way, or the graph does not compute what the run does.
    """
    _refuse(run, form, precision)
    out = out or run.folder / "-".join(["export", form, *([] if precision == "fp32" else [precision])])
    _refuse_foreign(out)
    with run.writer():
        method, data = evaluate.load(run, manifests, torch.device("cpu"))
        model = of_run(run, method, data)
        evaluate.open_test(run, data)
        with whole_folder(out) as folder:
            answers = {}
            if form != BUNDLE:
                write_model(folder, model.network, model.config)
                answers[WEIGHTS] = module(read(folder, data.device).network)
            if kind := {BUNDLE: "onnx"}.get(form, form if form in GRAPHS else None):
                answers[GRAPHS[kind]] = graph(folder, model.network, kind, precision, data.pictures("validation"))
            agreements = {name: _agreement(module(model.network), each, run, data) for name, each in answers.items()}
            for name, found in agreements.items():
                if found["largest_difference"] > TOLERANCE and precision == "fp32":
                    raise ExportError(
                        f"{name} gives other probabilities than {run.folder}, by up to "
                        f"{found['largest_difference']:.1e}; nothing was written; --format safetensors needs no graph"
                    )
            bundled = bundle.write(folder, model) if form == BUNDLE else None
            recorded = np.log(np.maximum(_recorded(run, data, data.expressions), np.finfo(np.float32).tiny))
            written = Exported(
                out=str(out), format=form, precision=precision,
                files={
                    path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
                    for path in sorted(folder.iterdir())
                },
                calibration=model.config["calibration"],
                calibration_of_test=compare(
                    recorded, data.column("test", "expression"), data.expressions, model.network.temperature
                ),
                agreement=agreements[GRAPHS[kind] if kind else WEIGHTS], bundle=bundled,
            )  # fmt: skip
            write_whole(folder / CARD, _card(run, data, written))
    return written


def _refuse(run: Run, form: str, precision: str) -> None:
    if form not in FORMATS:
        raise ExportError(f"no format {form!r}; known: {', '.join(FORMATS)}")
    if precision not in PRECISIONS:
        raise ExportError(f"no precision {precision!r}; known: {', '.join(PRECISIONS)}")
    if precision != "fp32" and form != "onnx":
        raise ExportError(f"--precision {precision} is of --format onnx; {form} is written in fp32")
    if not run.finished:
        raise ExportError(f"{run.folder} is not finished; trainer fit goes on with it")


# --- the folder


def _refuse_foreign(out: Path) -> None:
    """Refuse to write over what is no export."""
    if not out.exists():
        return
    found = sorted(path.name for path in out.iterdir()) if out.is_dir() else ["a file"]
    if foreign := [name for name in found if name not in OURS]:
        raise ExportError(f"{out} holds {', '.join(foreign[:5])}, no export; remove it, or name another --out")


def write_model(folder: Path, network: Network, config: dict[str, Any]) -> None:
    """Write a model as `trainer.inference.model.read` and huggingface_hub's mixin read it."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with whole_file(folder / WEIGHTS) as part:
        write_tensors(tensors, part, {"format": "pt", "config_sha256": config_sha256(config)})
    write_whole(folder / CONFIG, json.dumps(config, indent=1) + "\n")


# --- against the run


def _agreement(original: Answer, answer: Answer, run: Run, data: FoldData) -> dict[str, Any]:
    """Hold what was written against the run: its probabilities on both parts, its recorded predictions on the test."""
    found, largest = np.empty(0), []
    for part in ("validation", "test"):
        faces = data.pictures(part)
        found, asked = (np.concatenate([each(batch) for batch in batches(faces)]) for each in (answer, original))
        largest.append(float(np.abs(found - asked).max()))
    recorded = _recorded(run, data, data.expressions).argmax(1)
    truth = data.classes("test").numpy()
    return {
        "validation_faces": len(data.rows["validation"]), "largest_difference": largest[0],
        "test_faces": len(truth), "largest_difference_on_test": largest[1],
        "differing_predictions": int((found.argmax(1) != recorded).sum()),
        "recorded_accuracy": float((recorded == truth).mean()), "accuracy": float((found.argmax(1) == truth).mean()),
    }  # fmt: skip


def _recorded(run: Run, data: FoldData, expressions: list[str]) -> NDArray[np.float32]:
    """Return the probabilities of the test faces that the run has written down, in the order of the data."""
    table = run.read_table("predictions.parquet")
    place = {face_id: row for row, face_id in enumerate(table["face_id"].to_pylist())}
    rows = [place[face_id] for face_id in data.column("test", "face_id")]
    return np.stack([table[f"p_{name}"].to_numpy()[rows] for name in expressions], axis=1)


# --- the card


def _card(run: Run, data: FoldData, written: Exported) -> str:
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(Path(__file__).with_name("card.md").read_text(encoding="utf-8"))
    scores = run.read_json("scores.json")
    drawn, title = data.metadata["summary"]["drawn"], data.metadata.get("title", data.manifest.stem)
    told = f"Licence: {data.metadata.get('licence', 'not known')}. Source: {data.metadata.get('source', 'not known')}"
    return template.render(
        written=written, size=_megabytes(written), name=run.folder.name, title=title, drawn=drawn, crop=data.crop,
        licence=None if drawn else data.metadata.get("licence"),
        terms=f"Faces drawn by code (fertools draw), a stand-in for {title}." if drawn else f"{title}. {told}.",
        config=run.read_json("config.json"), provenance=run.read_json("provenance.json"),
        read=scores["classification"], over=over(scores),
        by_group=list(fairness_rows(scores.get("fairness", {}), over(scores))),
        beside=_runs_beside(run), shared=_shared(data),
        parts={name: len(rows) for name, rows in data.rows.items()},
    )  # fmt: skip


def _runs_beside(run: Run) -> dict[str, Any]:
    """Return the accuracy of all finished runs of these settings, this one among them: mean and sample spread."""
    alike = re.compile(re.escape(re.sub(r"-fold\d+-seed\d+$", "", run.folder.name)) + r"-fold(\d+)-seed(\d+)")
    found = {path: match for path in run.folder.parent.iterdir() if (match := alike.fullmatch(path.name))}
    finished = [Run(path) for path in found if Run(path).finished] or [run]
    accuracies = [one.value("scores.json", "classification", "accuracy") for one in finished]
    return {
        "runs": len(accuracies), "mean": float(np.mean(accuracies)),
        "spread": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
    }  # fmt: skip


def _shared(data: FoldData) -> dict[str, dict[str, int]]:
    """Return how many test faces share their person, recording or file with a face that was trained or validated on."""
    found = {}
    for what, column in (("person", "subject"), ("recording", "sequence"), ("file", "source_sha256")):
        seen = {value for part in ("train", "validation") for value in data.column(part, column)} - {None}
        known = [value for value in data.column("test", column) if value is not None]
        found[what] = {"shared": sum(value in seen for value in known), "known": len(known)}
    return found


def _megabytes(written: Exported) -> float:
    return float(sum(file["bytes"] for file in written.files.values()) / 1e6)


def describe(written: Exported) -> str:
    """Return an export as lines to read."""
    agreed, before, after = written.agreement, *(written.calibration[name] for name in ("before", "after"))
    lines = [
        f"{written.out}: {', '.join(written.files)}, {_megabytes(written):.1f} MB",
        f"  largest difference of a probability: {agreed['largest_difference']:.1e} on {agreed['validation_faces']} "
        f"validation faces, {agreed['largest_difference_on_test']:.1e} on {agreed['test_faces']} test faces",
        f"  predictions that differ from the run's: {agreed['differing_predictions']} of {agreed['test_faces']}; "
        f"accuracy {agreed['accuracy']:.3f}, recorded {agreed['recorded_accuracy']:.3f}",
        f"  temperature {written.calibration['temperature']:.3f}: on {written.calibration['faces']} validation faces, "
        f"negative log likelihood {before['negative_log_likelihood']:.3f} -> {after['negative_log_likelihood']:.3f}, "
        f"calibration error {before['calibration_error']:.3f} -> {after['calibration_error']:.3f}",
    ]  # fmt: skip
    if found := written.bundle:
        largest = found["differences"]
        lines.append(
            f"  {bundle.SCRIPT} reads the {found['faces']} faces of {bundle.EXAMPLE} in {found['seconds']:.1f} s, "
            f"start and all; boxes differ by {largest['box']:.4f} px, landmarks by {largest['landmarks']:.4f} px, "
            f"probabilities by {largest['probability']:.1e}"
        )
    return "\n".join(lines)
