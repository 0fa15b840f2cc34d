"""The training faces of a fold to a file of augmented ones, which says what it was made from.

Memory: some hundred images a worker, a row group of what is read, and one of what is written.
"""

import hashlib
import json
import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fertools.augmentation.pipeline import Pipeline
from fertools.augmentation.variants import Variants
from fertools.augmentation.whitened import Whitener, whitener
from fertools.errors import FertoolsError
from fertools.preparation.engines.local import start_worker
from manifests import faces as crops
from manifests import files, schema
from manifests.lock import manifest_writer

AT_ONCE = 128  # images that are made together
AHEAD = 2  # chunks a worker that are made before they are written
Progress = Callable[[int, int], None]  # faces done, faces in all
Chunk = tuple[NDArray[np.uint8], list[str]]  # stored crops and the faces' ids
Result = tuple[list[str], NDArray[np.uint8], list[str], set[str]]  # ids, images, parameters, notes


class AugmentError(FertoolsError):
    """Faces that cannot be augmented as asked."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A file of augmented faces."""

    manifest: str
    file: str
    fold: int
    faces: int  # of the training part
    images: int
    made: bool  # false: it was there already, of the same faces and options
    notes: list[str]  # what albumentations warned of


def chosen(variants: int | None, pipeline: Path | None, copies: int | None, seed: int) -> Variants | Pipeline:
    """Return how faces are to be augmented: by a pipeline, where one is named, or as the 14 variants.

    Raises:
        AugmentError: options that exclude each other.
        PipelineError: a pipeline that cannot be read.
    """
    if variants is not None and pipeline is not None:
        raise AugmentError("--variants and --pipeline exclude each other: leave one out")
    if variants not in (None, Variants().copies):
        raise AugmentError(f"no {variants} variants of a face; known: 14, seven angles with and without a flip")
    if pipeline is not None:
        return Pipeline.read(pipeline, 1 if copies is None else copies, seed)
    if copies not in (None, 1):
        raise AugmentError("--copies is of a --pipeline: each of the 14 variants is there once")
    return Variants()


def augment(
    manifest: Path, fold: int, how: Variants | Pipeline, *, whiten: bool = False, workers: int = 1,
    progress: Progress = lambda *_: None,
) -> Made:  # fmt: skip
    """Write the augmented training faces of a fold; what is there already, of these faces and options, stays as it is.

    No face of the test or validation part is read. The same bytes come of any number of workers.

    Args:
        manifest: with folds.
        fold: that tests, from 1.
        how: the 14 variants, or a pipeline of albumentations.
        whiten: also write the images as the fold's whitening makes them, of grey faces of 112 px.
        workers: processes of a pipeline; one is this process.
        progress: called with the number of faces done and of all.

    Raises:
        AugmentError: no training faces, or a worker that died.
        PipelineError: a pipeline that fails on a face, or changes its size.
        ManifestError: no folds, no such fold, whitening of other faces, or something that cannot be written.
    """
    with manifest_writer(manifest):
        faces = files.read(manifest)
        training = schema.parts(faces, fold)["train"]
        if not len(training):
            raise AugmentError(f"{manifest}: fold {fold} has no usable face in its training part")
        metadata = files.read_metadata(manifest, ["whitening.kind"] if whiten else [])
        kind = metadata["whitening"]["kind"] if whiten else None
        crop, path = schema.crop_of(metadata), files.augmented_path(manifest, fold)
        crop = crop.least if whiten else crop
        about = _about(how) | {
            "made_from": files.augmented_source(manifest, fold, training, whiten),
            "fold": fold, "crop": asdict(crop), "whitening": kind,
        }  # fmt: skip
        is_made, notes = files.is_made(path, about), set[str]()
        if not is_made:
            whitened = whitener(manifest, fold, kind, faces) if kind else None
            chunks = _chunks(manifest, training, faces["face_id"].take(training).to_pylist(), crop, how.copies)
            with closing(_in_order(partial(_augmented, how, crop), chunks, workers)) as results:
                tables = _tables(results, crop, how.copies, whitened, notes, lambda done: progress(done, len(training)))
                files.write_augmented(tables, manifest, fold, about, whiten)
    return Made(
        manifest=str(manifest), file=str(path), fold=fold, faces=len(training), images=len(training) * how.copies,
        made=not is_made, notes=sorted(notes),
    )  # fmt: skip


def _about(how: Variants | Pipeline) -> dict[str, Any]:
    """Return what a file says of how its faces were augmented."""
    return {
        "pipeline": json.loads(how.pipeline),
        "pipeline_sha256": hashlib.sha256(how.pipeline.encode()).hexdigest(),
        "copies": how.copies, "seed": how.seed, "libraries": {name: version(name) for name in how.libraries},
    }  # fmt: skip


def _chunks(
    manifest: Path, training: NDArray[np.int64], ids: list[str], crop: schema.Crop, copies: int
) -> Iterator[Chunk]:
    """Yield the stored crops of training faces, in their order, as many at a time as make some hundred images."""
    own, first, at_once = files.read_crop(manifest), 0, max(1, AT_ONCE // copies)
    for images in crops.stored(manifest, training):
        pixels = crop.resample(own.decode(images))
        for start in range(0, len(pixels), at_once):
            some = pixels[start : start + at_once]
            yield some, ids[first : first + len(some)]
            first += len(some)


def _augmented(how: Variants | Pipeline, crop: schema.Crop, chunk: Chunk) -> Result:
    pixels, ids = chunk
    return ids, *how.apply(crop, pixels, ids)


def _in_order(step: Callable[[Chunk], Result], chunks: Iterable[Chunk], workers: int) -> Generator[Result, None, None]:
    """Yield what a step makes of each chunk, in their order; a few are in work, or wait, at a time.

    Raises:
        AugmentError: a worker has died.
    """
    if workers == 1:
        yield from map(step, chunks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker)
    begun: deque[Future[Result]] = deque()
    try:
        for chunk in chunks:
            begun.append(pool.submit(step, chunk))
            if len(begun) > AHEAD * workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    except BrokenProcessPool as error:
        raise AugmentError(
            "a worker process has ended before its work: most often memory is short, and fewer --workers help; in a "
            "script, call augment below if __name__ == '__main__':"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _tables(
    results: Iterable[Result], crop: schema.Crop, copies: int, whitened: Whitener | None, notes: set[str],
    progress: Callable[[int], None],
) -> Iterator[pa.Table]:  # fmt: skip
    """Yield tables of augmented faces; gather what is to be noted."""
    done = 0
    for ids, images, parameters, noted in results:
        named = [(face_id, copy) for face_id in ids for copy in range(copies)]
        columns = {
            "face_id": [face_id for face_id, _ in named],
            "copy": [copy for _, copy in named],
            "parameters": parameters,
            "image": [
                {"bytes": crop.encode_face(image), "path": f"{face_id}/{copy}{crop.suffix}"}
                for image, (face_id, copy) in zip(images, named, strict=True)
            ],
        }
        table = pa.table(columns, schema=schema.AUGMENTED)
        if whitened:
            values = whitened(images)
            rows = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)
            table = table.append_column(schema.WHITENED, rows.cast(schema.WHITENED.type))
        notes |= noted
        done += len(ids)
        yield table
        progress(done)


def describe(made: Made) -> str:
    """Return in words what was made."""
    faces = f"{made.images:,} images of the {made.faces:,} training faces of fold {made.fold}"
    return f"{made.file}: {faces}" + ("" if made.made else ", there already: nothing to do")
