"""CASIA-WebFace: photographs of 10,575 actors from the web, by identity; no expression is labelled.

It comes as a folder an identity, 494,414 images of 250 x 250, or as the InsightFace pack of faces aligned to 112 x 112,
490,623 of 10,572 identities. A pack numbers its identities anew; its train.lst says which was which. Yi et al. 2014,
arXiv:1411.7923; Deng et al. 2019, arXiv:1801.07698.
"""

import re
from collections.abc import Generator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from fertools.datasets.base import Dataset, DatasetError, Quarantined, Release, Sample, files_below, refuse_folder
from fertools.datasets.readers import recordio
from fertools.datasets.readers.raw_folder import is_file_below, lines, still_packed, upper_folders
from fertools.inputs.links import is_followed

IDENTITY = re.compile(r"\d{7}")
IMAGE = re.compile(r"(?P<identity>\d{7})/(?P<number>\d{3,})\.jpe?g", re.IGNORECASE)
INDEXED = re.compile(r"(?P<key>\d{1,18})\t(?P<offset>\d{1,18})\s*", re.ASCII)
LISTED = re.compile(  # whether it is aligned, path, number of the identity, landmarks
    r"[^\t]*\t(?:[^\t]*[/\\])?(?P<identity>\d{7})[/\\]\d+\.jpe?g\t(?P<number>\d{1,9})(?:\.0*)?(?:\t|$)", re.IGNORECASE
)
MAX_IDENTITY = 1 << 24  # up to which a label of 32 bits counts
FOLDERS, PACK = "identity folders", "InsightFace pack"
DEPTH = 2  # of the identity folders or the pack below the raw folder


def samples(root: Path, labels: Path | None = None) -> Iterator[Sample | Quarantined]:
    """Yield every image below root, in path order or, of a pack, by key; their place is a byte in train.rec."""
    assert labels is None, "CASIA-WebFace has no expressions"
    folder = _copy(root)
    yield from (_of_pack if _is_pack(root, folder) else _of_folders)(root, folder)


def read(root: Path, sample: Sample) -> bytes:
    """Return the JPEG file of an image in a pack.

    Raises:
        DatasetError: the pack is not below the raw folder.
        RecordError: its record cannot be read, or holds no JPEG.
    """
    assert sample.place is not None
    if not is_file_below(root, sample.path):
        raise DatasetError("is not a file below the raw folder")
    with (root / sample.path).open("rb") as file:
        payload = recordio.read(file, sample.place)
    if (start := recordio.image_start(payload)) is None:
        raise recordio.RecordError("holds no JPEG")
    return payload[start:]


def release(root: Path) -> str:
    """Return which release lies below root: its folders or the pack."""
    return PACK if _is_pack(root, _copy(root)) else FOLDERS


def _copy(root: Path) -> Path:
    """Return the folder below root that holds the identities, or the pack."""
    tree = upper_folders(root, DEPTH, ())
    found = [folder for folder, names in tree.items() if _is_pack(root, folder) or any(map(IDENTITY.fullmatch, names))]
    if not found:
        raise refuse_folder(root / still_packed(tree), DATASET)
    if len(found) > 1:
        raise DatasetError(f"{root}: CASIA-WebFace is there twice, {found[0]} and {found[1]}; --raw can name one")
    return found[0]


def _is_pack(root: Path, folder: Path) -> bool:
    return is_file_below(root, folder / "train.rec")


# --- a folder an identity


def _of_folders(root: Path, shelf: Path) -> Iterator[Sample | Quarantined]:
    with_images, seen = set(), set[int]()
    for path in files_below(root, shelf):
        if isinstance(path, Quarantined):
            yield path
        elif not (name := IMAGE.fullmatch(path.relative_to(shelf).as_posix())):
            yield Quarantined(path, "not the name of a CASIA-WebFace image, such as 0000045/001.jpg")
        else:
            if name["identity"] not in with_images:
                with_images.add(name["identity"])
                seen.clear()
            if (number := int(name["number"])) in seen:
                yield Quarantined(path, f"a second image {number} of {name['identity']}", "duplicate")
            else:
                seen.add(number)
                yield Sample(path, None, name["identity"])
    for folder in sorted((root / shelf).iterdir()):
        if IDENTITY.fullmatch(folder.name) and folder.name not in with_images and is_followed(root, folder):
            held = any(files_below(root, shelf / folder.name)) if folder.is_dir() else False
            yield Quarantined(
                shelf / folder.name / "*.jpg" if held else shelf / folder.name, "an identity without images"
            )


# --- the pack


def _of_pack(root: Path, folder: Path) -> Iterator[Sample | Quarantined]:
    rec, idx, lst = (folder / f"train.{suffix}" for suffix in ("rec", "idx", "lst"))
    if not is_file_below(root, idx):
        raise DatasetError(f"{root / rec}: no train.idx beside it, which says where each record starts; copy it too")
    offsets = yield from _offsets(root, idx)
    identities = (yield from _identities(root, lst)) if is_file_below(root, lst) else {}
    size = (root / rec).stat().st_size
    within = {key: offset for key, offset in offsets.items() if offset < size}
    with (root / rec).open("rb", buffering=0) as file:
        for key in (yield from _image_keys(file, rec, within)):
            try:
                identity = _identity(file, within[key], size)
            except recordio.RecordError as error:
                yield Quarantined(rec, f"record of key {key} {error}")
            else:
                yield Sample(rec, None, identities.get(identity, str(identity)), place=within[key])
    if beyond := sorted(offsets.keys() - within.keys()):
        found = f"{len(beyond)} records, of keys {beyond[0]} to {beyond[-1]}"
        yield Quarantined(rec, f"cut short: {found}, start beyond its end at byte {size}; copy it again")


def _identity(file: BinaryIO, offset: int, size: int) -> int:
    """Return who an image in the pack shows; its label is the first, where it has several."""
    start = recordio.read_start(file, offset, size)
    if recordio.image_start(start) is None:
        raise recordio.RecordError("holds no JPEG")
    label = recordio.labels(start)[0]
    if not (0 <= label <= MAX_IDENTITY and label == int(label)):
        raise recordio.RecordError(f"has the label {label:g}, which is no identity")
    return int(label)


def _image_keys(file: BinaryIO, rec: Path, offsets: dict[int, int]) -> Generator[Quarantined, None, list[int]]:
    """Return the keys of the images: those that key 0 names, or all, and yield what is amiss with them."""
    keys = sorted(offsets)
    if 0 not in offsets:
        return keys
    try:
        payload = recordio.read(file, offsets[0])
        if recordio.image_start(payload) is not None:
            return keys
        ends = recordio.labels(payload)
    except recordio.RecordError as error:
        yield Quarantined(rec, f"record of key 0 {error}")
        return keys[1:]
    if len(ends) != 2 or not 1 <= ends[0] <= ends[1] <= MAX_IDENTITY:
        yield Quarantined(rec, f"record of key 0 says {ends}, not where the images and the identities end")
        return keys[1:]
    images = [key for key in keys if 0 < key < ends[0]]
    gaps = [(low + 1, high - 1) for low, high in pairwise([0, *images, int(ends[0])]) if high - low > 1]
    if gaps:
        num, named = sum(high - low + 1 for low, high in gaps), ", ".join(f"{low} to {high}" for low, high in gaps[:8])
        yield Quarantined(
            rec, f"{num} of {ends[0] - 1:.0f} images are not there: keys {named}{' ...' * (len(gaps) > 8)}"
        )
    if keys[-1] >= ends[1]:
        yield Quarantined(rec, f"key {keys[-1]} is beyond {ends[1]:.0f}, where key 0 says that they end")
    return images


def _offsets(root: Path, idx: Path) -> Generator[Quarantined, None, dict[int, int]]:
    """Return where the record of each key starts, as train.idx says, and yield what is amiss with it."""
    offsets: dict[int, int] = {}
    taken, num_bad, first = set[int](), 0, ""
    for number, line in enumerate(lines(root, idx), 1):
        bad = ""
        if not (found := INDEXED.fullmatch(line)):
            bad = f"is {line[:40]!r}, not a key, a tab and a byte"
        elif (key := int(found["key"])) in offsets:
            bad = f"repeats key {key}"
        elif (offset := int(found["offset"])) in taken:
            bad = f"gives key {key} the byte of another"
        else:
            offsets[key] = offset
            taken.add(offset)
        if bad:
            num_bad, first = num_bad + 1, first or f"line {number} {bad}"
    if not offsets:
        raise DatasetError(f"{root / idx}: no index of a pack: {first}; get it again")
    if num_bad:
        yield Quarantined(idx, f"{num_bad} of its lines are not used: {first}")
    return offsets


def _identities(root: Path, lst: Path) -> Generator[Quarantined, None, dict[int, str]]:
    """Return the original identity of each that the pack numbers, as train.lst says; none where it is not sound."""
    identities: dict[int, str] = {}
    try:
        for number, line in enumerate(lines(root, lst), 1):
            if not (found := LISTED.match(line)):
                raise DatasetError(f"line {number} is {line[:40]!r}, not a path and a number")
            name, published = int(found["number"]), found["identity"]
            if identities.setdefault(name, published) != published:
                raise DatasetError(f"line {number}: {name} is {published}, and was {identities[name]}")
        if len(set(identities.values())) < len(identities):
            raise DatasetError("one identity has two numbers")
    except DatasetError as error:
        yield Quarantined(lst, f"{error}; identities keep the numbers that the pack gave them")
        return {}
    return identities


DATASET = Dataset(
    name="casiawebface", title="CASIA-WebFace", source="https://arxiv.org/abs/1411.7923",
    licence="research only; whether it is still given out is not known",
    layout="0000045/001.jpg ..., or train.rec and train.idx of the InsightFace pack",
    labels={}, samples=samples, read=read, drawable=True,
    companions=re.compile(r"(^|/)(train\.(rec|idx|lst)|property|[^/]*\.bin)$"),  # the pack, and pairs to verify people
    examples={  # by hand: this is the adapter's documentation and its test
        "CASIA-WebFace/0000045/001.jpg": (None, "0000045"),
        "CASIA-WebFace/0000045/002.jpg": (None, "0000045"),
        "CASIA-WebFace/6573881/100.jpg": (None, "6573881"),
    },
    example_texts={},
    releases=(
        Release(name=FOLDERS, counts={"all": {None: 494_414}}, subjects=10_575),
        Release(name=PACK, counts={"all": {None: 490_623}}, subjects=10_572),
    ),
    release=release,
)  # fmt: skip
