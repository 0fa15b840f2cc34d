"""Photographs and videos to codes: E and I of every face, as a table."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainer.errors import TrainerError
from trainer.inference import photos
from trainer.inference.model import Model
from trainer.inference.predictions import columns, rows, shown, table

TOLD = ("path", "frame", "time", "face", "x0", "y0", "x1", "y1", "score")  # of a face, as `trainer predict` tells it


def embed(
    model: Model, paths: Sequence[Path], out: Path, device: str, problem: Callable[[str], None],
    picture: Callable[[Path, int | None], None], stop: Callable[[], bool],
) -> int:  # fmt: skip
    """Write the codes of all faces of photographs, videos and folders, a row a face; return how many there are.

    A column a code, lists of float32: expression, and identity where the method has it.

    Args:
        model: a trained one.
        paths: of what is looked at.
        out: the table, .parquet.
        device: where faces are detected.
        problem: told of each picture that gives no face.
        picture: told of each picture, and its frame, that was looked at.
        stop: asked after every batch; what was written so far is then whole.

    Raises:
        TrainerError: the table cannot be written, or is of another kind; an empty folder.
    """
    if out.suffix.lower() != ".parquet":
        raise TrainerError(f"--out {out}: expected a name that ends in .parquet; codes are lists of numbers")
    crop, num = model.network.crop, 0
    blank = np.zeros((1, *crop.shape), np.uint8)
    codes = [pa.field(name, pa.list_(pa.float32(), code.shape[1])) for name, code in model.codes(blank).items()]
    told = columns(model.expressions)
    with table(out, pa.schema([*(told.field(name) for name in TOLD), *codes])) as write:
        for batch in photos.find(photos.pictures(photos.entries(paths, [out])), crop, device):
            for photo in batch:
                picture(photo.path, photo.frame)
                if photo.reason:
                    problem(f"{shown(photo.path)}: {photo.reason}")
                if photo.faces:
                    crops = np.stack([face.crop for face in photo.faces])
                    faces = rows(photo, model.predict(crops).probabilities, model.expressions)
                    found = {name: code.tolist() for name, code in model.codes(crops).items()}
                    write([
                        {name: row[name] for name in TOLD} | {name: code[place] for name, code in found.items()}
                        for place, row in enumerate(faces)
                    ])  # fmt: skip
                    num += len(faces)
            if stop():
                break
    return num
