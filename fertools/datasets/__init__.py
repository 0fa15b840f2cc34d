"""Every dataset adapter, by name, imported when it is used. To add one: write its file, name it here."""

from collections.abc import Iterator, Mapping
from importlib import import_module

from fertools.datasets.base import Dataset, DatasetError

MODULES = (
    "ckplus", "oulucasia", "rafdb", "affectnet", "bu3dfe", "mmi", "casiawebface", "fer2013", "ferplus", "jaffe", "yale",
    "ckplus48", "ckextended", "folder",
)  # fmt: skip


class _Datasets(Mapping[str, Dataset]):
    """The adapters in their order; a module is called as its dataset is."""

    def __getitem__(self, name: str) -> Dataset:
        if name not in MODULES:
            raise KeyError(name)
        dataset: Dataset = import_module(f"fertools.datasets.{name}").DATASET
        assert dataset.name == name
        return dataset

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


DATASETS: Mapping[str, Dataset] = _Datasets()


def find_dataset(name: str) -> Dataset:
    """Return the adapter of a dataset, by any spelling of its name.

    Raises:
        DatasetError: there is none.
    """
    from manifests import files

    dataset = DATASETS.get(files.dataset_name(name))
    if dataset is None:
        raise DatasetError(f"no dataset {name!r}; known: {', '.join(DATASETS)}")
    return dataset
