"""Photographs, videos and a camera to expressions: decoded, detected, aligned and classified in batches.

Two batches are held at a time, whatever a folder or a video holds; rows are written in the order of the pictures.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from trainer.data.augment import VARIANTS, variant_grids
from trainer.errors import TrainerError
from trainer.inference import photos
from trainer.inference.annotate import Mark, draw
from trainer.inference.annotated_files import Album, album, names_file
from trainer.inference.model import Model
from trainer.inference.onnx_model import OnnxModel
from trainer.inference.photos import Photo
from trainer.inference.predictions import EDGES, TABLES, Row, batch_rows, columns, part_of, shown, table

MAX_NAMED = 1000  # of what gave no face: as many are listed, all are counted and told


class PredictError(TrainerError):
    """Something that cannot be predicted as asked."""


@dataclass(frozen=True, kw_only=True)
class PredictSpec:
    """What to look at, how, and where to write it.

    Attributes:
        paths: of photographs, videos and folders.
        camera: number of a camera, instead.
        every: of a video, look at frames 0, every, 2 * every, ...
        largest: take but the face that is meant of each picture.
        min_score: leave out faces that the detector is less sure of, 0 to 1.
        variants: average over a face's variants.
        out: a table, .csv, .parquet or .jsonl.
        annotated: a folder, or one picture or video.
    """

    paths: tuple[Path, ...] = ()
    camera: int | None = None
    every: int = 1
    largest: bool = False
    min_score: float = 0.0
    variants: bool = False
    out: Path | None = None
    annotated: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, or would write over what is read."""
        if bool(self.paths) == (self.camera is not None):
            raise PredictError("name photographs, videos or folders, or --camera 0; one of both")
        if self.every > 1 and self.camera is not None:
            raise PredictError("--every is for videos; of a camera each frame is looked at for which there is time")
        if self.out and self.out.suffix.lower() not in TABLES:
            raise PredictError(f"--out {self.out}: expected a name that ends in {', '.join(TABLES)}")
        if self.annotated and names_file(self.annotated) and (len(self.paths) > 1 or any(map(Path.is_dir, self.paths))):
            raise PredictError(f"--annotated {self.annotated} is one file, for one photograph or video; name a folder")
        for name, target in (("--out", self.out), ("--annotated", self.annotated)):
            for path in self.paths if target else ():
                if target and path.resolve().is_relative_to(target.resolve()):
                    raise PredictError(f"{name} {target} would write over {path}, which is read; name another place")

    def opened(self) -> Iterator[Photo]:
        """Yield the pictures; what is written is none of them."""
        return photos.camera(self.camera) if self.camera is not None else photos.pictures(self._entries(), self.every)

    def num_files(self) -> int | None:
        """Return how many files are asked for; null of a camera."""
        return None if self.camera is not None else sum(1 for _ in self._entries())

    def _entries(self) -> Iterator[photos.Entry]:
        targets = (self.out, self.out and part_of(self.out), self.annotated)
        return photos.entries(self.paths, [target for target in targets if target])


@dataclass
class Summary:
    """What was looked at, and what came of it.

    Attributes:
        expressions: of how many faces each is the most probable.
        without_face: photographs and frames.
        unreadable: files and frames; all that a video lacks at its end count as one.
        skipped: the first 1,000 of these, with reasons; the frames of a video without a face are one of them.
    """

    photographs: int = 0
    videos: int = 0
    frames: int = 0
    faces: int = 0
    expressions: dict[str, int] = field(default_factory=dict)
    without_face: int = 0
    unreadable: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    interrupted: bool = False

    def text(self) -> str:
        """Return it as lines to read."""
        frames = f"{_number(self.frames, 'frame')} of {_number(self.videos, 'video')}"
        looked = [_number(self.photographs, "photograph")] * (self.photographs > 0) + [frames] * (self.frames > 0)
        told = [f"{_number(self.faces, 'face')} in {' and '.join(looked) or 'nothing that can be read'}"]
        told += [f"{name} {num}" for name, num in sorted(self.expressions.items(), key=lambda pair: -pair[1])]
        lines = [told[0] + (": " if told[1:] else "") + ", ".join(told[1:])]
        if self.without_face or self.unreadable:
            lines.append(f"{self.without_face} without a face, {self.unreadable} unreadable; each is named above")
        if self.interrupted:
            lines.append("interrupted: what is written is whole, and ends here")
        return "\n".join(lines)


def _number(num: int, what: str) -> str:
    return f"{num} {what}{'s' * (num != 1)}"


class Listener(NamedTuple):
    """Who is told: of each row, of what gives no face, of the picture that was last looked at: path, frame."""

    row: Callable[[Row], None]
    problem: Callable[[str], None]
    picture: Callable[[Path, int | None], None]


# --- faces to probabilities


@torch.inference_mode()
def probabilities(model: Model | OnnxModel, crops: NDArray[np.uint8], variants: bool = False) -> NDArray[np.float32]:
    """Return calibrated probabilities, (faces, expressions).

    Args:
        model: a trained one.
        crops: (faces, 144, 144), as a manifest stores them, or as the model's crop says.
        variants: take the mean over the 14 variants that a method is trained on; of a method that is trained on others
            (`Method.INPUT`), over the face and its mirror image, which has the same expression.
    """
    if not variants:
        return model.predict(crops).probabilities
    if isinstance(model, OnnxModel):
        raise PredictError("--variants needs a run, or a folder that trainer export has written; leave it out")
    network = model.network
    device, plain = next(network.parameters()).device, network.method.INPUT == "plain"
    levels = torch.from_numpy(crops[:, None] if crops.ndim == 3 else crops.transpose(0, 3, 1, 2)).to(device) / 255
    total = torch.zeros(len(crops), len(model.expressions), device=device)
    grids = zip(VARIANTS, variant_grids(network.crop), strict=True)
    used = [grid for (angle, _), grid in grids if not (plain and angle)]
    for grid in used:
        faces = F.grid_sample(levels, grid.to(device).expand(len(crops), -1, -1, -1), align_corners=False)
        total += torch.softmax(network.method(network.whitening(faces)).float() / network.temperature, 1)
    return (total / len(used)).cpu().numpy()


# --- all together


def predict(
    model: Model | OnnxModel, spec: PredictSpec, device: str, tell: Listener, stop: Callable[[], bool]
) -> Summary:
    """Look at all that is asked for, write it, and tell of it; once to stop, what was written so far is whole.

    Args:
        model: a trained one.
        spec: what to look at, how, and where to write it.
        device: where faces are detected.
        tell: of what is found.
        stop: asked after every batch.

    Raises:
        TrainerError: something cannot be written; an empty folder; no such camera.
    """
    tally, names = _Tally(tell), columns(model.expressions)
    together = photos.TOGETHER if spec.camera is None else 1  # a camera does not wait
    with ExitStack() as stack:
        write = stack.enter_context(table(spec.out, names)) if spec.out else None
        pictures = stack.enter_context(album(spec.annotated)) if spec.annotated else None
        crop, read = model.crop, partial(probabilities, model, variants=spec.variants)
        for found_in in photos.find(spec.opened(), crop, device, only_largest=spec.largest, together=together):
            batch = [_sure(photo, spec.min_score) for photo in found_in]
            for photo, found in zip(batch, batch_rows(batch, read, model.expressions), strict=True):
                tally.add(photo, found)
                if write:
                    write(found)
                if pictures:
                    _annotate(pictures, photo, found)
            if stop():
                tally.summary.interrupted = True
                break
    tally.end_video()
    return tally.summary


def _sure(photo: Photo, min_score: float) -> Photo:
    """Return a picture with those of its faces that the detector is sure of."""
    sure = tuple(face for face in photo.faces if face.score >= min_score)
    if sure or not photo.faces:
        return replace(photo, faces=sure)
    surest = max(face.score for face in photo.faces)
    return replace(photo, faces=(), reason=f"no face of score {min_score} or more, the surest has {surest:.3f}")


def _annotate(pictures: Album, photo: Photo, found: Sequence[Row]) -> None:
    """Write a photograph with a face, or any frame, with what was found in it."""
    if photo.image is None:
        return
    marks = [Mark([row[edge] for edge in EDGES], row["expression"], row["probability"]) for row in found]
    if photo.time is not None and photo.rate is not None:
        pictures.frame(photo.place, draw(photo.image, marks), photo.time, photo.rate)
    elif marks:
        pictures.write_image(photo.place, draw(photo.image, marks))


class _Tally:
    """Counts what was looked at, and tells of it."""

    def __init__(self, tell: Listener) -> None:
        self.summary, self._tell = Summary(), tell
        self._video, self._frames, self._empty = Path(), 0, 0  # the last one, its frames, those without a face

    def add(self, photo: Photo, found: Sequence[Row]) -> None:
        """Count a picture, whose faces are these rows."""
        if photo.path != self._video:
            self.end_video()
        self._tell.picture(photo.path, photo.frame)
        counts = self.summary.expressions
        for row in found:
            counts[row["expression"]] = counts.get(row["expression"], 0) + 1
            self._tell.row(row)
        self.summary.faces += len(found)
        self.summary.without_face += photo.image is not None and not found
        self.summary.unreadable += photo.image is None
        if photo.frame is not None:
            self._add_frame(photo, found)
        elif photo.image is not None:
            self.summary.photographs += 1
        if photo.reason and (photo.frame is None or photo.image is None or found):
            self._skip(photo.path, photo.reason)

    def _add_frame(self, photo: Photo, found: Sequence[Row]) -> None:
        self.summary.videos += photo.path != self._video
        self.summary.frames += 1
        self._video, self._frames = photo.path, self._frames + 1
        self._empty += photo.image is not None and not found

    def end_video(self) -> None:
        """Tell of the frames of the last video in which no face was found."""
        if self._empty:
            self._skip(self._video, f"no face found in {self._empty} of {self._frames} frames")
        self._video, self._frames, self._empty = Path(), 0, 0

    def _skip(self, path: Path, reason: str) -> None:
        self._tell.problem(f"{shown(path)}: {reason}")
        if len(self.summary.skipped) < MAX_NAMED:
            self.summary.skipped.append({"path": shown(path), "reason": reason})
