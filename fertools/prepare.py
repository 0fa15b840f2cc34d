"""A raw folder to a manifest: the only file that knows the order of the steps and opens image files.

Work is done in chunks of 50 images. Each finished chunk is a file in `manifests/.<dataset>.parts/`, named by the hash
of all that it depends on, so that an interrupted run goes on where it stopped and ends with the same bytes.
"""

import hashlib
import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import cv2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fertools import detect, images, protocol
from fertools.dataset import Dataset, Quarantined, Sample
from fertools.datasets import DATASETS
from fertools.errors import FertoolsError
from fertools.rows import face_row
from manifests import files, schema

CHUNK = 50
Progress = Callable[[int, int], None]  # images done, images in all
Work = dict[Path, Sequence[protocol.Selected]]  # the part to write: what goes in


class PrepareError(FertoolsError):
    """A preparation that cannot be done as asked."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a preparation found. Each thing found is in one place: found = usable + outside + quarantined."""

    dataset: str
    protocol: str
    manifest: str
    found: int
    usable: int
    outside: int  # sound images that the protocol does not take
    quarantined: list[dict[str, str]]  # path, reason
    expressions: dict[str | None, int]  # of usable faces; null: the dataset is not one of expressions
    subjects: int  # with a usable face
    expected: int | None  # images that the protocol takes from a complete copy
    drawn: bool  # a stand-in made by `fertools draw`
    up_to_date: bool = False  # the manifest was there, made from the same files and options


def prepare(
    dataset: Dataset,
    raw: Path,
    manifests: Path,
    *,
    labels: Path | None = None,
    protocol_name: str | None = None,
    published: bool = False,
    device: str = "auto",
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
) -> Summary:
    """Detect and align what a protocol takes of a raw folder, and write the manifest.

    Args:
        dataset: whose adapter reads the folder.
        raw: the folder.
        manifests: where the manifest goes.
        labels: a table of labels, for adapters that take one.
        protocol_name: which images; by default the dataset's first protocol.
        published: align by the landmarks that the authors publish; nothing is detected then.
        device: where faces are detected.
        workers: processes.
        overwrite: replace a manifest made from other files or options.
        progress: called with the number of images done, and of all.

    Raises:
        DatasetError: the raw folder is not what its adapter expects.
        PrepareError: no image or no landmark is left, or a manifest made from other files or options is in the way.
    """
    chosen = protocol.find(dataset.name, protocol_name)
    found = list(dataset.samples(raw, labels))
    samples = [item for item in found if isinstance(item, Sample)]
    quarantined = [item for item in found if isinstance(item, Quarantined)]
    selected = chosen.select(samples, dataset.labels)
    if not selected:
        raise PrepareError(
            f"{raw}: {len(samples)} images found, none that protocol {chosen.name} takes "
            f"({', '.join(chosen.expressions)}); {len(quarantined)} things quarantined"
            + "".join(f"\n  {item.path}: {item.reason}" for item in quarantined[:5])
        )
    if published and not any(dataset.landmarks(raw, item.sample) for item in selected[:CHUNK]):
        raise PrepareError(
            f"{raw}: no landmarks found that {dataset.title} publishes for these images; leave out --landmarks "
            "published to have faces detected"
        )
    taken = {item.sample.path for item in selected}
    others = {sample.path for sample in samples if sample.place is None} - taken
    unsound = [bad for path in sorted(others) if (bad := _inspect(raw, path))]

    chunks = [selected[start : start + CHUNK] for start in range(0, len(selected), CHUNK)]
    keys = [_key(dataset, chosen, published, raw, chunk) for chunk in chunks]
    prepared_from = hashlib.sha256("".join(keys).encode()).hexdigest()
    manifest = files.manifest_path(manifests, dataset.name)
    parts = manifests / f".{dataset.name}.parts"
    if overwrite:
        shutil.rmtree(parts, ignore_errors=True)
    elif manifest.exists():
        metadata = files.read_metadata(manifest)
        if metadata.get("prepared_from") != prepared_from:
            raise PrepareError(
                f"{manifest} was prepared from other files or options ({metadata['command']}); "
                "--overwrite prepares it again and drops its folds, --manifests DIR keeps both"
            )
        return Summary(**(metadata["summary"] | {"manifest": str(manifest), "up_to_date": True}))

    names = [f"{number:05d}-{key[:16]}.parquet" for number, key in enumerate(keys)]
    todo: Work = {parts / name: chunk for name, chunk in zip(names, chunks, strict=True)}
    parts.mkdir(parents=True, exist_ok=True)
    step = partial(_make_part, dataset.name, raw, None if published else detect.pick_device(device))
    _work(step, todo, workers, progress)

    columns = ["face_id", "expression", "subject", "usable", "reason", "source"]
    rows = pa.concat_tables(pq.read_table(path, columns=columns) for path in todo)
    usable = rows.filter(rows["usable"])
    refused = rows.filter(pc.invert(rows["usable"])).select(["face_id", "source", "reason"]).to_pylist()
    unusable = [Quarantined(Path(_where(dataset.name, row)), row["reason"]) for row in refused]
    every_bad = sorted([*quarantined, *unsound, *unusable], key=lambda item: str(item.path))
    summary = Summary(
        dataset=dataset.name, protocol=chosen.name, manifest=manifest.name,
        found=len(found), usable=len(usable), outside=len(samples) - len(selected) - len(unsound),
        quarantined=[{"path": item.path.as_posix(), "reason": item.reason} for item in every_bad],
        expressions=dict(sorted(Counter(usable["expression"].to_pylist()).items(), key=str)),
        subjects=len(set(usable["subject"].to_pylist()) - {None}),
        expected=chosen.num_images, drawn=(raw / "drawn.json").exists(),
    )  # fmt: skip
    metadata = {
        "summary": asdict(summary), "prepared_from": prepared_from,
        "command": f"fertools prepare {dataset.name} --protocol {chosen.name}" + " --landmarks published" * published,
        "title": dataset.title, "source": dataset.source, "licence": dataset.licence,
        "protocol": asdict(chosen), "detector": {"name": "published"} if published else detect.provenance(),
        "fertools": version("fertools"), "commit": files.commit(),
    }  # fmt: skip
    files.write((pq.read_table(path, schema=schema.FACES) for path in todo), manifest, metadata)
    shutil.rmtree(parts)
    return replace(summary, manifest=str(manifest))


def _where(dataset: str, row: dict[str, str]) -> str:
    """Return where a face is: its file, and its place in it if it has one."""
    name = row["face_id"].removeprefix(f"{dataset}/")
    return name if name.startswith(row["source"]) else row["source"]


def _inspect(raw: Path, path: Path) -> Quarantined | None:
    """Look at the header of an image that the protocol does not take; its pixels are not decoded."""
    try:
        images.inspect(raw, path)
    except images.ImageError as error:
        return Quarantined(path, str(error))
    return None


def _key(
    dataset: Dataset, chosen: protocol.Protocol, published: bool, raw: Path, chunk: Sequence[protocol.Selected]
) -> str:
    """Return the hash of all that a chunk depends on: options, detector, what is selected, and the files' bytes."""
    how = "published landmarks" if published else detect.provenance()
    what = [schema.VERSION, schema.CROP_SIZE, dataset.name, chosen.name, how]
    for item in chunk:
        marks = dataset.landmarks(raw, item.sample) if published else None
        what.append([str(item), marks, _digest(raw, item.sample.path, item.sample.place is not None)])
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _digest(raw: Path, path: Path, holds_many: bool) -> str:
    """Return the hash of a file; of one that holds many images, as often as it is asked for."""
    try:
        return _whole_digest(raw, path) if holds_many else hashlib.sha256(images.read_bytes(raw, path)).hexdigest()
    except images.ImageError as error:
        return str(error)


@cache
def _whole_digest(raw: Path, path: Path) -> str:
    return files.file_sha256(images.target(raw, path))


# --- chunks

Step = Callable[[Path, Sequence[protocol.Selected]], Path]  # makes one part


def _work(step: Step, todo: Work, workers: int, progress: Progress) -> None:
    """Make every part that is not there yet, on one process or several."""
    total = sum(map(len, todo.values()))
    missing = [path for path in todo if not path.exists()]
    done = total - sum(len(todo[path]) for path in missing)
    progress(done, total)
    for path in _finished(step, {path: todo[path] for path in missing}, workers):
        done += len(todo[path])
        progress(done, total)


def _finished(step: Step, todo: Work, workers: int) -> Iterator[Path]:
    if workers == 1 or len(todo) <= 1:
        for path, chunk in todo.items():
            yield step(path, chunk)
        return
    with ProcessPoolExecutor(min(workers, len(todo)), get_context("spawn"), _start_worker) as pool:
        futures = [pool.submit(step, path, chunk) for path, chunk in todo.items()]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: chunks in work are finished
    cv2.setNumThreads(1)


def _make_part(dataset: str, raw: Path, device: str | None, path: Path, chunk: Sequence[protocol.Selected]) -> Path:
    found = [face_row(DATASETS[dataset], raw, item, device) for item in chunk]
    with files.whole_file(path, schema.FACES, {}) as writer:
        writer.write_table(pa.Table.from_pylist(found, schema=schema.FACES))
    return path


def describe(summary: Summary) -> str:
    """Return a summary as lines to read."""
    share = "" if summary.expected is None else f" (a complete copy has {summary.expected})"
    people = f"{summary.subjects} people" if summary.subjects else "people who are not named"
    lines = [
        f"{summary.manifest}: {'up to date, ' * summary.up_to_date}{summary.usable} faces of {people}, "
        f"protocol {summary.protocol}{share}",
        "  " + ", ".join(f"{name or 'no expression'} {count}" for name, count in summary.expressions.items()),
        f"  {summary.found} found = {summary.usable} usable + {summary.outside} outside the protocol "
        f"+ {len(summary.quarantined)} quarantined",
    ]
    lines += [f"    {item['path']}: {item['reason']}" for item in summary.quarantined]
    if summary.drawn:
        lines.append("  drawn faces, a stand-in: not the dataset")
    return "\n".join(lines)
