"""ONNX models, ours and anyone's, in use: from aligned faces to probabilities by onnxruntime, on the processor.

One of ours says in its metadata how it takes faces. Of any other, a model card does (see `model_card.py`).
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from manifests import files
from manifests.schema import EXPRESSIONS, Crop
from manifests.text import printable
from trainer.evaluation.submission import Submission
from trainer.inference.model import ModelError, Predictions, aligned_faces, face_shape
from trainer.inference.model_card import CHANNELS, Card, read_card
from trainer.inference.onnx import BATCH

MAX_BYTES = 2**31 - 1  # what an ONNX file without others beside it can have: it is a protocol buffer
SUM_TOLERANCE = 0.01  # of the probabilities of a face: half precision rounds
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}

Pixels = NDArray[np.uint8]
Numbers = NDArray[np.floating]


class OnnxModel:
    """A model in ONNX, ready to be shown faces.

    Args:
        run: the graph.
        crop: how the faces are cut out that it is to be shown; their margin is cut off.
        labels: the expression of each output; null: it is none.
        output: logits or probabilities.
        entry: faces to what the graph takes; null: it takes them as they are, as one of ours does.

    Attributes:
        expressions: what it tells apart.
    """

    def __init__(
        self, run: "Graph", crop: Crop, labels: Sequence[str | None], output: str,
        entry: Callable[[Pixels], Numbers] | None = None,
    ) -> None:  # fmt: skip
        self.expressions, self.crop = tuple(name for name in labels if name is not None), crop
        self._run, self._labels, self._output, self._entry = run, labels, output, entry
        self._answer(np.zeros((1, *face_shape(crop)), np.uint8))  # what does not fit is refused at once

    def as_shown(self, stored: Crop) -> Crop:
        """Return as which crops a model is shown those of a manifest.

        Its own; but one of others, which says nothing of alignment, is shown what there is: grey faces in colour, and
        none larger than it needs.
        """
        if self._entry is None:
            return self.crop
        color = self.crop.color if stored.color == "rgb" else "grey"
        return Crop(min(self.crop.size, stored.size), stored.align, color)

    def predict(self, images: NDArray[Any] | Sequence[NDArray[Any]], crop: Crop | None = None) -> Predictions:
        """Return the expressions of aligned faces.

        Args:
            images: uint8, as a manifest stores them or without that margin.
            crop: as which they were cut out, one that `as_shown` returns; null: as the model's own.

        Raises:
            ModelError: other pixels than these, or answers that are no probabilities.
        """
        faces = aligned_faces(images, crop or self.crop)
        found = [self._answer(faces[at : at + BATCH]) for at in range(0, len(faces), BATCH)]
        probabilities = np.concatenate([np.empty((0, len(self.expressions)), np.float32), *found])
        return Predictions(np.array(self.expressions)[probabilities.argmax(1)], probabilities, self.expressions)

    def _answer(self, faces: Pixels) -> NDArray[np.float32]:
        """Return probabilities, (faces, expressions)."""
        found = self._run(faces if self._entry is None else self._entry(faces)).astype(np.float64)
        if found.shape[1] != len(self._labels):
            raise ModelError(f"{self._run.path} has {found.shape[1]} outputs, its card {len(self._labels)} labels")
        if not np.isfinite(found).all():
            raise ModelError(f"{self._run.path} answers what is no number; it cannot be used")
        kept = found[:, [label is not None for label in self._labels]]
        if self._output == "logits":
            kept = np.exp(kept - kept.max(1, keepdims=True))
        elif found.min() < -SUM_TOLERANCE or np.abs(found.sum(1) - 1).max() > SUM_TOLERANCE:
            raise ModelError(
                f"{self._run.path} gives no probabilities, as its card says: the least is {found.min():.3g}, the sum "
                f"{found[0].sum():.3g}; expected 1; logits, perhaps?"
            )
        kept = np.maximum(kept, 1e-12)
        shares: NDArray[np.float64] = kept / kept.sum(1, keepdims=True)
        return shares.astype(np.float32)


def load(path: Path, card: Path | None = None) -> OnnxModel:
    """Return a model of an ONNX file. It is run by onnxruntime's own operators; nothing else in it is.

    Args:
        path: of the file.
        card: of the model; null: it is one that `trainer export` has written.

    Raises:
        ModelError: no such file, one that onnxruntime cannot run, or one that does not fit its card.
    """
    known = read_card(card) if card else None
    graph = Graph(path, known.output_name if known else None)
    own = graph.metadata
    if known is None:
        return _ours(graph, own)
    if {"crop", "expressions"} <= own.keys():
        raise ModelError(f"{path} is of trainer export and says itself how it takes faces; leave out --model-card")
    graph.check(known, str(card))
    size = 128 if known.size <= Crop(128).face else 256
    crop = Crop(size, color="grey" if known.color == "grey" else "rgb")
    return OnnxModel(graph, crop, known.labels, known.output, known.entry)


def submission(
    model: OnnxModel, manifest: Path, faces: pa.Table, rows: NDArray[np.int64], seen: Callable[[str], None]
) -> Submission:
    """Return what a model predicts of faces of a manifest.

    Args:
        model: which.
        manifest: where.
        faces: its rows.
        rows: of usable faces.
        seen: told the face_id of each face.

    Raises:
        ModelError: expressions that no manifest has.
        ManifestError: its faces are smaller, grey, or aligned otherwise than those that a model of ours was trained on.
    """
    if unknown := [name for name in model.expressions if name not in EXPRESSIONS]:
        raise ModelError(f"it tells {printable(unknown[0], 40)!r}; a manifest's are {', '.join(EXPRESSIONS)}")
    stored = files.read_crop(manifest)
    crop, found = model.as_shown(stored), []
    for at in range(0, len(rows), BATCH):
        some = rows[at : at + BATCH]
        found.append(model.predict(files.read_images(manifest, some, crop), crop).probabilities)
        for name in faces["face_id"].take(some).to_pylist():
            seen(name)
    order = np.argsort(model.expressions)
    probabilities = np.concatenate([np.empty((0, len(order)), np.float32), *found])[:, order]
    expressions = tuple(model.expressions[at] for at in order)
    notes = [f"the model was shown {crop}, without their margin"]
    if crop.color != model.crop.color:
        notes.append("the manifest has no colour, which the model takes: it was shown three equal channels")
    return Submission(rows, np.array(expressions)[probabilities.argmax(1)], expressions, probabilities, tuple(notes))


def _ours(graph: "Graph", own: dict[str, str]) -> OnnxModel:
    """Return a model that `trainer export` has written."""
    try:
        expressions, crop = json.loads(own["expressions"]), Crop(**json.loads(own["crop"]))
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{graph.path} does not say how it takes faces, as one of trainer export does; say so in a file, "
            "--model-card FILE.json (docs/models.md has one)"
        ) from error
    if not isinstance(expressions, list) or not all(isinstance(name, str) for name in expressions):
        raise ModelError(f"{graph.path}: its expressions are {printable(repr(expressions), 80)}; export the run again")
    return OnnxModel(graph, crop, expressions, "probabilities")


class Graph:
    """An ONNX file in onnxruntime: one input, one output that counts.

    Attributes:
        metadata: what the file says of itself.
    """

    def __init__(self, path: Path, output: str | None = None) -> None:
        self.path, self._session = path, _session(path)
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        inputs, outputs = self._session.get_inputs(), [one.name for one in self._session.get_outputs()]
        if len(inputs) != 1 or inputs[0].type not in TYPES:
            told = ", ".join(f"{printable(one.name, 40)} {one.type}" for one in inputs[:5])
            raise ModelError(f"{path} takes {told}; expected one input, {' or '.join(TYPES)}")
        if output is None and len(outputs) > 1 or output is not None and output not in outputs:
            names = ", ".join(printable(name, 40) for name in outputs[:12])
            raise ModelError(f"{path} has the outputs {names}; say in its card which one: output_name")
        self._input, self._output = inputs[0], output or outputs[0]
        self.shape: list[Any] = self._input.shape
        self.batch = self.shape[0] if self.shape and isinstance(self.shape[0], int) else None

    def check(self, card: Card, what: str) -> None:
        """Raise ModelError where the input is of another shape or type than a card says."""
        channels, side = CHANNELS[card.color], card.size
        expected = [channels, side, side] if card.layout == "NCHW" else [side, side, channels]
        fits = len(self.shape) == 4 and all(
            not isinstance(found, int) or found == wanted
            for found, wanted in zip(self.shape[1:], expected, strict=True)
        )
        if not fits:
            raise ModelError(
                f"{self.path} takes {_shape(self.shape)}, its card {what} says {_shape(['faces', *expected])}: "
                f"{card.color}, {side} px, {card.layout}; correct the card"
            )
        if self._input.type == "tensor(uint8)" and card.range != (0, 255):
            raise ModelError(f"{self.path} takes uint8, so that its card must have the range [0, 255]")

    def __call__(self, faces: NDArray[Any]) -> Numbers:
        """Return the output, (faces, outputs), of faces as the graph takes them, in batches as it has them."""
        batch = self.batch or len(faces)
        found = [self._one(faces[at : at + batch], batch) for at in range(0, len(faces), batch)]
        return np.concatenate(found)

    def _one(self, faces: NDArray[Any], batch: int) -> Numbers:
        kind = TYPES[self._input.type]
        values = faces.round().astype(kind) if kind is np.uint8 else faces.astype(kind)
        filled = np.concatenate([values, np.repeat(values[-1:], batch - len(values), axis=0)])
        try:
            answer = np.asarray(self._session.run([self._output], {self._input.name: filled})[0])
        except Exception as error:  # onnxruntime has one class for each of its states
            raise ModelError(f"{self.path} cannot be run on {_shape(list(filled.shape))}: {_line(error)}") from error
        if answer.dtype.kind != "f" or not answer.ndim or len(answer) != batch or not answer.size:
            raise ModelError(
                f"{self.path} answers {answer.dtype} of shape {_shape(list(answer.shape))} for {batch} faces; expected "
                "a row of numbers a face"
            )
        return answer.reshape(batch, -1)[: len(faces)]


def _session(path: Path) -> Any:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"{path} needs {error.name}: pip install 'fertools[onnx]'") from error
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ModelError(f"{path} has {size:,} bytes; a model of at most {MAX_BYTES:,} is read")
        graph = onnx.load(path, load_external_data=False).graph
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except ModelError:
        raise
    except Exception as error:  # of protobuf, whose implementations have a class each
        raise ModelError(f"{path} is no ONNX model: {_line(error)}") from error
    if any(tensor.external_data for tensor in graph.initializer):
        raise ModelError(f"{path} keeps weights in other files; save it as one file, with all weights in it")
    del graph
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # one class for each of its states
        raise ModelError(
            f"onnxruntime cannot run {path}: {_line(error)}; custom operators are not loaded: export it with standard "
            "ones, or predict elsewhere and judge the table"
        ) from error


def _shape(shape: Sequence[Any]) -> str:
    return f"({', '.join(printable(each, 20) for each in shape)})"


def _line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0])
