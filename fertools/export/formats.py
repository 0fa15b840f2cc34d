"""The files of an export: each format is a context that takes the faces of a part, chunk by chunk, and writes them.

hf          data/train-00000-of-00002.parquet ...           all columns, with pixels the image too
webdataset  train/000000.tar ...   labels.csv  rest.csv     <key>.png and <key>.json; without pixels the tables alone
folder      train/anger/<key>.png  labels.csv  rest.csv     likewise
"""

import csv
import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import pyarrow as pa

from manifests import schema
from manifests.crop import Crop
from manifests.parquet import atomic_parquet
from manifests.text import cell

PARTS = ("train", "validation", "test", "rest")  # rest: what takes no part, with the reason
PARQUET_SHARD = 20_000  # faces: 420 MB with pixels, as much of larger ones
TAR_SHARD = 10_000  # faces: about 150 MB
FIRST = ("path", "expression", "subject", "part")  # columns of a table, before those of the manifest

Sink = Callable[[str, pa.Table], None]  # part, some of its faces


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one part of an export holds."""

    faces: int
    subjects: int  # people, where they are published
    expressions: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was exported."""

    dataset: str
    format: str
    out: str
    pixels: bool
    fold: int | None
    parts_by: str  # where the parts come from
    parts: dict[str, Part]
    pairs: int  # of the fold's training part, all epochs
    rows_sha256: str


class Format(Protocol):
    """How one format is opened for writing."""

    def __call__(self, out: Path, num_faces: Mapping[str, int], pictures: Crop | None) -> AbstractContextManager[Sink]:
        """Open it below a folder, for so many faces a part, with pictures of such crops or, where null, without."""


@contextmanager
def hf(out: Path, num_faces: Mapping[str, int], pictures: Crop | None) -> Iterator[Sink]:
    """Write Parquet shards that say of themselves which column holds pictures."""
    columns = schema.FACES if pictures else schema.ROWS
    size = _as_large(PARQUET_SHARD, pictures)

    @contextmanager
    def shard(part: str, number: int) -> Iterator[Callable[[pa.Table], None]]:
        num_shards = -(-num_faces[part] // size)
        path = out / "data" / f"{part}-{number:05d}-of-{num_shards:05d}.parquet"
        with atomic_parquet(path, columns, {}) as writer:
            yield lambda faces: writer.write_table(faces.select(columns.names).combine_chunks())

    with _shards(size, shard) as sink:
        yield sink


@contextmanager
def webdataset(out: Path, num_faces: Mapping[str, int], pictures: Crop | None) -> Iterator[Sink]:
    """Write tars of pictures and their labels, the same bytes for the same faces, and the tables."""
    del num_faces
    key_of = picture_key if pictures else _source

    @contextmanager
    def shard(part: str, number: int) -> Iterator[Callable[[pa.Table], None]]:
        path = out / part / f"{number:06d}.tar"
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            yield lambda faces: _add(tar, part, faces, pictures or schema.DEFAULT_CROP)

    with _tables(out, lambda _, face: key_of(face)) as table, _shards(_as_large(TAR_SHARD, pictures), shard) as tars:

        def write(part: str, faces: pa.Table) -> None:
            table(part, faces)
            if pictures:
                tars(part, faces.filter(faces["usable"]))

        yield write


@contextmanager
def folder(out: Path, num_faces: Mapping[str, int], pictures: Crop | None) -> Iterator[Sink]:
    """Write a picture a face, in folders of parts and expressions, and the tables."""
    del num_faces

    def place(part: str, face: Mapping[str, Any]) -> str:
        return f"{part}/{face['expression'] or 'unlabelled'}/{picture_key(face)}" if pictures else _source(face)

    with _tables(out, place) as table:

        def write(part: str, faces: pa.Table) -> None:
            table(part, faces)
            if pictures:
                faces = faces.filter(faces["usable"])
                for face, png in zip(_rows(faces), _pngs(faces, pictures), strict=True):
                    path = out / place(part, face)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(png)

        yield write


FORMATS: Mapping[str, Format] = {"hf": hf, "webdataset": webdataset, "folder": folder}


# --- what they share


def picture_key(face: Mapping[str, Any]) -> str:
    """Return the file name of a face's picture: its id in letters that every file system and tar takes.

    Ids that would be spelt alike are told apart by their hash.
    """
    face_id = str(face["face_id"])
    spelt = re.sub(r"[^A-Za-z0-9-]+", "_", face_id)[-60:]
    return f"{spelt}-{hashlib.sha256(face_id.encode()).hexdigest()[:8]}.png"


def _source(face: Mapping[str, Any]) -> str:
    return str(face["source"])


def _as_large(num: int, pictures: Crop | None) -> int:
    """Return how many faces of such crops are as many bytes as so many of the default."""
    return num * schema.DEFAULT_CROP.num_bytes // pictures.num_bytes if pictures else num


@contextmanager
def _shards(
    size: int, start: Callable[[str, int], AbstractContextManager[Callable[[pa.Table], None]]]
) -> Iterator[Sink]:
    """Cut each part's faces into files of `size`, which `start(part, number)` opens."""
    done: Counter[str] = Counter()
    writers: dict[str, tuple[ExitStack, Callable[[pa.Table], None]]] = {}

    def write(part: str, faces: pa.Table) -> None:
        while len(faces):
            number, used = divmod(done[part], size)
            if used == 0:
                if part in writers:
                    writers[part][0].close()
                stack = every.enter_context(ExitStack())
                writers[part] = stack, stack.enter_context(start(part, number))
            piece = faces.slice(0, size - used)
            writers[part][1](piece)
            done[part] += len(piece)
            faces = faces.slice(len(piece))

    with ExitStack() as every:
        yield write


@contextmanager
def _tables(out: Path, place: Callable[[str, Mapping[str, Any]], str]) -> Iterator[Sink]:
    """Write labels.csv, as `fertools prepare folder --labels` reads it, and rest.csv: what takes no part."""
    columns = [*FIRST, *(name for name in schema.ROWS.names if name not in FIRST)]
    with ExitStack() as stack:
        writers = {}
        for name in ("labels", "rest"):
            file = stack.enter_context((out / f"{name}.csv").open("w", newline="", encoding="utf-8"))
            writers[name] = csv.writer(file, lineterminator="\n")
            writers[name].writerow(columns)

        def write(part: str, faces: pa.Table) -> None:
            writer = writers["rest" if part == "rest" else "labels"]
            for face in _rows(faces):
                known = face | {"path": place(part, face) if face["usable"] else None, "part": part}
                writer.writerow(_text(known[name]) for name in columns)

        yield write


def _text(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else cell(value)


def _rows(faces: pa.Table) -> list[dict[str, Any]]:
    """Return faces as rows, without their pixels."""
    rows: list[dict[str, Any]] = faces.select([name for name in faces.column_names if name != "image"]).to_pylist()
    return rows


def _pngs(faces: pa.Table, crop: Crop) -> Iterator[bytes]:
    """Yield the pictures of usable faces."""
    for pixels in crop.decode(faces["image"]):
        bgr = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        whole, data = cv2.imencode(".png", bgr)
        assert whole
        yield np.asarray(data).tobytes()


def _add(tar: tarfile.TarFile, part: str, faces: pa.Table, crop: Crop) -> None:
    for face, png in zip(_rows(faces), _pngs(faces, crop), strict=True):
        name = picture_key(face)
        labels = json.dumps(face | {"part": part}, ensure_ascii=False).encode()
        _add_file(tar, name, png)
        _add_file(tar, str(Path(name).with_suffix(".json")), labels)


def _add_file(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file of no time and no owner: equal faces make equal tars."""
    about = tarfile.TarInfo(name)
    about.size = len(data)
    tar.addfile(about, io.BytesIO(data))
