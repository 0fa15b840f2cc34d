"""Any folder of one's own images: with a table (path, expression, subject, split), or as folders that say the same.

A table may also have the columns gender, age and race.

images/001.jpg ...  labels.csv     path,expression,subject
happiness/anna/1.jpg ...           the folders say what the table would
train/happy/1.jpg  anna/happy/1.jpg  0_angry/1.jpg  photos/Freude/anna/monday/1.jpg
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fertools.datasets.base import Dataset, DatasetError, Note, Quarantined, Sample, files_below, refuse_folder
from fertools.datasets.folder_layout import Claim, read_layout
from fertools.inputs.expressions import ENGLISH, LABELS, fold, label_of, part_of
from fertools.inputs.links import FollowedFolder
from fertools.inputs.names import FileIndex
from fertools.inputs.people import WHOLE, attribute, identify
from fertools.inputs.table import Broken, open_table
from manifests.schema import ATTRIBUTES
from manifests.text import printable, storable

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".pbm", ".gif", ".webp",
    ".avif", ".heic", ".heif",
)  # fmt: skip
COLUMNS = {
    "path": (
        "file",
        "filename",
        "file_name",
        "file name",
        "image",
        "image_path",
        "image path",
        "filepath",
        "file_path",
    ),
    "expression": ("emotion", "label", "class"),
    "subject": ("person", "identity", "subject_id", "subject id", "person_id", "person id"),
    "split": ("part", "set", "subset", "usage", "partition"),
    "gender": ("sex",),
    "age": ("age_group", "age group"),
    "race": ("ethnicity",),
}
Recode = Mapping[str, str]  # what a label is written as -> canonical expression
Item = Sample | Quarantined | Note


def samples(root: Path, labels: Path | None = None, recode: Recode | None = None) -> Iterator[Item]:
    """Yield every image below root that a table names, or every image of the expression folders.

    Args:
        root: the raw folder.
        labels: a table with columns path, expression and perhaps subject, split, gender, age and race.
        recode: what labels mean, where they are no known words.

    Raises:
        DatasetError: no folder, or labels that nobody can say the meaning of.
        TableError: no table, or one without its columns.
    """
    if not root.is_dir():
        raise refuse_folder(root, DATASET)
    words = {fold(word): expression for word, expression in (recode or {}).items()}
    if labels:
        yield from _from_table(root, labels, words)
    else:
        yield from _from_folders(root, words)


def _from_table(root: Path, labels: Path, words: Recode) -> Iterator[Item]:
    table = open_table(labels, COLUMNS, ("path", "expression"))
    own = (
        Path(labels.absolute().relative_to(root.absolute()))
        if labels.absolute().is_relative_to(root.absolute())
        else None
    )
    files = [path for path in files_below(root, Path()) if isinstance(path, Path) and path != own]
    index, claims = FileIndex(root, files), []
    for row in table.rows():
        if isinstance(row, Broken):
            yield Quarantined(own or Path(labels.name), f"line {row.line}: {row.reason}")
        elif isinstance(path := index.find(written := row.cells["path"]), Path):
            cells, more = row.cells, {name: row.cells.get(name, "") for name in ("split", *ATTRIBUTES)}
            claims.append(Claim(path, cells["expression"], cells.get("subject"), source=f"line {row.line}", **more))
        else:
            yield Quarantined(Path(written or "."), f"{labels.name}, line {row.line}: {path}")
    yield from map(Note, table.notes)
    if index.num_folded:
        yield Note(
            f"{printable(labels.name)}: {index.num_folded} names match a file only without case, blanks around them or "
            "Unicode form"
        )
    yield from _resolve(root, claims, words, labels.name)
    listed = {claim.path for claim in claims}
    for path in files:
        if path not in listed and path.suffix.lower() in IMAGE_SUFFIXES:
            yield Quarantined(path, f"named in no row of {labels.name}")


def _from_folders(root: Path, words: Recode) -> Iterator[Item]:
    images = []
    for path in files_below(root, Path()):
        if isinstance(path, Quarantined):
            yield path
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        else:
            yield Quarantined(path, f"not an image: known endings are {' '.join(IMAGE_SUFFIXES)}")
    layout = read_layout(images, lambda name: _label(name, words) is not None)
    if not layout.claims:
        _refuse_numbers(root, layout.numbered)
        raise refuse_folder(root, DATASET)
    yield from map(Note, layout.notes)
    yield from layout.quarantined
    yield from _resolve(root, layout.claims, words, "its folders")


# --- what is claimed of the images, to samples


def _resolve(root: Path, claims: Sequence[Claim], words: Recode, source: str) -> Iterator[Item]:
    """Yield an image once, whatever is said of it how often; of what contradicts itself, nothing is believed."""
    _refuse_numbers(root, [] if words else sorted({claim.label.strip() for claim in claims}))
    people, notes = identify([claim.subject for claim in claims])
    yield from map(Note, [*notes, *_other_words(claims, words)])
    of_file: dict[str, list[tuple[Claim, str | None]]] = defaultdict(list)
    for claim, person in zip(claims, people, strict=True):
        of_file[_real(root, claim.path)].append((claim, person))
    num_again = 0
    for said in of_file.values():
        paths = dict.fromkeys(claim.path for claim, _ in said)
        made = [_sample(claim, person, words) for claim, person in said]
        good = [item for item in made if isinstance(item, Sample)]
        if reason := _contradiction(said, made, source):
            yield from (Quarantined(path, reason) for path in paths)
            continue
        num_again += len(said) - len(paths)
        best = max(good, key=_fullness) if good else made[0]
        yield best
        for path in paths:
            if path != best.path:
                yield Quarantined(path, f"the same file as {printable(best.path)}, by a link", "duplicate")
    if num_again:
        yield Note(f"{printable(source)}: {num_again} rows name a file again and say the same of it")


def _contradiction(
    said: Sequence[tuple[Claim, str | None]], made: Sequence[Sample | Quarantined], source: str
) -> str | None:
    """Return how the rows about one file contradict each other; null where they do not."""
    facts = [
        (item.label and LABELS[item.label], item.subject, item.split, item.gender, item.age, item.race)
        if isinstance(item, Sample)
        else (item.reason, None, None, None, None, None)
        for item in made
    ]
    if all(len(set(values) - {None}) <= 1 for values in zip(*facts, strict=True)):
        return None
    told = list(dict.fromkeys(f"{claim.source}: {claim.said}" for claim, _ in said))
    return f"{source} contradicts itself: {'; '.join(told[:4])}"


def _sample(claim: Claim, person: str | None, words: Recode) -> Sample | Quarantined:
    label = _label(claim.label, words)
    if label is None:
        known = ", ".join(sorted(set(LABELS.values())))
        return Quarantined(
            claim.path, f"expression {printable(claim.label, 40)!r} is not one of {known}; --map names it"
        )
    split = part_of(claim.split) if claim.split.strip() else None
    if claim.split.strip() and split is None:
        return Quarantined(claim.path, f"split {printable(claim.split, 40)!r} is not train, validation or test")
    gender, age, race = (attribute(cell) for cell in (claim.gender, claim.age, claim.race))
    return Sample(claim.path, label, person and storable(person), split=split, gender=gender, age=age, race=race)


def _fullness(sample: Sample) -> tuple[bool, bool, int]:
    known = sum(value is not None for value in (sample.gender, sample.age, sample.race))
    return sample.subject is not None, sample.split is not None, known


def _label(written: str, words: Recode) -> str | None:
    """Return the key of LABELS that is meant; null where that is not known."""
    word = fold(written)
    whole = WHOLE.fullmatch(word)
    return words.get(whole[1] if whole else word) or label_of(written)


def _other_words(claims: Sequence[Claim], words: Recode) -> Iterator[str]:
    """Yield how labels were read that are not the canonical names."""
    read = Counter((claim.label.strip(), _label(claim.label, words) or "") for claim in claims)
    others = {(word, label): num for (word, label), num in read.items() if label and fold(word) not in ENGLISH}
    if others:
        listed = ", ".join(
            f"{printable(word, 30)} -> {LABELS[label or '']} ({count})"
            for (word, label), count in sorted(others.items())
        )
        yield f"labels read as: {listed}"


def _refuse_numbers(root: Path, labels: Sequence[str]) -> None:
    """Refuse labels that are all numbers: each list of this field numbers its expressions otherwise."""
    numbers = sorted({int(float(label)) for label in labels if label.replace(".0", "").isdecimal()})
    if numbers and len(numbers) >= len({label for label in labels if label}):
        shown = ",".join(f"{number}=..." for number in numbers[:8])
        raise DatasetError(
            f"{printable(root)}: its labels are the numbers {', '.join(map(str, numbers[:12]))}, and every list counts "
            f"expressions in an order of its own; say what yours mean: --map {shown} (such as {numbers[0]}=anger), or "
            "--map FILE.csv with columns label, expression"
        )


def _real(root: Path, path: Path) -> str:
    """Return what tells one file from another, whatever links lead to it."""
    full = root / path
    linked = isinstance(root, FollowedFolder) or full.is_symlink()
    return os.path.realpath(full) if linked else f"{os.path.realpath(root)}/{path.as_posix()}"


DATASET = Dataset(
    name="folder", title="A folder of one's own", source="nowhere: it is yours",
    licence="the user's own",
    layout="images and --labels CSV with columns path, expression and perhaps subject, split, gender, age, race; "
    "or folders such as happiness/anna/1.jpg, anna/happy/1.jpg, train/happy/1.jpg",
    labels=LABELS, samples=samples, takes_labels=True,
    examples={
        "anger/anna/1.jpg": ("anger", "anna"), "contempt/ben/2.png": ("contempt", "ben"),
        "disgust/anna/3.jpg": ("disgust", "anna"), "fear/ben/4.jpg": ("fear", "ben"),
        "happy/anna/5.jpg": ("happiness", "anna"), "neutral/6.jpg": ("neutral", None),
        "sad/ben/7.jpg": ("sadness", "ben"), "surprise/anna/8.jpeg": ("surprise", "anna"),
    },
    example_texts={},
)  # fmt: skip
