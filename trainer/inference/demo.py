"""What a model reads of a photograph, and which of the faces that it was trained on are near it, as a page shows it."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from trainer.data.crops import Pictures, Resident
from trainer.data.fold_data import FoldData, upright
from trainer.evaluation import evaluate
from trainer.inference import photos
from trainer.inference.model import WEIGHTS, Model, model_folder, of_run, read
from trainer.inference.photos import Found
from trainer.runs.device import pick_device
from trainer.runs.run import load_run

SHOWN, NUM_FACES, NUM_NEAREST = 1280, 20, 6  # px of a photograph's longer side; at most, of it; of each code
CODES = ("expression", "identity")
PICTURES = "JPEG, PNG or WebP"


class Refusal(Exception):
    """A request that is answered with a sentence: what was found, and what to do."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


@dataclass(frozen=True)
class TrainingFaces:
    """The faces that a run was trained on, and where its codes have them."""

    pictures: Pictures
    labels: dict[str, NDArray[Any]]  # (faces,) each: expression, sequence, and subject, None where not published
    centres: dict[str, NDArray[np.float32]]  # code -> (dims,), the mean
    codes: dict[str, NDArray[np.float32]]  # code -> (faces, dims), from the mean on, of length 1

    def nearest(self, code: str, query: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Return the nearest faces, by cosine of mean-centred codes, at most one of a recording.

        Args:
            code: expression or identity.
            query: (dims,) of a face.
        """
        similar = self.codes[code] @ _directions(query - self.centres[code])
        order = np.argsort(-similar, kind="stable")
        _, first = np.unique(self.labels["sequence"][order], return_index=True)
        return [
            {
                "picture": png(self.pictures[place]),
                "expression": str(self.labels["expression"][place]),
                "subject": self.labels["subject"][place],
                "similarity": float(similar[place]),
            }
            for place in order[np.sort(first)[:NUM_NEAREST]]
        ]


def corpus(model: Model, data: FoldData) -> TrainingFaces:
    """Return the training part of a run's data as its model has it."""
    outputs = evaluate.infer(model.network.method, data, "train")
    known = [name for name in CODES if name in outputs.codes]
    centres = {name: outputs.codes[name].mean(0) for name in known}
    codes = {name: _directions(outputs.codes[name] - centres[name]) for name in known}
    return TrainingFaces(
        data.pictures("train"), outputs.labels | {"subject": data.column("train", "subject")}, centres, codes
    )


def _directions(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(codes, axis=-1, keepdims=True)
    return np.asarray(codes / np.maximum(lengths, 1e-12), np.float32)


@dataclass(frozen=True)
class DemoPredictor:
    """A model, and what it takes to show it photographs.

    Attributes:
        model: reads expressions.
        near: the training faces; of an exported model none, which knows its run's faces no more.
        find: a photograph's pixels to its faces, or PhotoError.
    """

    model: Model
    near: TrainingFaces | None
    find: Callable[[NDArray[np.uint8]], tuple[Found, ...]]

    def answer(self, data: bytes) -> dict[str, Any]:
        """Return what is read of a photograph: itself, its faces, where they are, what is near them.

        Args:
            data: of an image file.

        Raises:
            Refusal: it is no picture, or shows no face.
        """
        if not data:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"This file is empty. Choose a {PICTURES}.")
        try:
            image = photos.decode(data)
        except photos.PhotoError as error:
            sentence = f"This photo cannot be read: {error}. Choose a whole {PICTURES}."
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, sentence) from error
        height, width = image.shape[:2]
        try:
            found = self.find(image)
        except photos.PhotoError as error:
            sentence = f"This photo ({width} x {height} px): {error}. Show one upright, well lit, at least 20 px wide."
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from error
        scale = np.array([width, height] * 2)
        boxes = [(face.box / scale).clip(0, 1).tolist() for face in found[:NUM_FACES]]
        faces = [{"box": box} | read for box, read in zip(boxes, self._read(found[:NUM_FACES]), strict=True)]
        return {"photo": jpeg(image), "width": width, "height": height, "found": len(found), "faces": faces}

    def _read(self, found: tuple[Found, ...]) -> list[dict[str, Any]]:
        """Return what is read of each face, and which training faces are near."""
        crops = np.stack([face.crop for face in found])
        read = self.model.predict(crops)
        near = self._nearest(crops) if self.near else [{}] * len(crops)
        margin = self.model.network.crop.margin
        return [
            {
                "picture": png(face.crop[margin:-margin, margin:-margin]),
                "expression": str(label),
                "probabilities": dict(zip(read.expressions, shares.tolist(), strict=True)),
                "nearest": nearest,
            }
            for face, label, shares, nearest in zip(found, read.labels, read.probabilities, near, strict=True)
        ]

    def _nearest(self, crops: NDArray[np.uint8]) -> list[dict[str, Any]]:
        assert self.near
        network = self.model.network
        stored = Resident(torch.from_numpy(crops).to(next(network.parameters()).device))
        images = upright(stored, network.whitening)
        _, codes = evaluate.predict(network.method, images)
        return [
            {name: self.near.nearest(name, codes[name][place]) for name in self.near.codes}
            for place in range(len(crops))
        ]


def reader(path: Path, manifests: Path, device: str) -> DemoPredictor:
    """Return what reads photographs with a run, or with an exported model, whose training faces are not known.

    Raises:
        TrainerError: no such folder, or not one of these.
        ManifestError: a run's manifest is not there.
    """
    folder, where = model_folder(path), pick_device(device)
    if (folder / WEIGHTS).exists():
        model, near = read(folder, where), None
    else:
        run = load_run(folder)
        method, data = evaluate.load(run, manifests, where)
        model = of_run(run, method, data)
        near = corpus(model, data)
    return DemoPredictor(model, near, photos.finder(model.network.crop, str(where)))


def png(picture: NDArray[np.uint8]) -> str:
    """Return a picture as a data address."""
    return _address(picture, "PNG")


def jpeg(photograph: NDArray[np.uint8]) -> str:
    """Return a photograph, no longer than 1280 px, as a data address."""
    longest = max(photograph.shape[:2])
    if longest <= SHOWN:
        return _address(photograph, "JPEG")
    height, width = (max(1, round(side * SHOWN / longest)) for side in photograph.shape[:2])
    return _address(np.asarray(Image.fromarray(photograph).resize((width, height), reducing_gap=2)), "JPEG")


def _address(picture: NDArray[np.uint8], form: str) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
