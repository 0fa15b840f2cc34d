"""Any folder of one's own images: with a CSV (path, expression, subject), or as expression/subject folders.

images/001.jpg ...  labels.csv     path,expression,subject
happiness/anna/1.jpg ...           the folders say what the CSV would
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from fertools.datasets.base import Dataset, DatasetError, Quarantined, Sample, files_below, refuse_folder

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".pbm", ".gif", ".webp",
    ".avif", ".heic", ".heif",
)  # fmt: skip
LABELS = {  # the canonical names, and the adjectives that folders are often called by
    "anger": "anger", "angry": "anger",
    "contempt": "contempt", "contemptuous": "contempt",
    "disgust": "disgust", "disgusted": "disgust",
    "fear": "fear", "afraid": "fear", "fearful": "fear",
    "happiness": "happiness", "happy": "happiness",
    "neutral": "neutral",
    "sadness": "sadness", "sad": "sadness",
    "surprise": "surprise", "surprised": "surprise",
}  # fmt: skip


def samples(root: Path, labels: Path | None = None) -> Iterator[Sample | Quarantined]:
    """Yield every image below root that the labels file names, or every image of the expression folders."""
    if not root.is_dir():
        raise refuse_folder(root, DATASET)
    return _from_csv(root, labels) if labels else _from_folders(root)


def _from_csv(root: Path, labels: Path) -> Iterator[Sample | Quarantined]:
    try:
        with labels.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{labels}: cannot be read as a CSV ({error})") from error
    if missing := {"path", "expression"} - set(columns):
        raise DatasetError(
            f"{labels}: no column {' or '.join(sorted(missing))}; found {', '.join(columns) or 'nothing'}; "
            "expected path, expression and, where known, subject"
        )
    real_root, seen = root.resolve(), set()
    for row in rows:
        path = Path(row["path"] or "")
        target = (root / path).resolve()
        if path.is_absolute() or not target.is_relative_to(real_root):
            yield Quarantined(path, f"{labels.name} points out of the raw folder; it was not followed")
        elif not target.is_file():
            yield Quarantined(path, f"named in {labels.name}, not found in the raw folder")
        elif path in seen:
            yield Quarantined(path, f"named twice in {labels.name}")
        else:
            seen.add(path)
            yield _sample(path, row["expression"], row.get("subject"))


def _from_folders(root: Path) -> Iterator[Sample | Quarantined]:
    found = list(files_below(root, Path()))
    images = [path for path in found if isinstance(path, Path) and path.suffix.lower() in IMAGE_SUFFIXES]
    if not any(len(path.parts) > 1 and path.parts[0].strip().lower() in LABELS for path in images):
        raise refuse_folder(root, DATASET)
    for path in found:
        if isinstance(path, Quarantined):
            yield path
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            yield Quarantined(path, f"not an image: known endings are {' '.join(IMAGE_SUFFIXES)}")
        elif len(path.parts) not in (2, 3):
            yield Quarantined(path, "not in expression/ or expression/subject/")
        else:
            yield _sample(path, path.parts[0], path.parts[1] if len(path.parts) == 3 else None)


def _sample(path: Path, expression: str | None, subject: str | None) -> Sample | Quarantined:
    label = (expression or "").strip().lower()
    if label not in LABELS:
        return Quarantined(path, f"expression {expression!r} is not one of {', '.join(sorted(set(LABELS.values())))}")
    return Sample(path, label, (subject or "").strip() or None)


DATASET = Dataset(
    name="folder", title="A folder of one's own", source="nowhere: it is yours",
    licence="the user's own",
    layout="images and --labels CSV with columns path, expression, subject; or folders such as happiness/anna/1.jpg",
    labels=LABELS, samples=samples, takes_labels=True,
    examples={
        "anger/anna/1.jpg": ("anger", "anna"), "contempt/ben/2.png": ("contempt", "ben"),
        "disgust/anna/3.jpg": ("disgust", "anna"), "fear/ben/4.jpg": ("fear", "ben"),
        "happy/anna/5.jpg": ("happiness", "anna"), "neutral/6.jpg": ("neutral", None),
        "sad/ben/7.jpg": ("sadness", "ben"), "surprise/anna/8.jpeg": ("surprise", "anna"),
    },
    example_texts={},
)  # fmt: skip
