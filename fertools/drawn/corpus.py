"""Draw a whole corpus to disk: images, labels, and beside them the factors of every image."""

import csv
import dataclasses
import io
import itertools
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from fertools.drawn.face.expressions import perform_part, sample_peak
from fertools.drawn.face.factors import Action, Identity, Nuisance, jitter, person, sample_nuisance
from fertools.drawn.face.render import landmarks, render, render_colour
from fertools.drawn.face.scene import choose_noise
from fertools.drawn.layouts.registry import LAYOUTS
from fertools.drawn.recording import PIECES, Recording, Shot, is_piece
from fertools.errors import FertoolsError

VERSION = 1  # of the drawing code: raise it with every change that changes an image
MARKER = "drawn.json"
FACTORS = "factors.csv"
NOTE = "These faces are drawn by code (fertools draw). They are not photographs, and show nobody."
Progress = Callable[[int, int], None]  # images there are, images there will be


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame of a recording: its factors, and how strongly it shows the recording's expression, 0 to 1."""

    action: Action
    nuisance: Nuisance
    intensity: float


def draw(
    root: Path,
    num_subjects: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress = lambda *_: None,
    dataset: str = "ckplus",
) -> int:
    """Draw the corpus below a folder; a second call goes on where the first was stopped.

    The same seed gives the same bytes, however many workers draw.

    Args:
        root: an empty or new folder, or one with a part of the same corpus.
        num_subjects: how many people; by default the layout's own number.
        seed: of everything random.
        workers: processes; by default one a core.
        progress: called as images come to be.
        dataset: whose layout; no two have a person in common, but that copies of CK+ have its people.

    Returns:
        The number of images of the corpus.

    Raises:
        FertoolsError: the folder holds something else, or another corpus; nothing is written then.
    """
    layout = LAYOUTS[dataset]
    num_subjects = num_subjects or layout.num_subjects
    recordings = layout.plan(num_subjects, seed)
    claim(root, dict(version=VERSION, dataset=dataset, published_counts=False, num_subjects=num_subjects, seed=seed))
    bound = dict(layout.bind(recordings, lambda recording: _pieces(root, recording)))
    missing = find_missing(root, recordings, bound)
    total = sum(len(recording.images) for recording in recordings)
    done = total - sum(len(recording.images) for recording in missing)
    people = [list(group) for _, group in itertools.groupby(missing, lambda recording: recording.subject)]
    with closing(_draw_all(root, people, seed, min(workers or os.cpu_count() or 1, len(people)))) as counts:
        for count in itertools.chain([0], counts):
            done += count
            progress(done, total)
    write_beside(root, recordings)
    write_bound(root, bound)
    shutil.rmtree(root / PIECES, ignore_errors=True)
    write_whole(root / FACTORS, _table(recordings, seed).encode())
    return total


def find_missing(root: Path, recordings: Sequence[Recording], bound: Iterable[PurePosixPath]) -> list[Recording]:
    """The recordings that lack a file; pieces are needed only where what they are bound into is not there."""
    is_bound = all((root / path).exists() for path in bound)
    return [
        recording
        for recording in recordings
        if not all((is_bound and is_piece(path)) or (root / path).exists() for path in recording.files)
    ]


def _pieces(root: Path, recording: Recording) -> list[bytes]:
    return [(root / path).read_bytes() for path in recording.files if is_piece(path)]


def frames(recording: Recording, seed: int) -> tuple[list[Frame], np.random.Generator]:
    """What every frame of a recording shows, and the generator that goes on to make their noise."""
    rng = np.random.default_rng([seed, 2, recording.subject_index, recording.number])
    peak, intensity = sample_peak(None if recording.expression == "neutral" else recording.expression, rng)
    nuisance = recording.circumstances(sample_nuisance(rng))
    parts = recording.parts(rng)
    return [Frame(perform_part(peak, part), jitter(nuisance, rng), intensity * part) for part in parts], rng


def shots(recording: Recording, seed: int) -> Iterator[Shot]:
    """The pictures of a recording that are taken; they are the same whichever others are."""
    identity = person(seed, recording.subject_index)
    shown, rng = frames(recording, seed)
    draw_picture = render_colour if recording.colour else render
    for place, frame in enumerate(shown):
        if place in recording.taken:
            about = identity, frame.action, frame.nuisance, recording.height, recording.width
            yield Shot(draw_picture(*about, rng), landmarks(*about))
        else:
            choose_noise(recording.height, recording.width, rng)


def images(recording: Recording, seed: int) -> Iterator[bytes]:
    """The files that are made of a recording's pictures."""
    yield from recording.contents(shots(recording, seed))


def write_whole(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file under another name, then rename it: a file that has its name is whole."""
    part = path.with_name(f".{path.name}.part")
    try:
        file = part.open("wb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("wb")
    with file:
        file.writelines([content] if isinstance(content, bytes) else content)
    part.replace(path)


def write_beside(root: Path, recordings: Sequence[Recording]) -> None:
    """Write what lies beside the images."""
    for recording in recordings:
        for path, content in recording.beside.items():
            if content is None:
                (root / path).mkdir(parents=True, exist_ok=True)
            else:
                write_whole(root / path, content)


def write_bound(root: Path, bound: Mapping[PurePosixPath, Iterable[bytes]]) -> None:
    """Write what is about all recordings, unless all of it is there."""
    if not all((root / path).exists() for path in bound):
        for path, content in bound.items():
            write_whole(root / path, content)


def claim(root: Path, wanted: dict[str, Any]) -> None:
    """Mark the folder as this drawn corpus, or refuse it; what a run that was killed left half-written is deleted."""
    if root.exists() and not root.is_dir():
        raise FertoolsError(f"{root} is a file: name a new or an empty folder")
    found = {path.name for path in root.iterdir()} if root.exists() else set()
    if not found - {f".{MARKER}.part"}:
        write_whole(root / MARKER, (json.dumps(dict(note=NOTE) | wanted, indent=2) + "\n").encode())
        return
    if MARKER not in found:
        raise FertoolsError(
            f"{root} holds {min(found)!r} and is not a drawn corpus (no {MARKER}); nothing was written, "
            "as it may be somebody's data: name a new or an empty folder"
        )
    try:
        older = dict(dataset="ckplus", published_counts=False)  # once the only ones
        present = older | dict(json.loads((root / MARKER).read_text()))
    except ValueError as error:
        raise FertoolsError(f"{root / MARKER} is damaged: name another folder, or delete {root}") from error
    for key, value in wanted.items():
        if present.get(key) != value:
            raise FertoolsError(
                f"{root} is a drawn corpus with {key} {present.get(key)}, not {value}: "
                "name another folder, or delete it"
            )
    for part in root.rglob(".*.part"):
        part.unlink()


def _draw_all(root: Path, people: Sequence[Sequence[Recording]], seed: int, workers: int) -> Generator[int, None, None]:
    """Draw the recordings of all people; yield numbers of images as they come to be."""
    if workers <= 1:
        yield from (_draw_person(root, recordings, seed) for recordings in people)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(_draw_person, root, recordings, seed) for recordings in people]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """One thread a process; Ctrl-C is the parent's, which lets the workers finish the person they are at."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw_person(root: Path, recordings: Sequence[Recording], seed: int) -> int:
    """Draw one person's recordings; they share the work on the person's head."""
    for recording in recordings:
        for path, content in zip(recording.files, images(recording, seed), strict=True):
            write_whole(root / path, content)
    return sum(len(recording.images) for recording in recordings)


def _table(recordings: Sequence[Recording], seed: int) -> str:
    """One row an image: path, subject, sequence, frame, expression, intensity, and every factor."""
    groups = (("identity", Identity), ("action", Action), ("nuisance", Nuisance))
    factors = [f"{group}.{field.name}" for group, kind in groups for field in dataclasses.fields(kind)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "subject", "sequence", "frame", "expression", "intensity", *factors])
    for recording in recordings:
        identity = dataclasses.astuple(person(seed, recording.subject_index))
        shown = frames(recording, seed)[0]
        for path, number, place in recording.images:
            frame = shown[place]
            about = (path, recording.subject, recording.sequence, number, recording.expression, frame.intensity)
            writer.writerow(
                [*about, *identity, *dataclasses.astuple(frame.action), *dataclasses.astuple(frame.nuisance)]
            )
    return text.getvalue()
