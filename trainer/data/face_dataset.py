"""A part of a fold as a dataset of PyTorch, for trainers other than ours."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from manifests import files
from trainer.data.augment import VARIANTS
from trainer.data.fold_data import FoldData


class FaceDataset(Dataset[tuple[Tensor, int]]):
    """The faces of one part of a fold as `trainer fit` shows them: whitened images, (1, 112, 112) float32, and classes.

    `DataLoader(FaceDataset("ck+", 3, "train", variants=True), 32, shuffle=True)` reads a batch at a time. To name the
    test part is to open it: choose epochs and settings on `validation`.

    Attributes:
        expressions: what the classes stand for.
        classes: (faces,) the class of each face.
        rows: (faces,) its row in the manifest.
    """

    def __init__(self, manifest: str | Path, fold: int, part: str, *, variants: bool = False) -> None:
        """Read the faces.

        Args:
            manifest: a path like manifests/ckplus.parquet, or the name of a dataset that is prepared in manifests/.
            fold: from 1.
            part: train, validation or test.
            variants: show each face in one of the 14 variants of DICE-FER section 5.1, drawn anew each time by torch.

        Raises:
            ManifestError: no such manifest or fold, or no folds.
            KeyError: no such part.
        """
        self._data = FoldData(files.named(manifest), fold, torch.device("cpu"))
        self._part, self._variants = part, variants
        if part == "test":
            self._data.open_test()
        self.rows, self.classes = self._data.rows[part], self._data.classes(part)
        self.expressions = tuple(self._data.expressions)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.__getitems__([range(len(self))[place]])[0]

    def __getitems__(self, places: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Return several faces, cut and whitened together: what a DataLoader calls."""
        chosen = torch.as_tensor(places)
        drawn = torch.randint(len(VARIANTS), (len(chosen),)) if self._variants else None
        images = self._data.shown(self._part, chosen, drawn)
        return list(zip(images, self.classes[chosen].tolist(), strict=True))
