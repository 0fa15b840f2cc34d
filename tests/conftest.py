import dataclasses
import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: two busy processes on two cores stand still else
os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks of tests are too small for more
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pytest
from filelock import FileLock

from manifests import files, schema

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and some tests send it


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def seeded():
    if torch := sys.modules.get("torch"):  # a test of manifests alone does not load it
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def make_faces():
    """A table of faces from the columns that matter: unset ones are null, images are drawn by chance."""

    def make(crop=schema.DEFAULT_CROP, **columns):
        num = len(next(iter(columns.values())))
        images = np.random.default_rng(0).integers(0, 256, (num, *crop.shape), dtype=np.uint8)
        base = {
            "face_id": [f"set/{row}" for row in range(num)],
            "expression": ["anger"] * num,
            "dataset": ["set"] * num,
            "usable": [True] * num,
            "source": [f"{row}.png" for row in range(num)],
            "image": [{"bytes": crop.encode(image), "path": f"{row}{crop.suffix}"} for row, image in enumerate(images)],
        }
        empty = {name: [None] * num for name in schema.FACES.names}
        return pa.table({**empty, **base, **columns}, schema=schema.FACES)

    return make


def made_once(tmp_path_factory, name, make) -> Path:
    """Return a folder of this session, which the first of pytest's parallel workers that asks for it makes."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / f"{name}.lock"):
        if not (folder / name).exists():
            make(folder / f"{name}.part")
            (folder / f"{name}.part").rename(folder / name)
    return folder / name


@pytest.fixture(scope="session")
def drawn_raw(tmp_path_factory) -> Path:
    """A drawn CK+ of a dozen people."""

    def make(folder):
        from fertools.drawn.corpus import draw

        draw(folder / "ckplus", num_subjects=12, seed=0, workers=2)

    return made_once(tmp_path_factory, "drawn", make) / "ckplus"


@pytest.fixture(scope="session")
def drawn_manifest(drawn_raw, tmp_path_factory) -> Path:
    """Its manifest, with four folds and fitted whitening."""

    def make(folder):
        from fertools.datasets import DATASETS
        from fertools.folds.make_folds import make_folds
        from fertools.preparation.prepare import prepare

        prepare(DATASETS["ckplus"], drawn_raw, folder)
        make_folds(folder / "ckplus.parquet", 4, "zca", seed=0)

    return made_once(tmp_path_factory, "prepared", make) / "ckplus.parquet"


@pytest.fixture(scope="session")
def patterns(tmp_path_factory) -> Path:
    """A manifest that needs no detector: eight people, three expressions, two sequences each, as bright squares.

    The expression is the square's column, the person its row and the background's grey.
    """
    return write_patterns(tmp_path_factory.mktemp("patterns"), schema.DEFAULT_CROP)


@pytest.fixture(scope="session")
def large_patterns(tmp_path_factory) -> Path:
    """The same, twice as large and in colour: green is half of red, blue its negative."""
    return write_patterns(tmp_path_factory.mktemp("large"), schema.Crop(256, "eyes-nose", "rgb"))


def write_patterns(folder: Path, crop: schema.Crop) -> Path:
    generator = np.random.default_rng(0)
    rows = []
    for person in range(8):
        for place, expression in enumerate(("anger", "fear", "happiness")):
            for take in range(2):
                image = generator.normal(60 + 15 * person, 8, (144, 144))
                top, left = 34 + 8 * person, 32 + 26 * place
                image[top : top + 20, left : left + 20] += 100
                image = image.clip(0, 255).astype(np.uint8).repeat(crop.size // 128, 0).repeat(crop.size // 128, 1)
                if crop.color == "rgb":
                    image = np.stack([image, image // 2, 255 - image], axis=-1)
                rows.append(
                    dict.fromkeys(schema.FACES.names)
                    | {
                        "face_id": f"set/{person}/{expression}/{take}",
                        "subject": f"set/{person}",
                        "sequence": f"set/{person}/{expression}/{take}",
                        "expression": expression,
                        "dataset": "set",
                        "usable": True,
                        "source": "drawn",
                        "image": {"bytes": crop.encode(image), "path": "x" + crop.suffix},
                    }
                )
    from fertools.folds.make_folds import make_folds

    manifest = folder / "set.parquet"
    about = {"commit": None, "crop": dataclasses.asdict(crop), "summary": {"protocol": "all", "drawn": True}}
    files.write([pa.Table.from_pylist(rows, schema=schema.FACES)], manifest, about)
    make_folds(manifest, 4, "standardize", seed=0)
    return manifest
