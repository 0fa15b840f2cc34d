"""BU-3DFE: the frontal textures of 2,500 face scans: 100 people, neutral and six expressions in four intensities.

An expression of a person is one sequence, and its intensity, 1 to 4, the number of the frame; neutral is 0. Yin et al.
2006, doi:10.1109/FGR.2006.6.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from fertools.datasets.base import Dataset, Quarantined, Release, Sample, files_below, refuse_folder
from fertools.datasets.readers.copies import set_aside

SCAN = r"(?P<subject>[FM]\d{4})_(?P<label>AN|DI|FE|HA|NE|SA|SU)(?P<intensity>\d{2})(?:AE|AM|BL|IN|LA|WH)"
NAME = re.compile(rf"{SCAN}_F2D\.(?:bmp|png|jpe?g)", re.IGNORECASE)
MODEL = re.compile(rf"{SCAN}_(?:F3D|RAW)[._].*", re.IGNORECASE)  # its meshes, landmarks and texture
PACKED = (".rar", ".zip")  # a person is an archive
PEOPLE = [f"F{number:04d}" for number in range(1, 57)] + [f"M{number:04d}" for number in range(1, 45)]
LABELS = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}
INTENSITIES = {label: (0,) if label == "NE" else (1, 2, 3, 4) for label in LABELS}
Image = tuple[str, str, int]  # person, label, intensity


def samples(root: Path, labels: Path | None = None) -> Iterator[Sample | Quarantined]:
    """Yield every frontal texture below root in path order; a converted one only where there is no original.

    The files of the 3D models are counted, as there are several an image. The person is the one in the file's name.
    """
    assert labels is None, "BU-3DFE has its own labels"
    unknown, num_models = [], 0
    of_image: dict[Image, list[tuple[bool, Path]]] = defaultdict(list)
    for path in files_below(root, Path()) if root.is_dir() else ():
        if isinstance(path, Quarantined):
            unknown.append(path)
        elif MODEL.fullmatch(path.name):
            num_models += 1
        elif isinstance(image := _image(path), Quarantined):
            unknown.append(image)
        else:
            of_image[image].append((path.suffix.lower() != ".bmp", path))
    if not of_image:
        packed = [item.path.parent for item in unknown if item.path.suffix.lower() in PACKED]
        raise refuse_folder(root / packed[0] if packed else root, DATASET)
    yield from unknown
    if num_models:
        reason = f"{num_models} files of 3D models (_F3D, _RAW); only frontal textures are read"
        yield Quarantined(Path(), reason, "aside")
    for (subject, label, intensity), found in of_image.items():
        taken, copies = set_aside(root, f"{subject}_{label}{intensity:02d}", found)
        yield from copies
        yield Sample(taken, label, subject, f"{subject}/{label}", intensity)
    yield from _missing(of_image)


def _image(path: Path) -> Image | Quarantined:
    """Read a file's name."""
    if path.suffix.lower() in PACKED:
        return Quarantined(path, "still packed; unpack it first")
    if not (name := NAME.fullmatch(path.name)):
        return Quarantined(path, "not the name of a frontal texture, such as F0001_AN01WH_F2D.bmp")
    subject, label, intensity = name["subject"].upper(), name["label"].upper(), int(name["intensity"])
    if subject not in PEOPLE:
        return Quarantined(path, f"{subject} is not one of F0001 to F0056 and M0001 to M0044")
    if intensity not in INTENSITIES[label]:
        return Quarantined(path, f"no intensity of {label}: neutral is NE00, an expression 01 to 04")
    return subject, label, intensity


def _missing(of_image: Mapping[Image, list[tuple[bool, Path]]]) -> Iterator[Quarantined]:
    """Yield the people who lack an image, of those who have any; a person has 25."""
    folders = {subject: found[0][1].parent for (subject, *_), found in of_image.items()}
    for subject, folder in folders.items():
        lacking = [
            f"{label}{intensity:02d}"
            for label, intensities in INTENSITIES.items()
            for intensity in intensities
            if (subject, label, intensity) not in of_image
        ]
        if lacking:
            yield Quarantined(folder / f"{subject}_*_F2D.bmp", f"{len(lacking)} of 25 missing: {', '.join(lacking)}")


DATASET = Dataset(
    name="bu3dfe", title="BU-3DFE", source="https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    licence="signed agreement, research only",
    layout="Subjects/F0001/F0001_AN01WH_F2D.bmp ... Subjects/M0044/...",
    labels=LABELS, samples=samples, drawable=True, companions=re.compile(rf"(^|/){MODEL.pattern}$", re.IGNORECASE),
    releases=(
        Release(
            name="BU-3DFE", subjects=100,
            counts={"all": {label: 100 * len(intensities) for label, intensities in INTENSITIES.items()}},
        ),
    ),
    examples={  # by hand, all of one person: this is the adapter's documentation and its test
        "Subjects/F0001/F0001_AN01WH_F2D.bmp": ("anger", "F0001"),
        "Subjects/F0001/F0001_AN02WH_F2D.bmp": ("anger", "F0001"),
        "Subjects/F0001/F0001_AN03WH_F2D.bmp": ("anger", "F0001"),
        "Subjects/F0001/F0001_AN04WH_F2D.bmp": ("anger", "F0001"),
        "Subjects/F0001/F0001_DI01WH_F2D.bmp": ("disgust", "F0001"),
        "Subjects/F0001/F0001_DI02WH_F2D.bmp": ("disgust", "F0001"),
        "Subjects/F0001/F0001_DI03WH_F2D.bmp": ("disgust", "F0001"),
        "Subjects/F0001/F0001_DI04WH_F2D.bmp": ("disgust", "F0001"),
        "Subjects/F0001/F0001_FE01WH_F2D.bmp": ("fear", "F0001"),
        "Subjects/F0001/F0001_FE02WH_F2D.bmp": ("fear", "F0001"),
        "Subjects/F0001/F0001_FE03WH_F2D.bmp": ("fear", "F0001"),
        "Subjects/F0001/F0001_FE04WH_F2D.bmp": ("fear", "F0001"),
        "Subjects/F0001/F0001_HA01WH_F2D.bmp": ("happiness", "F0001"),
        "Subjects/F0001/F0001_HA02WH_F2D.bmp": ("happiness", "F0001"),
        "Subjects/F0001/F0001_HA03WH_F2D.bmp": ("happiness", "F0001"),
        "Subjects/F0001/F0001_HA04WH_F2D.bmp": ("happiness", "F0001"),
        "Subjects/F0001/F0001_NE00WH_F2D.bmp": ("neutral", "F0001"),
        "Subjects/F0001/F0001_SA01WH_F2D.bmp": ("sadness", "F0001"),
        "Subjects/F0001/F0001_SA02WH_F2D.bmp": ("sadness", "F0001"),
        "Subjects/F0001/F0001_SA03WH_F2D.bmp": ("sadness", "F0001"),
        "Subjects/F0001/F0001_SA04WH_F2D.bmp": ("sadness", "F0001"),
        "Subjects/F0001/F0001_SU01WH_F2D.bmp": ("surprise", "F0001"),
        "Subjects/F0001/F0001_SU02WH_F2D.bmp": ("surprise", "F0001"),
        "Subjects/F0001/F0001_SU03WH_F2D.bmp": ("surprise", "F0001"),
        "Subjects/F0001/F0001_SU04WH_F2D.bmp": ("surprise", "F0001"),
    },
    example_texts={},
)  # fmt: skip
