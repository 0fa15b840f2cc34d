"""Oulu-CASIA NIR&VIS: 80 people pose six expressions in six conditions of light, 480 sequences a condition.

Sequences run from neutral to the peak; their folder is their label, and there is no neutral class. Images are
320 x 240. Their numbers changed between releases, so nothing but their order is relied on. Zhao et al. 2011,
doi:10.1016/j.imavis.2011.07.002.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fertools.datasets.base import Dataset, Quarantined, Release, Sample, files_below, is_junk, refuse_folder
from fertools.datasets.readers.copies import set_aside
from fertools.inputs.links import is_followed

PERSON = re.compile(r"P\d{3}", re.IGNORECASE)
CONDITION = re.compile(  # below OriginalImg; crops below PreProcess Img, however spelled; or below a copy's own folder
    r"(?:.*/)?(?P<light>VL|NI)(?P<crops>_Acropped)?/(?P<strength>Strong|Weak|Dark)", re.IGNORECASE
)
FRAME = re.compile(r"(?P<subject>P\d{3})/(?P<label>[^/]+)/(?P<frame>\d+)\.jpe?g", re.IGNORECASE)
LABELS = {
    "Anger": "anger",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happiness": "happiness",
    "Sadness": "sadness",
    "Surprise": "surprise",
}
CROPS = "the authors' crops of {taken}, which is taken; --raw can name theirs instead"
DEPTH = 4  # of a condition below the raw folder, with one wrapper folder: wrapper/OriginalImg/VL/Strong


def samples(root: Path, labels: Path | None = None) -> Iterator[Sample | Quarantined]:
    """Yield every frame below root, one condition after the other, in path order.

    A condition's original images are taken; the authors' crops of them where these alone are there.
    """
    assert labels is None, "Oulu-CASIA has its own labels"
    of_condition = defaultdict(list)
    for folder in _folders_of_people(root, Path(), DEPTH) if root.is_dir() else ():
        if isinstance(folder, Quarantined):
            yield folder
        elif name := CONDITION.fullmatch(folder.as_posix()):
            condition = f"{name['light'].upper()}/{name['strength'].capitalize()}"
            of_condition[condition].append((name["crops"] is not None, folder))
        else:
            yield Quarantined(folder, "people in no known condition, such as VL/Strong or NI_Acropped/Dark")
    if not of_condition:
        raise refuse_folder(root, DATASET)
    for condition, found in sorted(of_condition.items()):
        taken, crops = set_aside(root, condition, found, CROPS)
        yield from (replace(item, kind="aside") for item in crops)  # they are a part of the set
        yield from _frames(root, condition, taken)


def _folders_of_people(root: Path, folder: Path, depth: int) -> Iterator[Path | Quarantined]:
    """Yield the folders at or below root/folder that hold folders such as P001, and links; these are not followed."""
    entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
    names = [
        entry.name
        for entry in entries
        if entry.is_dir() and is_followed(root, root / folder / entry.name) and not is_junk(entry.name)
    ]
    if any(PERSON.fullmatch(name) for name in names):
        yield folder
        return
    for entry in entries:
        if not is_followed(root, root / folder / entry.name) and not is_junk(entry.name):
            yield Quarantined(folder / entry.name, "a symbolic link above the people's folders; it was not followed")
    for name in names if depth else ():
        yield from _folders_of_people(root, folder / name, depth - 1)


def _frames(root: Path, condition: str, folder: Path) -> Iterator[Sample | Quarantined]:
    """Yield the frames of one condition, and the sequences that its people lack."""
    seen: dict[str, set[int]] = defaultdict(set)
    for path in files_below(root, folder):
        if isinstance(path, Quarantined):
            yield path
        elif not (name := FRAME.fullmatch(path.relative_to(folder).as_posix())):
            yield Quarantined(path, "not the name of an Oulu-CASIA frame, such as P001/Anger/000.jpeg")
        elif (label := name["label"].capitalize()) not in LABELS:
            yield Quarantined(path, f"the folder {name['label']!r} is not one of {', '.join(LABELS)}")
        elif (frame := int(name["frame"])) in seen[sequence := f"{condition}/{name['subject'].upper()}/{label}"]:
            yield Quarantined(path, f"a second frame {frame} of {sequence}")
        else:
            seen[sequence].add(frame)
            yield Sample(path, label, name["subject"].upper(), sequence, frame)
    for person in sorted((root / folder).iterdir()):
        if PERSON.fullmatch(person.name) and is_followed(root, person):
            for label in LABELS:
                if not seen[f"{condition}/{person.name.upper()}/{label}"]:
                    lacking = folder / person.name / label
                    held = any(files_below(root, lacking)) if (root / lacking).is_dir() else False
                    yield Quarantined(lacking / "*.jpeg" if held else lacking, "a sequence without images")


def _gaps(root: Path) -> Iterator[Quarantined]:
    """Yield the frames that seem to be missing: doubts, as releases number them differently."""
    of_sequence: dict[str, list[Sample]] = defaultdict(list)
    for item in samples(root):
        if isinstance(item, Sample) and item.sequence:
            of_sequence[item.sequence].append(item)
    for found in of_sequence.values():
        present = {item.frame or 0: item.path for item in found}
        for number in sorted(set(range(max(present))) - present.keys()):
            like = present[max(present)]
            name = f"{number:0{len(like.stem)}d}{like.suffix}"
            yield Quarantined(like.with_name(name), f"not there, though frame {max(present)} is")


DATASET = Dataset(
    name="oulucasia", title="Oulu-CASIA",
    source="the University of Oulu, Center for Machine Vision (doi:10.1016/j.imavis.2011.07.002)",
    licence="signed agreement, research only",
    layout="OriginalImg/VL/Strong/P001/Anger/000.jpeg ..., or the crops PreProcess_Img/VL_Acropped/Strong/P001/...",
    labels=LABELS, samples=samples, drawable=True, doubts=_gaps,
    part=lambda sample: "/".join((sample.sequence or "").split("/")[:2]),  # its condition
    releases=(
        Release(
            name="Oulu-CASIA", unit="sequences", subjects=80, all_parts=False,
            counts={
                f"{light}/{strength}": dict.fromkeys(LABELS, 80)
                for light in ("VL", "NI")
                for strength in ("Strong", "Weak", "Dark")
            },
        ),
    ),
    examples={  # by hand, one per label: this is the adapter's documentation and its test
        "OriginalImg/VL/Strong/P001/Anger/000.jpeg": ("anger", "P001"),
        "OriginalImg/VL/Strong/P001/Disgust/011.jpeg": ("disgust", "P001"),
        "OriginalImg/VL/Strong/P001/Fear/008.jpeg": ("fear", "P001"),
        "OriginalImg/VL/Strong/P001/Happiness/017.jpeg": ("happiness", "P001"),
        "OriginalImg/VL/Strong/P001/Sadness/023.jpeg": ("sadness", "P001"),
        "OriginalImg/VL/Strong/P001/Surprise/071.jpeg": ("surprise", "P001"),
    },
    example_texts={},
)  # fmt: skip
