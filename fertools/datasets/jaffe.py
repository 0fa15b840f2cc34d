"""JAFFE: 213 posed images of 10 women, 256 x 256 grey, six expressions and neutral.

A file's name says all: person, expression, take, and the number of the photograph in the set. Lyons et al. 1998,
doi:10.1109/AFGR.1998.670949.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fertools.datasets.base import Dataset, Quarantined, Release, Sample, files_below, refuse_folder
from fertools.datasets.readers.copies import set_aside

NAME = re.compile(  # copies in other formats are called KA.AN1.39.jpg or KA.AN1.39.tiff.bmp
    r"(?P<image>(?P<subject>[A-Z]{2})\.(?P<label>AN|DI|FE|HA|NE|SA|SU)\d\.\d+)\."
    r"(?:(?P<original>tiff?)|(?:tiff?\.)?(?:bmp|jpe?g|png))",
    re.IGNORECASE,
)
PEOPLE = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")
LABELS = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}


def samples(root: Path, labels: Path | None = None) -> Iterator[Sample | Quarantined]:
    """Yield every image below root, in path order; a copy in another format only where there is no original."""
    assert labels is None, "JAFFE has its own labels"
    unknown, of_image = [], defaultdict(list)
    for path in files_below(root, Path()) if root.is_dir() else ():
        if isinstance(path, Quarantined):
            unknown.append(path)
        elif path.stem.lower().startswith("readme"):
            unknown.append(Quarantined(path, "the authors' description", "aside"))
        elif not (name := NAME.fullmatch(path.name)):
            unknown.append(Quarantined(path, "not the name of a JAFFE image, such as KA.AN1.39.tiff"))
        elif name["subject"].upper() not in PEOPLE:
            unknown.append(Quarantined(path, f"{name['subject']!r} is not one of {', '.join(PEOPLE)}"))
        else:
            of_image[name["image"].upper()].append((name["original"] is None, path))
    if not of_image:
        raise refuse_folder(root, DATASET)
    yield from unknown
    for image, found in of_image.items():
        taken, copies = set_aside(root, image, found)
        yield from copies
        yield Sample(taken, image[3:5], image[:2])


DATASET = Dataset(
    name="jaffe", title="JAFFE", source="https://doi.org/10.5281/zenodo.3451524",
    licence="on request, non-commercial research with citation",
    layout="KA.AN1.39.tiff ... YM.SU3.60.tiff, in one folder or several",
    labels=LABELS, samples=samples, drawable=True,
    releases=(
        Release(
            name="JAFFE", subjects=10,
            counts={"all": {"AN": 30, "DI": 29, "FE": 32, "HA": 31, "NE": 30, "SA": 31, "SU": 30}},
        ),
    ),
    examples={  # by hand, one per label: this is the adapter's documentation and its test
        "jaffe/KA.AN1.39.tiff": ("anger", "KA"),
        "jaffe/KL.DI4.173.tiff": ("disgust", "KL"),
        "jaffe/YM.FE4.70.tiff": ("fear", "YM"),
        "jaffe/KM.HA1.4.tiff": ("happiness", "KM"),
        "jaffe/NA.NE1.199.tiff": ("neutral", "NA"),
        "jaffe/KM.SA5.13.tiff": ("sadness", "KM"),
        "jaffe/YM.SU3.60.tiff": ("surprise", "YM"),
    },
    example_texts={},
)  # fmt: skip
