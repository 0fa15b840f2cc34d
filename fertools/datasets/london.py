"""Face Research Lab London Set: 102 adults, neutral and smiling, from several sides, 1350 px in colour; CC BY 4.0.

A file's name says person and photograph: 001_03.jpg is person 001, the third of ten. Age, gender and ethnicity are what
people said of themselves. DeBruine & Jones 2017, doi:10.6084/m9.figshare.5047666.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from fertools.datasets.base import Dataset, Note, Quarantined, Release, Sample, files_below, refuse_folder
from fertools.datasets.readers.copies import set_aside
from fertools.inputs.people import attribute
from fertools.inputs.table import Broken, TableError, open_table

LABELS = {"03": "neutral", "08": "happiness"}  # both from the front; the others show a side, and are not labelled here
NAME = re.compile(r"(?P<subject>\d{3})_(?P<label>0[1-9]|10)\.jpe?g", re.IGNORECASE)
INFO = "london_faces_info.csv"
COLUMNS = {
    "face_id": (), "age": ("face_age",), "gender": ("face_sex", "face_gender"), "race": ("face_eth",),
}  # fmt: skip
People = Mapping[str, tuple[str | None, str | None, str | None]]  # person -> age, gender, race


def samples(root: Path, labels: Path | None = None) -> Iterator[Sample | Quarantined | Note]:
    """Yield every photograph below root, in path order, with what its person said of themselves."""
    assert labels is None, "the London Set has its own labels"
    unread: list[Quarantined] = []
    tables: list[Path] = []
    of_image: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for path in files_below(root, Path()) if root.is_dir() else ():
        if isinstance(path, Quarantined):
            unread.append(path)
        elif path.name.lower() == INFO:
            tables.append(path)
        elif name := NAME.fullmatch(path.name):
            of_image[f"{name['subject']}_{name['label']}"].append((0, path))
    if not of_image:
        raise refuse_folder(root, DATASET)
    yield from unread
    people: People = {}
    if not tables:
        yield Note(f"{INFO} is not there: age, gender and ethnicity stay unknown")
    else:
        table, copies = set_aside(root, INFO, [(len(path.parts), path) for path in tables])
        people, broken = _people(root, table)
        yield from (*copies, *broken)
    for image, found in of_image.items():
        taken, copies = set_aside(root, f"photograph {image}", found)
        subject, label = image.split("_")
        yield from copies
        age, gender, race = people.get(subject, (None, None, None))
        yield Sample(taken, label, subject, frame=int(label), age=age, gender=gender, race=race)


def _people(root: Path, path: Path) -> tuple[People, list[Quarantined]]:
    """Return what each person said, by the number that files are named by: X001 is 001."""
    people, broken = {}, []
    try:
        for row in open_table(root / path, COLUMNS, ("face_id",)).rows():
            if isinstance(row, Broken):
                broken.append(Quarantined(path, f"line {row.line}: {row.reason}"))
            else:
                age, gender, race = (attribute(row.cells.get(name, "")) for name in ("age", "gender", "race"))
                people[row.cells["face_id"].lstrip("Xx")] = age, gender, race
    except TableError as error:
        broken.append(Quarantined(path, f"{error}; age, gender and ethnicity stay unknown"))
    return people, broken


DATASET = Dataset(
    name="london", title="Face Research Lab London Set", source="https://doi.org/10.6084/m9.figshare.5047666",
    licence="CC BY 4.0",
    layout="neutral_front/001_03.jpg ... smiling_front/173_08.jpg, london_faces_info.csv",
    labels=LABELS, samples=samples, companions=re.compile(r"\.tem$|london_faces_(info|ratings)\.csv$", re.IGNORECASE),
    releases=(
        Release(name="London", subjects=102, all_parts=False, counts={"front": {"03": 102, "08": 102}}),
    ),
    part=lambda sample: "front" if sample.label in LABELS else "from a side",
    examples={  # by hand: this is the adapter's documentation and its test
        "neutral_front/001_03.jpg": ("neutral", "001"),
        "smiling_front/002_08.jpg": ("happiness", "002"),
        "neutral_left/005_01.jpg": (None, "005"),
    },
    example_texts={"london_faces_info.csv": "face_id,face_age,face_sex,face_eth\nX001,24,female,white\n"},
)  # fmt: skip
