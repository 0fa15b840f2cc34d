"""One run from settings to report: data -> train -> judge, each step skipped where it is done."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from manifests import files
from trainer import evaluate, report
from trainer.config import ConfigError, override
from trainer.data import FoldData
from trainer.errors import TrainerError
from trainer.loop import Report, train
from trainer.method import Method, Stage
from trainer.methods import METHODS
from trainer.run import Run, RunError, environment

UNSEEN = ("validation", "test")  # faces of people that no weight was trained on


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a user asks to be trained."""

    manifest: Path
    method: str
    preset: str
    settings: tuple[str, ...]  # name=value
    epochs: int | None  # of every stage
    fold: int
    seed: int

    def config(self) -> Any:
        """Return the method's settings.

        Raises:
            ConfigError: no such method, preset or setting.
        """
        presets = find_method(self.method).PRESETS
        if self.preset not in presets:
            raise ConfigError(f"no preset {self.preset!r} of {self.method}; known: {', '.join(presets)}")
        config = presets[self.preset]
        if self.epochs is not None:
            names = [field.name for field in dataclasses.fields(config) if field.name.startswith("epochs")]
            config = override(config, [f"{name}={self.epochs}" for name in names])
        return override(config, self.settings)

    def name(self) -> str:
        """Return the name of the run's folder: all that is asked, in words."""
        parts = [self.manifest.stem, self.method, self.preset, *self.settings]
        parts += [] if self.epochs is None else [f"epochs={self.epochs}"]
        return "-".join([*parts, f"fold{self.fold:02d}", f"seed{self.seed}"])


def find_method(name: str) -> type[Method]:
    """Return a method by name.

    Raises:
        ConfigError: there is none.
    """
    if name not in METHODS:
        raise ConfigError(f"no method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]


def pick_device(name: str) -> torch.device:
    """Return the device to train on: `auto` is cuda where there is one, else cpu.

    Raises:
        TrainerError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise TrainerError(f"no device {name!r} here ({str(error).splitlines()[0]}); use --device auto") from error
    return torch.device(name)


def fit(asked: Asked, runs: Path, device: torch.device, progress: Report, stop_after: int | None = None) -> Run:
    """Train and judge one run, from where an earlier call stopped; a finished run is returned as it is."""
    config = asked.config()
    run = Run(runs / asked.name())
    data = FoldData(asked.manifest, asked.fold, device)
    settings = dataclasses.asdict(config)
    run.start(
        {
            "method": asked.method, "preset": asked.preset, "settings": settings, "dataset": asked.manifest.stem,
            "fold": asked.fold, "seed": asked.seed, "expressions": data.expressions,
        },
        environment(device) | {"commit": files.commit(), "data": _data_provenance(data)},
    )  # fmt: skip
    if run.finished:
        return run
    method = build(asked.method, settings, data.expressions, asked.seed, device)
    if not run.trained:
        _train(method, data, run, asked.seed, progress, stop_after)
        if not run.trained:
            return run
    else:
        run.load_weights(method)
    judge(run, method, data)
    return run


def build(name: str, settings: dict[str, Any], expressions: list[str], seed: int, device: torch.device) -> Method:
    """Return an untrained method, its weights drawn from the seed."""
    kind = find_method(name)
    torch.manual_seed(seed)
    constructor: Any = kind  # its arguments are every method's, but nn.Module does not say so
    method: Method = constructor(kind.Config(**settings), len(expressions))
    method.to(device).to(memory_format=torch.channels_last)
    return method


def _train(method: Method, data: FoldData, run: Run, seed: int, progress: Report, stop_after: int | None) -> None:
    def batches(stage: Stage, epoch: int, stream: int) -> Iterable[Any]:
        return data.batches(stage.reads, stage.batch_size, epoch, stream, stage.balanced)

    def validate() -> float:
        logits, _ = predict(method, data, "validation")
        return float((logits.argmax(1) == data.classes("validation").cpu().numpy()).mean())

    if train(method, batches, validate, run, seed=seed, report=progress, stop_after=stop_after):
        run.finish_training(method)


def _data_provenance(data: FoldData) -> dict[str, Any]:
    whitening = files.whitening_path(data.manifest, data.fold)
    return {
        "manifest_sha256": files.file_sha256(data.manifest),
        "pairs_sha256": files.file_sha256(files.pairs_path(data.manifest)),
        "whitening": data.metadata["whitening"]["kind"],
        "whitening_sha256": files.file_sha256(whitening) if whitening.exists() else None,
        "protocol": data.metadata["summary"]["protocol"],
        "drawn": data.metadata["summary"]["drawn"],
        "prepared_by": data.metadata["commit"],
    }


def num_folds(manifest: Path) -> int:
    """Return how many folds a manifest has.

    Raises:
        TrainerError: none yet.
    """
    folds = files.read_metadata(manifest).get("folds")
    if folds is None:
        raise TrainerError(f"{manifest} has no folds; make them with: fertools make-folds {manifest.stem}")
    return int(folds["num_folds"])


# --- judging


def evaluate_run(run: Run, manifests: Path, device: torch.device) -> dict[str, Any]:
    """Judge a trained run again.

    Raises:
        RunError: it is not trained, or the manifest is not the one it was trained on.
    """
    config, provenance = run.read_json("config.json"), run.read_json("provenance.json")
    data = FoldData(files.find(manifests, [config["dataset"]])[0], config["fold"], device)
    if (now := _data_provenance(data)) != provenance["data"]:
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
        "classification": evaluate.classification(truth, predicted, subjects, data.expressions), "codes": {}
    }  # fmt: skip
    for name, test in test_codes.items():
        both = np.concatenate([validation_codes[name], test])
        scores["codes"][name] = {
            "expression_probe": evaluate.expression_probe(
                train_codes[name], data.column("train", "expression"), test, truth
            ),
            "identity_probe": evaluate.identity_probe(both, unseen["subject"], unseen["sequence"]),
            "expression_retrieval": evaluate.retrieval(both, unseen["expression"], unseen["subject"]),
            "identity_retrieval": evaluate.retrieval(both, unseen["subject"], unseen["sequence"]),
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
