"""Yale: 165 photographs of 15 people in eleven conditions, 320 x 243 grey; four of these are expressions.

Not made for expressions: of a person there is one image each of happy, sad, surprised and normal. Files have no ending
and hold GIFs. Belhumeur et al. 1997, doi:10.1109/34.598228.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fertools.datasets.base import Dataset, Quarantined, Release, Sample, files_below, refuse_folder
from fertools.datasets.readers.copies import set_aside

CONDITIONS = (
    "centerlight",
    "glasses",
    "happy",
    "leftlight",
    "noglasses",
    "normal",
    "rightlight",
    "sad",
    "sleepy",
    "surprised",
    "wink",
)
PEOPLE = [f"{number:02d}" for number in range(1, 16)]
NAME = re.compile(
    rf"subject(?P<subject>\d\d)(?:\.(?P<condition>{'|'.join(CONDITIONS)}))?(?P<format>\.(?:gif|bmp|jpe?g|pgm|png))?",
    re.IGNORECASE,
)
MISNAMED, ITS_CONDITION = "subject01.gif", "centerlight"
REPLACED = ("04", "sad")  # was damaged; its file holds subject04.normal, as the set's Readme says
LABELS = {"happy": "happiness", "normal": "neutral", "sad": "sadness", "surprised": "surprise"}
Image = tuple[str, str]  # person, condition


def samples(root: Path, labels: Path | None = None) -> Iterator[Sample | Quarantined]:
    """Yield every image below root, labelled with its condition; a converted one only where there is no original."""
    assert labels is None, "Yale has its own labels"
    unknown, of_image = _find(root)
    if not of_image:
        raise refuse_folder(root, DATASET)
    yield from unknown
    for (subject, condition), found in of_image.items():
        taken, copies = set_aside(root, f"subject{subject}.{condition}", found)
        yield from copies
        if (subject, condition) == REPLACED:
            yield Quarantined(taken, "is subject04.normal: the original was damaged, as the set's Readme says", "aside")
        else:
            yield Sample(taken, condition, subject)


def _find(root: Path) -> tuple[list[Quarantined], dict[Image, list[tuple[int, Path]]]]:
    """Return what is no image, and the files of every image with their ranks."""
    unknown: list[Quarantined] = []
    of_image: dict[Image, list[tuple[int, Path]]] = defaultdict(list)
    for path in files_below(root, Path()) if root.is_dir() else ():
        if isinstance(path, Quarantined):
            unknown.append(path)
            continue
        name = NAME.fullmatch(path.name)
        condition = ITS_CONDITION if path.name.lower() == MISNAMED else name and name["condition"]
        if path.name.lower().startswith("readme"):
            unknown.append(Quarantined(path, "the set's own notes", "aside"))
        elif not name or not condition or name["subject"] not in PEOPLE:
            unknown.append(Quarantined(path, "not the name of a Yale image, such as subject01.happy to subject15.wink"))
        else:
            rank = (name["format"] is not None) + (name["condition"] is None)
            of_image[name["subject"], condition.lower()].append((rank, path))
    return unknown, of_image


def _missing(root: Path) -> Iterator[Quarantined]:
    """Yield the images that are not there."""
    there = _find(root)[1]
    folder = next(iter(there.values()))[0][1].parent
    for subject in PEOPLE:
        for condition in CONDITIONS:
            if (subject, condition) not in there:
                yield Quarantined(folder / f"subject{subject}.{condition}", "not there")


DATASET = Dataset(
    name="yale", title="Yale", source="http://cvc.cs.yale.edu/cvc/projects/yalefaces/yalefaces.html",
    licence="research only",
    layout="subject01.centerlight ... subject15.wink, in one folder or several",
    labels=LABELS, samples=samples, drawable=True, doubts=_missing,
    releases=(
        Release(
            name="Yale", subjects=15,
            counts={"all": {condition: 15 - (condition == REPLACED[1]) for condition in CONDITIONS}},
        ),
    ),
    examples={  # by hand, one per label: this is the adapter's documentation and its test
        "yalefaces/subject01.happy": ("happiness", "01"),
        "yalefaces/subject04.normal": ("neutral", "04"),
        "yalefaces/subject15.sad": ("sadness", "15"),
        "yalefaces/subject02.surprised": ("surprise", "02"),
    },
    example_texts={},
)  # fmt: skip
