"""Photographs and videos to codes: E and I of every face, as a table."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainer.errors import TrainerError
from trainer.inference import photos
from trainer.inference.model import Model
from trainer.inference.predictions import place_columns, places, shown, table


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
    with table(out, pa.schema([*place_columns(), *codes])) as write:
        for batch in photos.find(photos.pictures(photos.entries(paths, [out])), crop, device):
            crops = [face.crop for photo in batch for face in photo.faces]
            found = {name: code.tolist() for name, code in model.codes(crops).items()} if crops else {}
            numbers = iter(range(len(crops)))
            for photo in batch:
                picture(photo.path, photo.frame)
                if photo.reason:
                    problem(f"{shown(photo.path)}: {photo.reason}")
                write([
                    place | {name: code[number] for name, code in found.items()}
                    for place, number in zip(places(photo), numbers, strict=False)
                ])  # fmt: skip
            num += len(crops)
            if stop():
                break
    return num
