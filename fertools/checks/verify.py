"""Is a raw folder complete? Every file that is missing, extra, there twice or broken, and the counts.

Of a file nothing is kept but its share in a count and, with `deep`, its name and its hash.
"""

import hashlib
import os
import signal
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from fertools.checks.release_report import (
    KINDS,
    Count,
    Finding,
    Verdict,
    by_part,
    class_name,
    compare,
    differences,
    distance,
)
from fertools.datasets.base import Dataset, Note, Quarantined, Release, Sample, files_below
from fertools.datasets.survey import survey
from fertools.errors import FertoolsError
from fertools.faces import images
from manifests.text import storable

CHUNK = 64  # images that a process hashes and decodes at a time
AHEAD = 4  # chunks that wait for each process

Item = Sample | Quarantined | Note
Progress = Callable[[int, int], None]  # images done, images in all
Read = Callable[[Path, Sample], bytes]
Looked = tuple[bytes, str | None]  # hash of an image; why it does not decode


def verify(
    dataset: Dataset,
    raw: Path,
    *,
    labels: Path | None = None,
    recode: Mapping[str, str] | None = None,
    deep: bool = False,
    workers: int = 1,
    progress: Progress = lambda *_: None,
) -> Verdict:
    """Compare a raw folder with the release that it is a copy of; no image is opened unless `deep`.

    Raises:
        DatasetError: the raw folder is not what its adapter expects.
    """
    items = partial(survey, dataset, raw, labels, recode)
    seen = _survey(dataset, raw, items())
    release = _release(dataset, raw, seen)
    parts = by_part(release, seen.counts(release))
    counts = compare(dataset, parts)
    known = {Path(), *(parent for folder in seen.folders for parent in (folder, *folder.parents))}
    named = list(_once(file for finding in seen.findings for file in _by_file(raw, finding, known)))
    findings = [*named, *(_unknown_folders(named, known, counts) if seen.folders else ())]
    if release:
        findings += differences(dataset, parts, named)
        if release.all_parts and release.subjects not in (None, len(seen.subjects)):
            people = f"people: {len(seen.subjects)} found, {release.subjects} published"
            findings.append(Finding("count", None, people))
    if deep:
        findings += _examine(dataset, raw, items(), seen, workers, progress)
    order = list(KINDS)
    return Verdict(
        dataset=dataset.title, raw=str(raw), release=release.name if release else None,
        unit=release.unit if release else "images", counts=counts,
        absent=[part for part in release.counts if part not in parts] if release else [],
        subjects=len(seen.subjects), published_subjects=release.subjects if release else None,
        images=seen.num_images, deep=deep, notes=seen.notes, drawn=(raw / "drawn.json").exists(),
        findings=sorted(findings, key=lambda item: (order.index(item.kind), item.path or "")),
    )  # fmt: skip


def _release(dataset: Dataset, raw: Path, seen: "_Survey") -> Release | None:
    """Return the release that this is by its layout or, where that does not tell, the one of the nearest counts."""
    if dataset.release:
        name = dataset.release(raw)
        return next((release for release in dataset.releases if release.name == name), None)
    return min(dataset.releases, key=lambda release: distance(release, seen.counts(release)), default=None)


# --- names and sizes


@dataclass
class _Survey:
    """Tallies of one walk over the raw folder."""

    num_images: int = 0  # an image of which several faces are labelled is one
    rows: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    sequences: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # part and label
    subjects: set[str] = field(default_factory=set)
    folders: set[Path] = field(default_factory=set)  # that hold images
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def counts(self, release: Release | None) -> Counter[tuple[str, str | None]]:
        """Return how many of what a release counts, by part and label."""
        return Counter(self.sequences.values()) if release and release.unit == "sequences" else self.rows


def _survey(dataset: Dataset, raw: Path, items: Iterator[Item]) -> _Survey:
    seen, last = _Survey(), None
    for item in items:
        if isinstance(item, Note):
            seen.notes.append(item.text)
            continue
        if isinstance(item, Quarantined):
            seen.findings += _quarantined(raw, item)
            continue
        where = (dataset.part(item), item.label)
        seen.rows[where] += 1
        seen.num_images += _is_first(item)
        if item.sequence is not None:
            seen.sequences.setdefault(item.sequence, where)
        if item.subject is not None:
            seen.subjects.add(item.subject)
        if item.path != last:
            last = item.path
            seen.folders.add(item.path.parent)
            seen.findings += _sized(raw, item.path)
    for doubt in dataset.doubts(raw):
        seen.findings += _quarantined(raw, doubt)
    return seen


def _sized(raw: Path, path: Path) -> Iterator[Finding]:
    """Yield what a file's size tells."""
    try:
        if not (raw / path).stat().st_size:
            yield Finding("empty", storable(path), "the file is empty")
    except OSError as error:
        yield Finding("missing", storable(path), f"not there: {error.strerror}")


def _quarantined(raw: Path, item: Quarantined) -> Iterator[Finding]:
    """Yield what an adapter quarantined, unless it belongs to the set."""
    target, kind = raw / item.path, str(item.kind or "extra")
    if item.kind is None and not os.path.lexists(target):
        kind = "missing"
    elif item.kind is None and not target.is_symlink():
        filled = any(files_below(raw, item.path)) if target.is_dir() else target.stat().st_size
        kind = "extra" if filled else "empty"
    if kind != "aside":
        yield Finding(kind, storable(item.path), storable(item.reason))


def _by_file(raw: Path, finding: Finding, known: Set[Path]) -> Iterator[Finding]:
    """Yield an extra folder file by file; everything else as it is."""
    path = Path(finding.path or "")
    if finding.kind != "extra" or path in known or (raw / path).is_symlink() or not (raw / path).is_dir():
        yield finding
        return
    for file in files_below(raw, path):
        name = file.path if isinstance(file, Quarantined) else file
        yield Finding("extra", storable(name), finding.reason)


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings, a file that is extra for two reasons once: its own, or its folder's."""
    extra: set[str | None] = set()
    for finding in findings:
        if finding.kind == "extra" and finding.path in extra:
            continue
        if finding.kind == "extra" and "row " not in finding.reason and "line " not in finding.reason:
            extra.add(finding.path)
        yield finding


def _unknown_folders(findings: Sequence[Finding], known: Set[Path], counts: Sequence[Count]) -> Iterator[Finding]:
    """Yield the topmost folders that hold nothing but what is extra, and which class lacks as many images."""
    num_extra: Counter[Path] = Counter()
    for path in (Path(finding.path) for finding in findings if finding.kind == "extra" and finding.path):
        if unknown := [folder for folder in path.parents if folder not in known]:
            num_extra[unknown[-1]] += 1
    for folder, num in sorted(num_extra.items()):
        lacking = [class_name(count) for count in counts if (count.published or 0) - count.found == num]
        renamed = f"; as many are missing of {' or '.join(lacking)}: was it renamed?" if lacking else ""
        yield Finding("folder", folder.as_posix(), f"{num} extra in an unknown folder{renamed}")


# --- bytes and pixels


def _examine(
    dataset: Dataset, raw: Path, items: Iterator[Item], seen: _Survey, workers: int, progress: Progress
) -> Iterator[Finding]:
    """Hash and decode every image; yield what does not decode and what has the bytes of another."""
    told = {finding.path for finding in seen.findings}
    first: dict[bytes, tuple[str, str | None, str | None]] = {}  # hash: name, split, sequence
    samples = (item for item in items if isinstance(item, Sample) and _is_first(item))
    looked = _look(partial(_look_at, raw, dataset.read), samples, workers if seen.num_images > CHUNK else 1)
    for done, (sample, (digest, error)) in enumerate(looked, 1):
        progress(done, seen.num_images)
        name = storable(sample.path) + ("" if sample.place is None else f"@{sample.place}")
        if name in told:
            continue
        if error:
            yield Finding("undecodable", name, error)
            continue
        this = (name, sample.split, sample.sequence)
        other, split, sequence = first.setdefault(digest, this)
        if split and sample.split and split != sample.split:
            yield Finding("across", name, f"in {sample.split}, the same bytes as {other} in {split}")
        elif other != name and not (sample.place is not None and sequence and sequence == sample.sequence):
            yield Finding("duplicate", name, f"the same bytes as {other}")  # a video may stand still


def _is_first(sample: Sample) -> bool:
    return sample.face in (None, 1)


def _look(
    look_at: Callable[[Sequence[Sample]], list[Looked]], samples: Iterator[Sample], workers: int
) -> Iterator[tuple[Sample, Looked]]:
    """Yield what a look at every image gives, in their order; memory: some chunks of samples a process."""
    chunks = iter(lambda: list(islice(samples, CHUNK)), [])
    if workers == 1:
        for chunk in chunks:
            yield from zip(chunk, look_at(chunk), strict=True)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        waiting: deque[tuple[list[Sample], Future[list[Looked]]]] = deque()
        try:
            while True:
                more = islice(chunks, AHEAD * workers - len(waiting))
                waiting.extend((chunk, pool.submit(look_at, chunk)) for chunk in more)
                if not waiting:
                    return
                chunk, future = waiting.popleft()
                yield from zip(chunk, future.result(), strict=True)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


def _look_at(raw: Path, read: Read | None, chunk: Sequence[Sample]) -> list[Looked]:
    """Return each image's hash and why it does not decode; what cannot be read has no hash."""
    found: list[Looked] = []
    for sample in chunk:
        digest, error = b"", None
        try:
            data = read(raw, sample) if read and sample.place is not None else images.read_bytes(raw, sample.path)
            digest = hashlib.sha256(data).digest()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, which name no file
                images.decode(data)
        except (FertoolsError, OSError) as refusal:
            error = str(refusal)
        found.append((digest, error))
    return found
