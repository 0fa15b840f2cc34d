"""A pipeline of albumentations, in its own serialisation: names of transforms and numbers, and no code.

albumentations is imported here alone, once a pipeline is asked for.
"""

import hashlib
import json
import os
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fertools.errors import FertoolsError
from manifests.schema import Crop
from manifests.text import printable

MAX_BYTES = 100_000  # of a pipeline's file; one of 20 transforms has 5,000
MAX_COPIES = 1000  # of a face
MAX_NUMBERS = 64  # of an array that was drawn, to be written down; of a larger one, its shape
HOW = "json.dump(albumentations.to_dict(pipeline), file)"


class PipelineError(FertoolsError):
    """A pipeline that cannot be read, or does not make faces of faces."""


@dataclass(frozen=True)
class Pipeline:
    """What draws copies of faces, each by a random state of its own.

    Attributes:
        pipeline: JSON of albumentations.to_dict, keys in order.
        copies: of each face.
        seed: with a face's id and a copy's number, it decides what is drawn.
    """

    pipeline: str
    copies: int = 1
    seed: int = 0
    libraries: tuple[str, ...] = ("fertools", "albumentations")

    @classmethod
    def read(cls, path: Path, copies: int = 1, seed: int = 0) -> "Pipeline":
        """Read a pipeline from a file of JSON.

        Raises:
            PipelineError: no such file, or no such pipeline.
        """
        if not 1 <= copies <= MAX_COPIES:
            raise PipelineError(f"{copies} copies of a face; expected 1 to {MAX_COPIES}")
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise PipelineError(
                f"{printable(path)} cannot be read ({error.strerror}); write one with: {HOW}"
            ) from error
        if len(data) > MAX_BYTES:
            raise PipelineError(f"{printable(path)} has more than {MAX_BYTES:,} bytes; a pipeline is names and numbers")
        try:
            pipeline = json.dumps(json.loads(data), sort_keys=True, allow_nan=False)
            _composed(pipeline)
        except PipelineError as error:
            raise PipelineError(f"{printable(path)}: {error}") from error
        except RecursionError as error:
            raise PipelineError(f"{printable(path)} is nested too deeply; write it with: {HOW}") from error
        except ValueError as error:
            raise PipelineError(f"{printable(path)} is no JSON ({printable(error)}); write it with: {HOW}") from error
        return cls(pipeline, copies, seed)

    def apply(
        self, crop: Crop, pixels: NDArray[np.uint8], face_ids: Sequence[str]
    ) -> tuple[NDArray[np.uint8], list[str], set[str]]:
        """Return copies of faces, those of one face together, what was drawn for each, and warnings of albumentations.

        A pipeline sees the whole crop, whose margin is what a face that is turned or moved a little shows at its edges;
        the face is cut out last.

        Args:
            crop: how the faces are cut out.
            pixels: (faces, *crop.shape), of stored crops.
            face_ids: of the faces.

        Returns:
            (copies faces, face, face, ...) grey levels, and as many JSON texts.

        Raises:
            PipelineError: it fails on a face, or makes something else of it than as many grey levels.
        """
        composed, images, parameters = _composed(self.pipeline), [], []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for face_id, face in zip(face_ids, pixels, strict=True):
                for copy in range(self.copies):
                    composed.set_random_state(*_random_state(self.seed, face_id, copy))
                    image, drawn = _augmented(composed, face, face_id)
                    images.append(image[crop.margin : -crop.margin, crop.margin : -crop.margin])
                    parameters.append(json.dumps(drawn))
        return np.stack(images), parameters, {printable(warning.message) for warning in caught}


def _random_state(seed: int, face_id: str, copy: int) -> tuple[np.random.Generator, random.Random]:
    """Return what a copy is drawn from: all transforms draw from the same two, for they would else draw alike."""
    number = int.from_bytes(hashlib.sha256(f"{seed} {copy} {face_id}".encode()).digest()[:8])
    return np.random.default_rng(number), random.Random(number)


def _augmented(composed: Any, face: NDArray[np.uint8], face_id: str) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    try:
        result = composed(image=face.copy())
    except Exception as error:  # of whatever a transform does
        raise PipelineError(
            f"the pipeline fails on the {_kind(face)} of {printable(face_id)}: {_in_words(error)}"
        ) from error
    image = result["image"]
    if not isinstance(image, np.ndarray) or (image.shape, image.dtype) != (face.shape, face.dtype):
        raise PipelineError(
            f"the pipeline makes a {_kind(image)} of the {_kind(face)} of {printable(face_id)}; expected as many grey "
            "levels: leave out what crops, resizes, normalises or converts"
        )
    drawn = [
        {"transform": name, **_plain({key: value for key, value in drawn.items() if key != "shape"})}
        for name, drawn in result["applied_transforms"]
    ]
    return image, drawn


def _kind(image: Any) -> str:
    if not isinstance(image, np.ndarray):
        return type(image).__name__
    return f"{image.dtype} image of {' x '.join(map(str, image.shape))}"


def _plain(value: Any) -> Any:
    """Return what was drawn as JSON can hold it; of a large array, its shape."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.size > MAX_NUMBERS:
        return f"{value.dtype} array of {' x '.join(map(str, value.shape))}"
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | None) else type(value).__name__


# --- reading


@lru_cache(maxsize=1)
def _composed(pipeline: str) -> Any:
    """Return the pipeline, as one Compose that records what it draws.

    Raises:
        PipelineError: it names what is no transform of albumentations, or gives one what it does not take.
    """
    library, parsed = _albumentations(), json.loads(pipeline)
    if not isinstance(parsed, dict) or "transform" not in parsed:
        raise PipelineError(f"no pipeline of albumentations; write it with: {HOW}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of here, it refuses below
        _check(library, parsed["transform"])
        return _made(library, parsed["transform"])


def _made(library: Any, transform: Mapping[str, Any]) -> Any:
    """Return a transform, in a Compose that refuses arguments which it does not know."""
    try:
        made = library.from_dict({"transform": transform})
        return library.Compose([made], strict=True, save_applied_params=True)
    except Exception as error:  # of whatever a transform does with its arguments
        raise PipelineError(f"{printable(transform['__class_fullname__'])}: {_in_words(error)}") from error


def _check(library: Any, transform: Any) -> None:
    """Raise PipelineError unless a transform, and all that are within it, are albumentations' own."""
    name = transform.get("__class_fullname__") if isinstance(transform, dict) else None
    if not isinstance(name, str):
        raise PipelineError(f"{printable(transform)} is no transform: it has no __class_fullname__")
    short = name.rpartition(".")[2] if name.startswith("albumentations.") else name
    if short not in _known(library):
        why = (
            "a Lambda is code, which no file may bring" if short == "Lambda" else "expected one of albumentations' own"
        )
        raise PipelineError(f"transform {printable(repr(name))} is refused: {why}")
    if read := {"reference_images", "read_fn", "font_path"} & transform.keys():
        raise PipelineError(f"{short} reads other files ({', '.join(sorted(read))}), which no record would name")
    within = transform.get("transforms", [])
    if not isinstance(within, list):
        raise PipelineError(f"{short}: transforms is {printable(within)}, expected a list")
    for inner in within:
        _check(library, inner)
    if not within:
        _made(library, transform)  # alone, so that an error names it


def _known(library: Any) -> set[str]:
    """Return the names of albumentations' own transforms; others may have registered theirs."""
    from albumentations.core.serialization import SERIALIZABLE_REGISTRY

    return {
        name
        for name, kind in SERIALIZABLE_REGISTRY.items()
        if kind.__module__.startswith("albumentations.")
        and issubclass(kind, library.BasicTransform | library.BaseCompose)
    }


def _albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version
    import albumentations

    return albumentations


def _in_words(error: Exception) -> str:
    """Return an error on one line; pydantic's has several."""
    return printable("; ".join(line.strip() for line in str(error).splitlines()) or type(error).__name__, 400)
