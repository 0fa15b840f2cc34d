"""Raw dataset folders to manifests: dataset -> detect -> align -> folds -> pairs -> whiten.

The commands that most programs call stand here as functions, with the names of the command line.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fertools.augmentation.augment import Made
    from fertools.checks.audit import Report
    from fertools.faces.detector import Face
    from fertools.folds.make_folds import Fold
    from fertools.preparation.prepare import Summary

__all__ = ["audit", "augment", "find_faces", "make_folds", "prepare"]


def prepare(
    dataset: str, raw: str | Path, manifests: str | Path = "manifests", *, labels: str | Path | None = None,
    workers: int = 1, **options: Any,
) -> "Summary":  # fmt: skip
    """Find, align and store the faces of a dataset, as manifests/<dataset>.parquet.

    Args:
        dataset: its name, as `fertools prepare` takes it.
        raw: the raw folder.
        manifests: where the manifest goes.
        labels: of `folder`, a table; null: labels.csv in the raw folder, where there is one.
        workers: number of processes; more than one only below `if __name__ == "__main__":`.
        options: of `fertools.preparation.prepare.prepare`.

    Raises:
        FertoolsError: no such dataset, or a folder that is not its layout; the message says what to do.
        ManifestError: something cannot be written.
    """
    from fertools.datasets import find_dataset
    from fertools.datasets.survey import labels_table
    from fertools.preparation import prepare as library
    from fertools.preparation.engines import Engine

    chosen, root = find_dataset(dataset), Path(raw)
    table = labels_table(chosen, root, Path(labels) if labels else None)
    return library.prepare(chosen, root, Path(manifests), labels=table, engine=Engine("local", workers), **options)


def make_folds(
    dataset: str, manifests: str | Path = "manifests", *, num_folds: int = 10, whitening: str = "standardize",
    seed: int = 0, by: str | None = None,
) -> "list[Fold]":  # fmt: skip
    """Deal the people of a manifest to folds, draw the pairs of every fold and epoch, fit each fold's whitening.

    Args:
        dataset: a prepared one.
        manifests: where its manifest is.
        num_folds: how many.
        whitening: zca, standardize or none.
        seed: of all chance.
        by: subject, group or official; null: as the dataset's protocol says.

    Raises:
        FertoolsError: people cannot be dealt so.
        ManifestError: no manifest, or it cannot be written.
    """
    from fertools.folds import make_folds as library
    from manifests import files

    return library.make_folds(files.find(Path(manifests), [dataset])[0], num_folds, whitening, seed, by)


def audit(dataset: str, manifests: str | Path = "manifests", *, folds: Sequence[int] = ()) -> "Report":
    """Return what the parts of a split share: people, sequences, files, near copies.

    Args:
        dataset: a prepared one.
        manifests: where its manifest is.
        folds: which; none: all.

    Raises:
        FertoolsError: there is no split to audit.
        ManifestError: no manifest.
    """
    from fertools.checks import audit as library
    from manifests import files

    return library.audit(files.find(Path(manifests), [dataset])[0], folds=folds)


def augment(
    dataset: str, fold: int = 1, manifests: str | Path = "manifests", *, pipeline: str | Path | None = None,
    copies: int = 1, seed: int = 0, whiten: bool = False, workers: int = 1,
) -> "Made":  # fmt: skip
    """Write the augmented training faces of a fold, as manifests/<dataset>.augmented/fold<fold>.parquet.

    Args:
        dataset: a prepared one, with folds.
        fold: that tests, from 1.
        manifests: where its manifest is.
        pipeline: a file of JSON, of albumentations.to_dict; null: the 14 variants that `trainer` shows.
        copies: of each face, of a pipeline.
        seed: of what a pipeline draws.
        whiten: also write the images as the fold's whitening makes them.
        workers: processes of a pipeline; more than one only below `if __name__ == "__main__":`.

    Raises:
        FertoolsError: a pipeline that cannot be read, or does not make faces of faces.
        ManifestError: no manifest or fold, or it cannot be written.
    """
    from fertools.augmentation import augment as library
    from manifests import files

    how = library.chosen(None, Path(pipeline) if pipeline else None, copies, seed)
    return library.augment(files.find(Path(manifests), [dataset])[0], fold, how, whiten=whiten, workers=workers)


def find_faces(photo: str | Path, device: str = "cpu") -> "list[Face]":
    """Return the faces of a photograph by MTCNN, surest first: box, five landmarks, score, in pixels of it upright.

    Args:
        photo: its path.
        device: cpu, cuda or openvino.

    Raises:
        ImageError: it cannot be read.
    """
    from fertools.faces import images
    from fertools.faces.detector import Detector

    path = Path(photo)
    return Detector(device)(images.decode(images.read_bytes(path.resolve().parent, Path(path.resolve().name))))
