"""A trained run as one module, from aligned faces to probabilities, and the folder that it is read back from.

`config.json` holds the module's arguments, `model.safetensors` its state: whoever adds huggingface_hub's
PyTorchModelHubMixin to its bases can call `from_pretrained` on the folder. `trainer export` writes it.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn

from manifests import files
from manifests.schema import DEFAULT_CROP, Crop
from trainer.data.crops import EVALUATION_BATCH
from trainer.data.fold_data import FoldData, standardize
from trainer.errors import TrainerError
from trainer.evaluation import evaluate
from trainer.evaluation.metrics.temperature import COOLEST, HOTTEST, calibrate
from trainer.inference import photos
from trainer.inference.predictions import batch_rows, columns
from trainer.methods import build
from trainer.methods.base import Method
from trainer.methods.config import one_of
from trainer.methods.pretrained import weights
from trainer.runs.device import pick_device
from trainer.runs.run import Run, load_run

VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
SHIPPED = Path(__file__).parent / "shipped"  # models by name, as `trainer export` writes them
ARGUMENTS = ("method", "settings", "expressions", "crop", "whitening", "temperature")


class ModelError(TrainerError):
    """A folder that holds no model, or faces that a model does not take."""


@dataclass(frozen=True)
class Predictions:
    """What a model reads of faces.

    Attributes:
        labels: (faces,) the most probable expression of each.
        probabilities: (faces, expressions), calibrated; each row sums to 1.
        expressions: what the columns stand for.
    """

    labels: NDArray[Any]
    probabilities: NDArray[np.float32]
    expressions: tuple[str, ...]


class Whitening(nn.Module):
    """What makes network input of levels from 0 to 1, as `fold_data.whitener` does, with its statistics in it.

    Args:
        kind: zca, standardize or none.
        rank: of ZCA, how many directions are kept.
        pixels: values of a face.
    """

    def __init__(self, kind: str, rank: int, pixels: int) -> None:
        super().__init__()
        one_of("whitening", kind, ("zca", "standardize", "none"))
        self.kind = kind
        if kind == "zca":
            for name, shape in {"centre": (pixels,), "basis": (rank, pixels), "gain": (rank,), "rest": ()}.items():
                self.register_buffer(name, torch.zeros(shape))

    def forward(self, faces: Float[Tensor, "batch channels side side"]) -> Float[Tensor, "batch channels side side"]:
        """Return faces as the method sees them."""
        if self.kind == "none":
            return 2 * faces - 1
        if self.kind == "standardize":
            return standardize(faces)
        centre, basis, gain, rest = map(self.get_buffer, ("centre", "basis", "gain", "rest"))
        centred = faces.flatten(1) - centre
        return torch.addmm(rest * centred, centred @ basis.T * gain, basis).view_as(faces)


class Network(nn.Module):
    """Aligned faces to calibrated probabilities: preprocessing, method and temperature.

    Args:
        method: one of `trainer.methods.names()`.
        settings: the method's.
        expressions: what the probabilities stand for, in order.
        crop: size, align and color of `manifests.schema.Crop`.
        whitening: kind and rank of `Whitening`.
        temperature: by which logits are divided.
    """

    def __init__(
        self, method: str, settings: dict[str, Any], expressions: list[str], crop: dict[str, Any],
        whitening: dict[str, Any], temperature: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.expressions, self.crop, self.temperature = tuple(expressions), Crop(**crop), float(temperature)
        self.whitening = Whitening(**whitening, pixels=int(np.prod(face_shape(self.crop))))
        with torch.random.fork_rng(devices=[]):  # weights follow: a caller's random numbers stay as they are
            self.method = build(method, settings, list(expressions), 0, torch.get_default_device())

    def forward(self, faces: UInt8[Tensor, "batch side side *channels"]) -> Float[Tensor, "batch expressions"]:
        """Return probabilities."""
        return torch.softmax(self.method(self.whitened(faces)).float() / self.temperature, dim=1)

    def whitened(self, faces: UInt8[Tensor, "batch side side *channels"]) -> Float[Tensor, "batch channels side side"]:
        """Return faces as the method sees them, in the precision of its weights."""
        images = faces.unsqueeze(1) if self.crop.color == "grey" else faces.movedim(-1, 1)
        seen: Tensor = self.whitening(images.float() / 255).to(next(self.method.parameters()).dtype)
        return seen


class Model:
    """A trained model, ready to be shown faces.

    Args:
        network: in evaluation mode.
        config: what `config.json` says, of which the network's arguments are a part.
    """

    def __init__(self, network: Network, config: dict[str, Any]) -> None:
        self.network, self.config = network, config

    @property
    def expressions(self) -> tuple[str, ...]:
        """What it tells apart."""
        return self.network.expressions

    @property
    def crop(self) -> Crop:
        """How the faces are cut out that it is to be shown."""
        return self.network.crop

    def read(self, pictures: Any) -> pa.Table:
        """Return the expressions of all faces in photographs, a row a face; `.to_pandas()` makes a data frame of it.

        A picture that cannot be read, or shows no face, has no row and is told of by a warning.

        Args:
            pictures: one, or a list: paths of photographs, videos and folders; arrays, uint8 (height, width) or
                (height, width, 3) RGB; images of Pillow.

        Raises:
            PhotoError: something else, or an empty folder.
        """
        one = isinstance(pictures, str | os.PathLike | np.ndarray) or hasattr(pictures, "getexif")
        device = str(next(self.network.parameters()).device)
        found = []
        for batch in photos.find(photos.given([pictures] if one else pictures), self.network.crop, device):
            for rows in batch_rows(batch, lambda crops: self.predict(crops).probabilities, self.expressions):
                found += rows
            for photo in batch:
                if photo.reason:
                    warnings.warn(f"{photo.path}: {photo.reason}", stacklevel=2)
        return pa.Table.from_pylist(found, columns(self.expressions))

    @torch.inference_mode()
    def predict(self, images: NDArray[Any] | Sequence[NDArray[Any]]) -> Predictions:
        """Return the expressions of aligned faces, as a manifest stores them or without that margin.

        Args:
            images: uint8, (faces, 112, 112) or (faces, 144, 144), one face of these, or a list of faces; sizes, and
                (..., 3) in colour, as the crop of the model has them.

        Raises:
            ModelError: other pixels than these; photographs are for `read`.
        """
        found = [self.network(batch).cpu().numpy() for batch in self._batches(images)]
        probabilities = np.concatenate([np.empty((0, len(self.expressions)), np.float32), *found])
        return Predictions(np.array(self.expressions)[probabilities.argmax(1)], probabilities, self.expressions)

    @torch.inference_mode()
    def codes(self, images: NDArray[Any] | Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Return the codes of aligned faces, (faces, dims) each: expression and, where the method has it, identity.

        Args:
            images: as `predict` takes them, one at least.

        Raises:
            ModelError: other pixels than these.
        """
        found = [self.network.method.codes(self.network.whitened(batch)) for batch in self._batches(images)]
        return {name: torch.cat([codes[name] for codes in found]).float().cpu().numpy() for name in found[0]}

    def _batches(self, images: NDArray[Any] | Sequence[NDArray[Any]]) -> Iterator[Tensor]:
        """Yield aligned faces on the model's device."""
        crop, device = self.network.crop, next(self.network.parameters()).device
        faces = torch.from_numpy(aligned_faces(images, crop))
        batches = torch.split(faces, EVALUATION_BATCH * DEFAULT_CROP.face**2 // crop.face**2)
        yield from (batch.to(device) for batch in batches if len(batch))


def face_shape(crop: Crop) -> tuple[int, ...]:
    """Return the shape of a face's pixels without the stored margin: (112, 112), or as the crop says."""
    return (crop.face, crop.face, *crop.shape[2:])


def aligned_faces(images: NDArray[Any] | Sequence[NDArray[Any]], crop: Crop) -> NDArray[np.uint8]:
    """Return faces as one array, without the stored margin."""
    shape, whole = face_shape(crop), slice(crop.margin, -crop.margin)
    if isinstance(images, np.ndarray):
        listed = [images] if images.ndim == len(shape) else list(images)
    else:
        listed = [np.asarray(image) for image in images]
    cut = np.empty((len(listed), *shape), np.uint8)
    for place, image in enumerate(listed):
        if image.dtype != np.uint8 or image.shape not in (shape, crop.shape):
            raise ModelError(
                f"image {place} is {image.dtype} of shape {image.shape}; expected an aligned face, uint8 of shape "
                f"{shape}, or {crop.shape} as a manifest stores it; of photographs, `read` finds the faces first"
            )
        cut[place] = image if image.shape == shape else image[whole, whole]
    return cut


# --- of a run


def load(path: Path | str, device: str = "auto", manifests: Path | str = "manifests") -> Model:
    """Return a trained model. Nothing is downloaded and nothing in a file is run.

    Args:
        path: the folder of a run, or one that `trainer export` or huggingface_hub's PyTorchModelHubMixin has written;
            or the name of a shipped model: london.
        device: auto, cpu or cuda.
        manifests: of a run alone: where its manifest is, which has its whitening and the faces it is calibrated on.

    Raises:
        TrainerError: no such folder, or not one of these; the message says what to do.
        ManifestError: a run's manifest is not there.
    """
    folder, where = model_folder(path), pick_device(device)
    if (folder / WEIGHTS).exists():
        return read(folder, where)
    run = load_run(folder)
    return of_run(run, *evaluate.load(run, Path(manifests), where))


def model_folder(path: Path | str) -> Path:
    """Return the folder that is named or, where there is none, that of the shipped model of this name."""
    folder = Path(path)
    shipped = SHIPPED / folder.name
    return shipped if not folder.exists() and str(folder) == folder.name and shipped.is_dir() else folder


def of_run(run: Run, method: Method, data: FoldData) -> Model:
    """Return a trained run as a model, calibrated on the validation faces."""
    about, provenance = run.read_json("config.json"), run.read_json("provenance.json")
    statistics = _whitening_state(data) if provenance["data"]["whitening"] == "zca" else {}
    logits, _ = evaluate.predict(method, data.upright("validation"))
    calibrated = calibrate(logits, data.column("validation", "expression"), data.expressions)
    config = {
        "model_version": VERSION,
        "method": about["method"], "settings": about["settings"], "expressions": data.expressions,
        "crop": asdict(data.crop),
        "whitening": {"kind": provenance["data"]["whitening"], "rank": len(statistics.get("gain", ()))},
        "temperature": calibrated["temperature"],
        "calibration": calibrated,
        "trained": {name: about.get(name) for name in ("dataset", "fold", "seed", "preset", "start", "encoder_weights")}
        | {"run": run.folder.name, "weights_sha256": run.weights_sha256(), "drawn": provenance["data"]["drawn"]},
    }  # fmt: skip
    network = Network(**{name: config[name] for name in ARGUMENTS})
    network.method.load_state_dict(method.state_dict())
    network.whitening.load_state_dict(statistics)
    return Model(network.to(data.device).eval(), config)


def _whitening_state(data: FoldData) -> dict[str, Tensor]:
    mean, components, variance, about = files.read_whitening(data.manifest, data.fold, data.table)
    rest = (about["tail"] + about["epsilon"]) ** -0.5
    gain = ((variance + about["epsilon"]) ** -0.5 - rest).astype(np.float32)
    found = {"centre": mean, "basis": components, "gain": gain, "rest": np.float32(rest)}
    return {name: torch.as_tensor(value) for name, value in found.items()}


# --- of a folder


def config_sha256(config: dict[str, Any]) -> str:
    """Return the hash of a configuration, however its file is set."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def read(folder: Path, device: torch.device) -> Model:
    """Return an exported model. Its tensors must be those that its configuration asks for, and no others.

    Raises:
        ModelError: a file is missing, damaged or not of this model.
        WeightsError: the tensors are refused.
    """
    config = _read_config(folder / CONFIG)
    try:
        with torch.device("meta"):  # nothing is allocated on a configuration's word
            network = Network(**{name: config[name] for name in ARGUMENTS})
    except Exception as error:  # what a changed configuration may raise is without bound
        raise ModelError(f"{folder / CONFIG} describes no model of this version: {_line(error)}") from error
    tensors = weights.read(str(folder / WEIGHTS)).tensors
    expected = network.state_dict()
    kinds = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    asked = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in expected.items()}
    if odd := sorted(name for name in kinds.keys() | asked.keys() if kinds.get(name) != asked.get(name)):
        raise ModelError(
            f"{folder / WEIGHTS} does not fit {CONFIG}: {odd[0]} is {kinds.get(odd[0], 'missing')}, expected "
            f"{asked.get(odd[0], 'none')}; {len(odd)} tensors differ; export the run again"
        )
    with safe_open(folder / WEIGHTS, "pt") as file:
        written = (file.metadata() or {}).get("config_sha256")  # huggingface_hub writes none
    if written not in (None, config_sha256(config)):
        raise ModelError(f"{folder / CONFIG} was changed after it was exported; export the run again")
    network.to_empty(device=device).load_state_dict(tensors)
    return Model(network.eval(), config)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {_line(error)}; export the run again") from error
    version = config.get("model_version", VERSION) if isinstance(config, dict) else None
    if version != VERSION:
        raise ModelError(f"{path} is of model version {version}, this code reads {VERSION}; export the run again")
    if missing := [name for name in ARGUMENTS if name not in config]:
        raise ModelError(f"{path} has no {', '.join(missing)}: it is of another model; trainer export writes one")
    if not isinstance(config["temperature"], float) or not COOLEST <= config["temperature"] <= HOTTEST:
        raise ModelError(f"{path}: temperature {config['temperature']}: expected a number from {COOLEST} to {HOTTEST}")
    return dict(config)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
