"""Does a split leak? Test faces whose person, recording, file or photograph is in the training or the validation part.

Five kinds, of which a split is to avoid all. `group` is judged for faces without a published subject only: where people
are known, what an embedder thinks of them does not count. `near copy` is not told of frames of one recording or of
copies of one file, which are told as such.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fertools.checks import splits
from fertools.checks.leaks import KINDS, Audited, examine, partners, pooled, shares_key
from fertools.checks.splits import Split
from fertools.faces import near_copies
from fertools.faces.near_copies import Copies
from fertools.folds.identities import group
from manifests import files

KEYS = {  # kind of leak: the column that two faces share
    "subject": "subject",
    "sequence": "sequence",
    "exact copy": "source_sha256",
    "group": "group",
}
NUM_WORST = 12  # pairs told and shown of each kind
NUM_RANKED = 300  # of which the worst are sought
CHUNK = 1000  # crops read at once: 21 MB

Integers = NDArray[np.int64]
Progress = Callable[[int, int], None]  # faces read or compared, faces in all


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A test face and one that it shares something with."""

    test: str  # face ids
    other: str
    correlation: float  # of the two, registered


@dataclass(frozen=True, kw_only=True)
class Report:
    """An audit."""

    dataset: str
    manifest: str
    drawn: bool
    licence: str
    groups: dict[str, Any] | None  # what the manifest says of them
    splits: list[Audited]
    total: Audited  # test faces of all splits, each as often as it tests
    worst: dict[str, list[Pair]]  # kind: the pairs that are most alike
    against: str | None = None  # another manifest, all of which stands for the training part
    unknown: list[str] = field(default_factory=list)  # files on a list that the manifest does not have
    notes: list[str] = field(default_factory=list)  # how the list was read


def audit(
    manifest: Path,
    listed: Path | None = None,
    folds: Sequence[int] = (),
    progress: Progress = lambda *_: None,
) -> Report:
    """Audit a manifest's folds or official split, or a user's list of files.

    Memory: the rows without images, 2.3 KB a face, and the pairs found.

    Raises:
        SplitError: there is no split to audit.
    """
    faces, metadata = files.read(manifest), files.read_metadata(manifest)
    of_list = splits.of_list(listed, faces, folds) if listed else None
    chosen = of_list.splits if of_list else splits.of_manifest(faces, folds)
    keys = {kind: _codes(faces, kind) for kind in KEYS}
    seen = np.unique(np.concatenate([part for split in chosen for part in (split.test, split.validation, split.train)]))
    pictures = _thumbnails(manifest, seen, progress)
    copies = _copies(manifest, metadata, pictures, seen, keys, progress)
    audited = [examine(split, keys, copies) for split in chosen]
    about = metadata.get("summary", {})
    return Report(
        dataset=metadata.get("title", manifest.stem), manifest=str(manifest), drawn=about.get("drawn", False),
        licence=metadata.get("licence", "not known"), groups=metadata.get("groups"), splits=audited,
        total=pooled(audited),
        worst=_worst(faces, chosen, keys, copies, lambda row: pictures[np.searchsorted(seen, row)]),
        unknown=of_list.unknown if of_list else [], notes=of_list.notes if of_list else [],
    )  # fmt: skip


def against(manifest: Path, other: Path, progress: Progress = lambda *_: None) -> Report:
    """Audit one manifest's faces, as a test part, against all of another, which was trained on somewhere.

    People are compared by name, which two datasets seldom share, and by their photographs: groups are of one manifest.
    """
    tables = [files.read(path) for path in (manifest, other)]
    usable = [np.flatnonzero(np.array(table["usable"])) for table in tables]
    faces, none = pa.concat_tables(tables), np.empty(0, np.int64)
    split = Split(f"{manifest.stem} against {other.stem}", usable[0], none, usable[1] + len(tables[0]))
    keys = {kind: _codes(faces, kind) for kind in KEYS if kind != "group"}
    pictures = np.concatenate(
        [_thumbnails(path, rows, progress) for path, rows in zip((manifest, other), usable, strict=True)]
    )
    seen, sides = np.concatenate([split.test, split.train]), np.repeat([0, 1], [len(rows) for rows in usable])
    found = near_copies.near_copies(pictures, sides, progress)  # none are sought within a side
    copies = Copies(seen[found.left], seen[found.right], found.correlation)
    held = keys["exact copy"][copies.left] != keys["exact copy"][copies.right]
    copies = Copies(copies.left[held], copies.right[held], copies.correlation[held])
    audited, metadata = [examine(split, keys, copies)], files.read_metadata(manifest)
    return Report(
        dataset=metadata.get("title", manifest.stem), manifest=str(manifest), against=str(other),
        drawn=metadata.get("summary", {}).get("drawn", False), licence=metadata.get("licence", "not known"),
        groups=None, splits=audited, total=pooled(audited),
        worst=_worst(faces, [split], keys, copies, lambda row: pictures[np.searchsorted(seen, row)]),
    )  # fmt: skip


# --- a manifest's keys and near copies


def _codes(faces: pa.Table, kind: str) -> Integers:
    """Return the key of a kind of leak as one number a row, -1 where it is not known."""
    column = faces[KEYS[kind]]
    if kind == "exact copy":
        column = pc.coalesce(column, faces["face_id"])
    if kind == "group":
        column = pc.if_else(pc.is_null(faces["subject"]), column, pa.scalar(None, pa.string()))
    codes = column.combine_chunks().dictionary_encode().indices.fill_null(-1)
    return np.asarray(codes.to_numpy(zero_copy_only=False), np.int64)


def _thumbnails(manifest: Path, rows: Integers, progress: Progress) -> NDArray[np.uint8]:
    pictures = np.empty((len(rows), near_copies.SIDE, near_copies.SIDE), np.uint8)
    seen = files.read_crop(manifest).least
    for at in range(0, len(rows), CHUNK):
        pictures[at : at + CHUNK] = near_copies.thumbnails(files.read_images(manifest, rows[at : at + CHUNK], seen))
        progress(min(at + CHUNK, len(rows)), len(rows))
    return pictures


def _copies(
    manifest: Path, metadata: dict[str, Any], pictures: NDArray[np.uint8], rows: Integers,
    keys: dict[str, Integers], progress: Progress,
) -> Copies:  # fmt: skip
    """Return near copies by row; where the faces were embedded, the embedder must find one person in both."""
    found = near_copies.near_copies(pictures, keys["sequence"][rows], progress)
    left, right = rows[found.left], rows[found.right]
    held = keys["exact copy"][left] != keys["exact copy"][right]
    if (vectors := group.stored(manifest, metadata, len(keys["sequence"]))) is not None:
        alike = np.einsum("nd,nd->n", vectors[left].astype(np.float32), vectors[right].astype(np.float32))
        held &= alike >= metadata["groups"]["threshold"]
    return Copies(left[held], right[held], found.correlation[held])


# --- the worst pairs


def _worst(
    faces: pa.Table, chosen: Sequence[Split], keys: dict[str, Integers], copies: Copies,
    picture: Callable[[int], NDArray[np.uint8]],
) -> dict[str, list[Pair]]:  # fmt: skip
    """Return of each kind that leaks the pairs that are most alike, of 300 evenly spaced ones."""
    worst = {}
    for kind in KINDS:
        pairs: dict[tuple[int, int], None] = {}
        for split in chosen:
            part = np.union1d(split.train, split.validation)
            if kind in keys:
                pairs |= dict.fromkeys(_key_pairs(keys[kind], split.test, part))
            elif kind not in KEYS:
                test, other, _ = partners(copies, split.test, part)
                pairs |= dict.fromkeys(zip(test.tolist(), other.tolist(), strict=True))
        some = list(pairs)[:: max(1, len(pairs) // NUM_RANKED)]
        likest = sorted(((_alike(picture(test), picture(other)), test, other) for test, other in some), reverse=True)
        if likest:
            worst[kind] = [
                Pair(test=faces["face_id"][test].as_py(), other=faces["face_id"][other].as_py(), correlation=alike)
                for alike, test, other in likest[:NUM_WORST]
            ]
    return worst


def _key_pairs(keys: Integers, test: Integers, part: Integers) -> list[tuple[int, int]]:
    """Return each test row that shares a key, with the first row of the other part that has it."""
    leaking = test[shares_key(keys, test, part)]
    known, first = np.unique(keys[part], return_index=True)
    return list(zip(leaking.tolist(), part[first[np.searchsorted(known, keys[leaking])]].tolist(), strict=True))


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return max(near_copies.registered(one, turned) for turned in (other, other[:, ::-1]))


# --- to read


def verdict(report: Report) -> str:
    """Return what an audit found in one sentence, which claims no more than is known."""
    total, estimate = report.total, "; fertools group makes an estimate" * (report.against is None)
    if not total.clean:
        return "The split leaks."
    if total.num_known == total.num_test:
        guessed = any(leak.judged for leak in total.leaks if leak.kind == "group")
        return "No test face shares anything with another part" + (
            "; some people are an embedder's guess." if guessed else "."
        )
    if total.num_known:
        who = f"who is shown is known of {total.num_known} of {total.num_test} test faces"
        return f"Nothing found, but {who}: the others may show people of another part{estimate}."
    return f"Nothing found, but nobody is named: test faces may show people of another part{estimate}."


def describe(report: Report) -> str:
    """Return an audit as lines to read."""
    total = report.total
    where = f"against {report.against}" if report.against else f"in {len(report.splits)} split(s)"
    lines = [f"{report.manifest}: {total.num_test} test faces {where}", f"  {verdict(report)}"]
    for leak in total.leaks:
        if leak.rate is None or leak.interval is None:
            lines.append(f"  {leak.kind:<10} in {leak.part:<10} not known for any test face")
            continue
        low, high = leak.interval
        of = f"{leak.faces} of {leak.judged} test faces"
        lines.append(f"  {leak.kind:<10} in {leak.part:<10} {leak.rate:7.2%}  {of}; 95 % {low:.2%} to {high:.2%}")
    if not total.clean and len(report.splits) > 1:
        leaky = [f"{one.name} ({max(leak.faces for leak in one.leaks)})" for one in report.splits if not one.clean]
        lines.append(f"  leaks in {', '.join(leaky)}")
    for kind, pairs in report.worst.items():
        lines += [f"  {kind}: {pair.test} and {pair.other}" for pair in pairs[:3]]
    if report.unknown:
        lines.append(f"  {len(report.unknown)} listed files are not in the manifest: {', '.join(report.unknown[:3])}")
    lines += [f"  {note}" for note in report.notes]
    if report.drawn:
        lines.append("  drawn faces, a stand-in: not the dataset")
    return "\n".join(lines)


def page(report: Report) -> str:
    """Return an audit as one HTML page that needs no other file."""
    import jinja2

    paths = [Path(path) for path in (report.manifest, report.against) if path]
    places = {
        face_id: (path, row)
        for path in paths for row, face_id in enumerate(files.read(path)["face_id"].to_pylist())
    }  # fmt: skip
    shown = {
        kind: [(pair, _png(*places[pair.test]), _png(*places[pair.other])) for pair in pairs]
        for kind, pairs in report.worst.items()
    }
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("audit.html").read_text())
    return template.render(report=report, verdict=verdict(report), shown=shown)


def _png(manifest: Path, row: int) -> str:
    crop = files.read_images(manifest, np.array([row]), files.read_crop(manifest).least)[0]
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", crop)[1].tobytes()).decode()
