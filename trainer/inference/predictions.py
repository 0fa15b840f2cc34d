"""What a model reads of faces, as rows: to read, as CSV, Parquet and JSON lines, all with equal values."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests.text import cell, printable
from trainer.errors import TrainerError
from trainer.inference.photos import Photo

ROW_GROUP = 10_000
EDGES = ("x0", "y0", "x1", "y1")

Row = dict[str, Any]
Write = Callable[[list[Row]], None]


class TableError(TrainerError):
    """A table that cannot be written."""


def place_columns() -> pa.Schema:
    """Return the columns that say where a face was found, with what they mean."""
    return _schema(
        ("path", pa.string(), "of the photograph or video, as asked for"),
        ("frame", pa.int32(), "of a video, from 0; null of a photograph"),
        ("time", pa.float64(), "of the frame, s"),
        ("face", pa.int32(), "of the picture, from 1: the one that is meant (the largest), then the surest"),
        *((edge, pa.float32(), "edge of the face's box, px of the picture") for edge in EDGES),
        ("score", pa.float32(), "the detector's confidence, 0 to 1"),
    )


def columns(expressions: Sequence[str]) -> pa.Schema:
    """Return the columns of a table of faces, with what they mean."""
    read = _schema(
        ("expression", pa.string(), "the most probable"),
        ("probability", pa.float32(), "of it; of a model of ours calibrated on its validation fold"),
        *((f"p_{name}", pa.float32(), f"probability of {name}") for name in expressions),
    )
    return pa.schema([*place_columns(), *read])


def _schema(*fields: tuple[str, pa.DataType, str]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, metadata={"meaning": meaning}) for name, kind, meaning in fields])


def places(photo: Photo) -> list[Row]:
    """Return where the faces of a picture were found, a row a face."""
    return [
        {"path": shown(photo.path), "frame": photo.frame, "time": photo.time, "face": number}
        | dict(zip(EDGES, map(float, face.box), strict=True))
        | {"score": float(np.float32(face.score))}
        for number, face in enumerate(photo.faces, start=1)
    ]


def rows(photo: Photo, read: Iterable[NDArray[np.float32]], expressions: Sequence[str]) -> list[Row]:
    """Return a row a face.

    Args:
        photo: with its faces.
        read: (expressions,) probabilities of each.
        expressions: what the columns stand for.
    """
    found = []
    for place, shares in zip(places(photo), read, strict=True):
        best = int(shares.argmax())
        found.append(
            place | {"expression": expressions[best], "probability": float(shares[best])}
            | {f"p_{name}": float(share) for name, share in zip(expressions, shares, strict=True)}
        )  # fmt: skip
    return found


def batch_rows(
    batch: Sequence[Photo], read: Callable[[NDArray[np.uint8]], NDArray[np.float32]], expressions: Sequence[str]
) -> list[list[Row]]:
    """Return the rows of each picture; the faces of all are read together.

    Args:
        batch: pictures with their faces.
        read: crops to probabilities, (faces, expressions).
        expressions: what the columns stand for.
    """
    crops = [face.crop for photo in batch for face in photo.faces]
    shares = iter(read(np.stack(crops)) if crops else ())
    return [rows(photo, [next(shares) for _ in photo.faces], expressions) for photo in batch]


def shown(path: Path) -> str:
    """Return a path as text that any file takes: bytes that are no UTF-8 as backslash and number."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def line(row: Row) -> str:
    """Return a row to read."""
    at = "" if row["frame"] is None else f"  frame {row['frame']}, {row['time']:.2f} s"
    box = ",".join(f"{row[edge]:.0f}" for edge in EDGES)
    return f"{printable(row['path'])}{at}  face {row['face']} at {box}: {row['expression']} {row['probability']:.3f}"


# --- tables


def part_of(out: Path) -> Path:
    """Return the name of a table that is not complete yet."""
    return out.with_name(f".{out.name}.part")


@contextmanager
def _csv(path: Path, names: pa.Schema) -> Iterator[Write]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names.names, lineterminator="\n")
        writer.writeheader()
        yield lambda found: writer.writerows({name: cell(value) for name, value in row.items()} for row in found)


@contextmanager
def _lines(path: Path, names: pa.Schema) -> Iterator[Write]:
    del names
    with path.open("w", encoding="utf-8") as file:
        yield lambda found: file.writelines(json.dumps(row) + "\n" for row in found)


@contextmanager
def _parquet(path: Path, names: pa.Schema) -> Iterator[Write]:
    waiting: list[Row] = []
    with pq.ParquetWriter(path, names) as writer:

        def flush(least: int) -> None:
            if len(waiting) >= least:
                writer.write_table(pa.Table.from_pylist(waiting, names))
                waiting.clear()

        def write(found: list[Row]) -> None:
            waiting.extend(found)
            flush(ROW_GROUP)

        yield write
        flush(1)


TABLES: Mapping[str, Callable[[Path, pa.Schema], AbstractContextManager[Write]]] = {
    ".csv": _csv, ".parquet": _parquet, ".jsonl": _lines,
}  # fmt: skip


@contextmanager
def table(out: Path, names: pa.Schema) -> Iterator[Write]:
    """Open a table, by its suffix, for rows; it appears under its name when it is complete."""
    part = part_of(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TABLES[out.suffix.lower()](part, names) as write:
            yield write
        part.replace(out)
    except OSError as error:
        raise TableError(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # of a folder that could not be made
            part.unlink(missing_ok=True)
