"""Every dataset adapter, by name, imported when it is used. To add one: write its file, name it here.

Other packages add datasets by an entry point of the group `fertools.datasets`, as CONTRIBUTING.md shows.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from fertools.datasets.base import Dataset, DatasetError

MODULES = (
    "ckplus", "oulucasia", "rafdb", "affectnet", "bu3dfe", "mmi", "casiawebface", "fer2013", "ferplus", "jaffe", "yale",
    "ckplus48", "ckextended", "london", "folder",
)  # fmt: skip


GROUP = "fertools.datasets"


class _Datasets(Mapping[str, Dataset]):
    """The adapters in their order, then those of other installed packages; a module is called as its dataset is."""

    def __getitem__(self, name: str) -> Dataset:
        if name in MODULES:
            dataset: Dataset = import_module(f"fertools.datasets.{name}").DATASET
        else:
            dataset = _installed()[name].load()
        if dataset.name != name:
            raise DatasetError(
                f"the dataset that is installed as {name!r} calls itself {dataset.name!r}: one name, please"
            )
        return dataset

    def __iter__(self) -> Iterator[str]:
        yield from MODULES
        yield from sorted(_installed().keys() - set(MODULES))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


DATASETS: Mapping[str, Dataset] = _Datasets()


def find_dataset(name: str) -> Dataset:
    """Return the adapter of a dataset, by any spelling of its name.

    Raises:
        DatasetError: there is none.
    """
    from manifests import files

    dataset = DATASETS.get(files.dataset_name(name))
    if dataset is None:
        close = get_close_matches(files.dataset_name(name), DATASETS, 1)
        meant = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(DATASETS)}"
        raise DatasetError(f"no dataset {name!r}{meant}")
    return dataset
