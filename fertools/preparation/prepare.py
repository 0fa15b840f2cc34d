"""A raw folder to a manifest: the only file that knows the order of the steps.

Images are worked at in chunks of 50. Each finished chunk is a file in `manifests/.<dataset>.parts/`, so that a run that
was interrupted, however that came, goes on where it stopped and ends with the same bytes. A ledger beside the manifest
says what each row was made from: a later run takes over every row that still holds.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fertools.datasets import protocols
from fertools.datasets.base import Dataset, Note, Quarantined, Sample
from fertools.datasets.reasons import grouped
from fertools.datasets.survey import survey
from fertools.errors import FertoolsError
from fertools.faces import detector, images
from fertools.preparation import chunks, ledger
from fertools.preparation.engines import Engine
from fertools.preparation.engines.attempts import Result, Step
from fertools.preparation.previous import PreviousManifest
from fertools.preparation.seal import PREPARED, seal
from manifests import atomic, files, schema
from manifests.lock import manifest_writer
from manifests.provenance import commit
from manifests.text import printable, storable

LOCAL = Engine()
Progress = Callable[[int, int, str], None]  # images done, images in all, what came of those that this run has done
Rows = dict[bytes, ledger.Row]  # by the key of their jobs


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
    notes: list[str] = field(default_factory=list)  # how labels, names and people were read, where that is not plain
    up_to_date: bool = False  # the manifest was there, made from the same files and options, and whole
    repaired: list[str] = field(default_factory=list)  # parts of its crops that were damaged, and are as they were


def prepare(
    dataset: Dataset,
    raw: Path,
    manifests: Path,
    *,
    labels: Path | None = None,
    recode: Mapping[str, str] | None = None,
    protocol_name: str | None = None,
    published: bool = False,
    crop: schema.Crop = schema.DEFAULT_CROP,
    device: str = "auto",
    engine: Engine = LOCAL,
    check_hashes: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
) -> Summary:
    """Detect and align what a protocol takes of a raw folder, and write the manifest.

    What a manifest or an interrupted run holds already is taken over, where its options and files are still the same.

    Args:
        dataset: whose adapter reads the folder.
        raw: the folder.
        manifests: where the manifest goes.
        labels: a table of labels, for adapters that take one.
        recode: what labels as written are to be read as (`survey.reading`); null: as published.
        protocol_name: which images; by default the dataset's first protocol.
        published: align by the landmarks that the authors publish; nothing is detected then.
        crop: how faces are cut out.
        device: where faces are detected: cpu, cuda, openvino (the processor, by other kernels), or auto.
        engine: where the work is done.
        check_hashes: hash every image to tell whether it changed, not only those whose size or time did.
        overwrite: replace a manifest of other options, or one whose folds or groups would not fit its rows any more.
        progress: called as images are done.

    Raises:
        DatasetError: the raw folder is not what its adapter expects.
        PrepareError: no image or no landmark is left.
        OverwriteError: a manifest is in the way that is only replaced with `overwrite`.
        ManifestError: something cannot be written, or another process writes it.
    """
    chosen = protocols.find(dataset.name, protocol_name)
    items = list(survey(dataset, raw, labels, recode))
    found = [item for item in items if not isinstance(item, Note)]
    selected = _select(found, dataset, chosen, raw, published)
    manifest = files.manifest_path(manifests, dataset.name)
    place = None if published else detector.pick_detector_device(device)
    about = _about(dataset, chosen, place, crop)
    with manifest_writer(manifest):
        previous = PreviousManifest.read(manifest, overwrite)
        if not overwrite:
            previous.check_options(about)

        parts = manifests / f".{dataset.name}.parts"
        jobs = _jobs(dataset, raw, selected, about, published)

        def run(step: Step, jobs: Sequence[ledger.Job]) -> Iterator[Result]:
            return engine.run(step, chunks.cut(jobs), gpu=str(place).startswith("cuda"))

        rows = previous.sound_rows | ledger.of_parts(parts.glob("*.parquet"))
        rows = _still_holding(
            jobs, rows, partial(run, partial(chunks.digests, dataset.name, raw.absolute())), check_hashes
        )
        if not overwrite:
            previous.check_loss(jobs, rows)
        step = partial(chunks.make_part, parts.absolute(), dataset.name, raw.absolute(), place, crop)
        rows |= _make(jobs, rows, partial(run, step), parts, dataset.name, progress)

        faces = ledger.gather([rows[job.key] for job in jobs], PREPARED)
        summary = _summary(dataset, chosen, raw, found, selected, faces)
        summary = replace(summary, notes=[item.text for item in items if isinstance(item, Note)])
        about |= {"summary": _as_read(asdict(summary)), "prepared_from": ledger.fingerprint(jobs, rows)}
        if not previous.holds(faces, about):
            if not overwrite:
                previous.refuse("its rows change")
            previous = replace(previous, metadata={})
        up_to_date = seal(previous, jobs, rows, faces, about)
        shutil.rmtree(parts, ignore_errors=True)
        repaired = list(previous.damaged) if up_to_date else []
        return replace(summary, manifest=str(manifest), up_to_date=up_to_date and not repaired, repaired=repaired)


def _select(
    found: Sequence[Sample | Quarantined], dataset: Dataset, chosen: protocols.Protocol, raw: Path, published: bool
) -> list[protocols.Selected]:
    """Return what a protocol takes of what was found.

    Raises:
        PrepareError: nothing, or nothing with published landmarks where these are asked for.
    """
    samples = [item for item in found if isinstance(item, Sample)]
    quarantined = [item for item in found if isinstance(item, Quarantined)]
    selected = chosen.select(samples, dataset.labels)
    if not selected:
        raise PrepareError(
            f"{raw}: {len(samples)} images found, none that protocol {chosen.name} takes "
            f"({', '.join(chosen.expressions)}); {len(quarantined)} things quarantined"
            + "".join(f"\n  {line}" for line in grouped((storable(item.path), item.reason) for item in quarantined))
        )
    if published and not any(dataset.landmarks(raw, item.sample) for item in selected[: chunks.CHUNK]):
        raise PrepareError(
            f"{raw}: no landmarks found that {dataset.title} publishes for these images; leave out --landmarks "
            "published to have faces detected"
        )
    return selected


def _about(dataset: Dataset, chosen: protocols.Protocol, device: str | None, crop: schema.Crop) -> dict[str, Any]:
    """Return what a manifest says of itself before anything is made; of no device, landmarks are the published ones."""
    detects = {"name": "published"} if device is None else detector.provenance(device=device)
    return _as_read({
        "crop": asdict(crop),
        "command": f"fertools prepare {dataset.name} --protocol {chosen.name}"
        + " --landmarks published" * (device is None) + crop.options,
        "title": dataset.title, "source": dataset.source, "licence": dataset.licence,
        "protocol": asdict(chosen), "detector": detects,
        "fertools": version("fertools"), "commit": commit(),
    })  # fmt: skip


def _as_read(about: dict[str, Any]) -> dict[str, Any]:
    """Return what a manifest says of itself as it will be read from there."""
    return dict(json.loads(json.dumps(about)))


def _jobs(
    dataset: Dataset, raw: Path, selected: Sequence[protocols.Selected], about: dict[str, Any], published: bool
) -> list[ledger.Job]:
    """Return the images with what their rows depend on, and the state of their files before anything is read."""
    how = ledger.key(schema.VERSION, dataset.name, about["crop"], about["detector"]).hex()
    states = ledger.states(raw, (item.sample.path for item in selected))
    marks = (dataset.landmarks(raw, item.sample) if published else None for item in selected)
    return [
        ledger.Job(item, ledger.key(how, str(item), points), *state)
        for item, points, state in zip(selected, marks, states, strict=True)
    ]


Run = Callable[[Sequence[ledger.Job]], Iterator[Result]]


def _still_holding(jobs: Sequence[ledger.Job], rows: Rows, digests: Run, check_hashes: bool) -> Rows:
    """Return the rows that still hold; images whose files look changed are hashed, or on request all."""
    known = [job for job in jobs if job.key in rows]
    doubtful = [job for job in known if check_hashes or not rows[job.key].holds(job)]
    now = {job.key: rows[job.key].digest for job in known}
    now |= dict.fromkeys((job.key for job in doubtful), "")
    for done in digests(doubtful):
        now |= zip(done.get("keys", ()), done.get("digests", ()), strict=True)
    return {
        job.key: rows[job.key]._replace(size=job.size, mtime_ns=job.mtime_ns)
        for job in known
        if now[job.key] == rows[job.key].digest
    }


def _make(
    jobs: Sequence[ledger.Job], rows: Rows, make: Run, parts: Path, dataset: str, progress: Progress
) -> Rows:  # fmt: skip
    """Make the rows that are not there."""
    todo = [job for job in jobs if job.key not in rows]
    done, counts, made = len(jobs) - len(todo), [0, 0, 0], []
    progress(done, len(jobs), "")
    if todo:
        with atomic.writing(parts):
            parts.mkdir(parents=True, exist_ok=True)
    for result in make(todo):
        part = chunks.make_lost_part(parts, dataset, result["lost"]) if "lost" in result else result
        made.append(parts / part["part"])
        counts = [sum(pair) for pair in zip(counts, part["counts"], strict=True)]
        progress(done + sum(counts), len(jobs), "{} found, {} without a face, {} quarantined".format(*counts))
    return ledger.of_parts(made)


def _summary(
    dataset: Dataset, chosen: protocols.Protocol, raw: Path, found: Sequence[Sample | Quarantined],
    selected: Sequence[protocols.Selected], faces: pa.Table,
) -> Summary:  # fmt: skip
    """Return what was found, from the rows that came of it."""
    usable = faces.filter(faces["usable"])
    refused = faces.filter(pc.invert(faces["usable"])).select(["face_id", "source", "reason"]).to_pylist()
    unusable = [Quarantined(Path(_where(dataset.name, row)), row["reason"]) for row in refused]
    samples = [item for item in found if isinstance(item, Sample)]
    others = {sample.path for sample in samples if sample.place is None} - {item.sample.path for item in selected}
    unsound = [bad for path in sorted(others) if (bad := _inspect(raw, path))]
    strange = [item for item in found if isinstance(item, Quarantined)]
    every_bad = sorted([*strange, *unsound, *unusable], key=lambda item: str(item.path))
    return Summary(
        dataset=dataset.name, protocol=chosen.name, manifest=files.manifest_path(Path(), dataset.name).name,
        found=len(found), usable=len(usable), outside=len(samples) - len(selected) - len(unsound),
        quarantined=[{"path": storable(item.path), "reason": storable(item.reason)} for item in every_bad],
        expressions=dict(sorted(Counter(usable["expression"].to_pylist()).items(), key=str)),
        subjects=len(set(usable["subject"].to_pylist()) - {None}),
        expected=chosen.num_images, drawn=(raw / "drawn.json").exists(),
    )  # fmt: skip


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
    lines += [f"  {name} was damaged, and is made again" for name in summary.repaired]
    lines += [f"    {line}" for line in grouped((item["path"], item["reason"]) for item in summary.quarantined)]
    lines += [f"  {printable(note, 1000)}" for note in summary.notes]
    if summary.drawn:
        lines.append("  drawn faces, a stand-in: not the dataset")
    return "\n".join(lines)
