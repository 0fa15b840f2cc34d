"""Whole trees: a set's layout with as many files a class and split as published; images are tiny and show nobody."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from fertools.drawn.corpus import VERSION, Progress, claim, find_missing, write_beside, write_bound, write_whole
from fertools.drawn.layouts.registry import LAYOUTS
from fertools.drawn.recording import Recording, Shot, is_piece
from fertools.errors import FertoolsError

REPORT_EVERY = 1000  # recordings
LANDMARKS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])  # x, y as parts of a side


def draw(root: Path, dataset: str, seed: int = 0, progress: Progress = lambda *_: None) -> int:
    """Write the tree below a folder; a second call goes on where the first was stopped.

    Args:
        root: an empty or new folder, or one with a part of the same tree.
        dataset: whose layout and counts.
        seed: of everything random.
        progress: called as images come to be.

    Returns:
        The number of images of the tree.

    Raises:
        FertoolsError: the set has no such tree; or the folder holds something else. Nothing is written then.
    """
    layout = LAYOUTS[dataset]
    if isinstance(layout.published, str):
        raise FertoolsError(f"{dataset} is not drawn with its published counts: {layout.published}")
    claim(root, dict(version=VERSION, dataset=dataset, published_counts=True, num_subjects=None, seed=seed))
    recordings = layout.published(seed)
    bound = dict(
        layout.bind(recordings, lambda recording: [file for path, file in _files(recording, seed) if is_piece(path)])
    )
    missing = find_missing(root, recordings, bound)
    total = sum(len(recording.images) for recording in recordings)
    done = total - sum(len(recording.images) for recording in missing)
    for place, recording in enumerate(missing):
        if place % REPORT_EVERY == 0:
            progress(done, total)
        for path, file in _files(recording, seed) if not all(map(is_piece, recording.files)) else ():
            if not is_piece(path):
                write_whole(root / path, file)
        done += len(recording.images)
    write_beside(root, recordings)
    write_bound(root, bound)
    progress(total, total)
    return total


def _files(recording: Recording, seed: int) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files that are made of a recording's blank pictures."""
    yield from zip(recording.files, recording.contents(_blanks(recording, seed)), strict=True)


def _blanks(recording: Recording, seed: int) -> Iterator[Shot]:
    """Noise in place of a recording's pictures: no two of them are alike."""
    height, width = recording.blank_size
    rng = np.random.default_rng([seed, 3, recording.subject_index, recording.number])
    for image in rng.integers(0, 256, (len(recording.taken), height, width), np.uint8):
        yield Shot(image, LANDMARKS * (width, height), blank=True)
