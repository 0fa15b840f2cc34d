"""Every dataset adapter, by name. To add one: write its file, import it here."""

from fertools.dataset import Dataset
from fertools.datasets import bu3dfe, ckplus, folder, jaffe, oulucasia

DATASETS: dict[str, Dataset] = {
    module.DATASET.name: module.DATASET for module in (ckplus, oulucasia, bu3dfe, jaffe, folder)
}
