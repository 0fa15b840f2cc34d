"""Every dataset adapter, by name. To add one: write its file, import it here."""

from fertools.datasets import (
    affectnet,
    bu3dfe,
    casiawebface,
    ckextended,
    ckplus,
    ckplus48,
    fer2013,
    ferplus,
    folder,
    jaffe,
    mmi,
    oulucasia,
    rafdb,
    yale,
)
from fertools.datasets.base import Dataset

MODULES = (
    ckplus, oulucasia, rafdb, affectnet, bu3dfe, mmi, casiawebface, fer2013, ferplus, jaffe, yale,
    ckplus48, ckextended, folder,
)  # fmt: skip
DATASETS: dict[str, Dataset] = {module.DATASET.name: module.DATASET for module in MODULES}
