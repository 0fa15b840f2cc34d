"""ckextended.csv: a copy of CK+ that is handed around: 920 images, 48 x 48 grey, cropped to the face.

They are the last frames of the 327 labelled sequences and, as neutral, the first ones of all 593. No person and no
sequence is named, so no split can be made independent of the subject, nor can its own, 80 / 10 / 10, be checked for it.
Lucey et al. 2010, doi:10.1109/CVPRW.2010.5543262.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from fertools.datasets.base import Dataset, Quarantined, Release, Sample, refuse_folder
from fertools.datasets.fer2013 import CODES
from fertools.datasets.readers import pixel_tables
from fertools.datasets.readers.copies import set_aside

TABLE = "ckextended.csv"
LABELS = CODES | {"7": "contempt"}
COUNTS: Mapping[str | None, int] = {"0": 45, "1": 59, "2": 25, "3": 69, "4": 28, "5": 83, "6": 593, "7": 18}
_GREY = " ".join(["0"] * pixel_tables.SIZE**2)


def samples(
    root: Path, labels: Path | None = None, recode: Mapping[str, str] | None = None
) -> Iterator[Sample | Quarantined]:
    """Yield every row of the table, in its order; recode says what its numbers are as published."""
    assert labels is None, "ckextended.csv has its own labels"
    if not root.is_dir() or not (found := pixel_tables.find_tables(root, TABLE)):
        raise refuse_folder(root, DATASET)
    taken, _ = set_aside(root, TABLE, found)
    if not recode:
        pixel_tables.check_codes(root, taken, LABELS, COUNTS)
    yield from pixel_tables.samples(root, taken, recode or {code: code for code in LABELS})


DATASET = Dataset(
    name="ckextended", title="ckextended.csv", source="http://www.jeffcohn.net/Resources/ (as CK+, whose copy this is)",
    licence="CK+'s: signed agreement, non-commercial research; only some people may be shown in print",
    layout="ckextended.csv with columns emotion, pixels, Usage; it names nobody and cannot be split by subject: "
    "prepare ckplus or ckplus48 where you have them",
    labels=LABELS, samples=samples, drawable=True, read=pixel_tables.read, codes=LABELS,
    part=lambda _: "all",  # of its parts, no counts are published
    releases=(
        Release(
            name="ckextended.csv",
            counts={"all": COUNTS},
        ),
    ),
    examples={  # by hand, one per label, each with the byte its row starts at
        "ckextended.csv@21": ("anger", None), "ckextended.csv@4640": ("disgust", None),
        "ckextended.csv@9259": ("fear", None), "ckextended.csv@13878": ("happiness", None),
        "ckextended.csv@18497": ("sadness", None), "ckextended.csv@23116": ("surprise", None),
        "ckextended.csv@27735": ("neutral", None), "ckextended.csv@32354": ("contempt", None),
    },
    example_texts={
        "ckextended.csv": "emotion,pixels,Usage\n" + "".join(f"{code},{_GREY},Training\n" for code in sorted(LABELS)),
    },
)  # fmt: skip
