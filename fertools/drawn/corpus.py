"""Draw a whole corpus to disk: images, labels, and beside them the factors of every image."""

import csv
import dataclasses
import io
import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fertools.drawn import ckplus, oulucasia
from fertools.drawn.expressions import sample_peak, unfold
from fertools.drawn.factors import Action, Identity, Nuisance, jitter, sample_identity, sample_nuisance
from fertools.drawn.recording import Recording
from fertools.drawn.render import render, render_colour
from fertools.errors import FertoolsError

VERSION = 1  # of the drawing code: raise it with every change that changes an image
MARKER = "drawn.json"
FACTORS = "factors.csv"
NOTE = "These faces are drawn by code (fertools draw). They are not photographs, and show nobody."
# Noise leaves a PNG's search for repetitions nothing to find; entropy coding alone is three times as fast.
SETTINGS = {
    ".png": [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """A dataset that can be drawn."""

    plan: Callable[[int, int], Sequence[Recording]]  # number of subjects, seed
    num_subjects: int  # as published


LAYOUTS = {
    "ckplus": Layout(ckplus.plan, ckplus.NUM_SUBJECTS),
    "oulucasia": Layout(oulucasia.plan, oulucasia.NUM_SUBJECTS),
}


@dataclasses.dataclass(frozen=True)
class Frame:
    """One image of a sequence: its factors, and how strongly it shows the sequence's expression, 0 to 1."""

    action: Action
    nuisance: Nuisance
    intensity: float


def draw(
    root: Path,
    num_subjects: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    dataset: str = "ckplus",
) -> int:
    """Draw the corpus below a folder; a second call goes on where the first was stopped.

    The same seed gives the same bytes, however many workers draw.

    Args:
        root: an empty or new folder, or one with a part of the same corpus.
        num_subjects: how many people; by default as many as published.
        seed: of everything random.
        workers: processes; by default one a core.
        progress: called with the number of images there are and the number there will be.
        dataset: whose layout; no two have a person in common.

    Returns:
        The number of images of the corpus.

    Raises:
        FertoolsError: the folder holds something else, or another corpus; nothing is written then.
    """
    layout = LAYOUTS[dataset]
    num_subjects = num_subjects or layout.num_subjects
    sequences = layout.plan(num_subjects, seed)
    _claim(root, dict(version=VERSION, dataset=dataset, num_subjects=num_subjects, seed=seed))
    for part in root.rglob(".*.part"):  # left by a run that was killed
        part.unlink()
    total = sum(sequence.num_frames for sequence in sequences)
    missing = [sequence for sequence in sequences if not all((root / path).exists() for path in sequence.frames)]
    done = total - sum(sequence.num_frames for sequence in missing)
    people = [list(group) for _, group in itertools.groupby(missing, lambda sequence: sequence.subject)]
    with closing(_draw_all(root, people, seed, min(workers or os.cpu_count() or 1, len(people)))) as counts:
        for count in itertools.chain([0], counts):
            done += count
            if progress:
                progress(done, total)
    for sequence in sequences:
        for path, content in sequence.beside.items():
            if content is None:
                (root / path).mkdir(parents=True, exist_ok=True)
            else:
                write_whole(root / path, content)
    write_whole(root / FACTORS, _table(sequences, seed).encode())
    return total


def person(seed: int, subject_index: int) -> Identity:
    """Who a corpus's subject is."""
    return sample_identity(np.random.default_rng([seed, 1, subject_index]))


def frames(sequence: Recording, seed: int) -> tuple[list[Frame], np.random.Generator]:
    """What every image of a sequence shows, and the generator that goes on to make their noise."""
    rng = np.random.default_rng([seed, 2, sequence.subject_index, sequence.number])
    peak, intensity = sample_peak(sequence.expression, rng)
    nuisance = sample_nuisance(rng)
    unfolded = unfold(peak, sequence.num_frames, rng)
    return [Frame(action, jitter(nuisance, rng), intensity * part) for action, part in unfolded], rng


def images(sequence: Recording, seed: int) -> Iterator[bytes]:
    """The image files of a sequence."""
    identity = person(seed, sequence.subject_index)
    shown, rng = frames(sequence, seed)
    for path, frame in zip(sequence.frames, shown, strict=True):
        size = sequence.height, sequence.width
        if sequence.colour:
            picture = render_colour(identity, frame.action, frame.nuisance, *size, rng)[..., ::-1]
        else:
            picture = render(identity, frame.action, frame.nuisance, *size, rng)
        yield cv2.imencode(path.suffix, picture, SETTINGS[path.suffix])[1].tobytes()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name, then rename it: a file that has its name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def _claim(root: Path, wanted: dict[str, Any]) -> None:
    """Mark the folder as this drawn corpus, or refuse it."""
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
        present = dict(dataset="ckplus") | dict(json.loads((root / MARKER).read_text()))  # once the only one
    except ValueError as error:
        raise FertoolsError(f"{root / MARKER} is damaged: name another folder, or delete {root}") from error
    for key, value in wanted.items():
        if present.get(key) != value:
            raise FertoolsError(
                f"{root} is a drawn corpus with {key} {present.get(key)}, not {value}: "
                "name another folder, or delete it"
            )


def _draw_all(root: Path, people: list[list[Recording]], seed: int, workers: int) -> Generator[int, None, None]:
    """Draw the sequences of all people; yield numbers of images as they come to be."""
    if workers <= 1:
        yield from (_draw_person(root, sequences, seed) for sequences in people)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(_draw_person, root, sequences, seed) for sequences in people]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """One thread a process; Ctrl-C is the parent's, which lets the workers finish the person they are at."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw_person(root: Path, sequences: Sequence[Recording], seed: int) -> int:
    """Draw one person's sequences; they share the work on the person's head."""
    count = 0
    for sequence in sequences:
        for path, content in zip(sequence.frames, images(sequence, seed), strict=True):
            write_whole(root / path, content)
            count += 1
    return count


def _table(sequences: Sequence[Recording], seed: int) -> str:
    """One row an image: path, subject, sequence, frame, expression, intensity, and every factor."""
    groups = (("identity", Identity), ("action", Action), ("nuisance", Nuisance))
    factors = [f"{group}.{field.name}" for group, kind in groups for field in dataclasses.fields(kind)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "subject", "sequence", "frame", "expression", "intensity", *factors])
    for sequence in sequences:
        identity = dataclasses.astuple(person(seed, sequence.subject_index))
        for path, frame in zip(sequence.frames, frames(sequence, seed)[0], strict=True):
            number = int(path.stem.rpartition("_")[2])
            about = (path, sequence.subject, path.parent.name, number, sequence.expression, frame.intensity)
            writer.writerow(
                [*about, *identity, *dataclasses.astuple(frame.action), *dataclasses.astuple(frame.nuisance)]
            )
    return text.getvalue()
