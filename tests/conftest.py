import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: two busy processes on two cores stand still else

import numpy as np
import pyarrow as pa
import pytest
import torch

from fertools.datasets import DATASETS
from fertools.make_folds import make_folds
from fertools.prepare import prepare
from manifests import files, schema


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def make_faces():
    """A table of faces from the columns that matter: unset ones are null, images are drawn by chance."""

    def make(**columns):
        num = len(next(iter(columns.values())))
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (num, schema.CROP_SIZE, schema.CROP_SIZE), dtype=np.uint8)
        base = {
            "face_id": [f"set/{row}" for row in range(num)],
            "expression": ["anger"] * num,
            "dataset": ["set"] * num,
            "usable": [True] * num,
            "source": [f"{row}.png" for row in range(num)],
            "image": [{"bytes": files.encode_image(image), "path": f"{row}.pgm"} for row, image in enumerate(images)],
        }
        empty = {name: [None] * num for name in schema.FACES.names}
        return pa.table({**empty, **base, **columns}, schema=schema.FACES)

    return make


@pytest.fixture(scope="session")
def drawn_raw(tmp_path_factory) -> Path:
    """A drawn CK+ of a dozen people."""
    from fertools.drawn.corpus import draw

    root = tmp_path_factory.mktemp("raw") / "ckplus"
    draw(root, num_subjects=12, seed=0, workers=2)
    return root


@pytest.fixture(scope="session")
def drawn_manifest(drawn_raw, tmp_path_factory) -> Path:
    """Its manifest, with four folds and fitted whitening."""
    manifests = tmp_path_factory.mktemp("manifests")
    summary = prepare(DATASETS["ckplus"], drawn_raw, manifests)
    make_folds(Path(summary.manifest), 4, "zca", seed=0)
    return Path(summary.manifest)


@pytest.fixture(scope="session")
def patterns(tmp_path_factory) -> Path:
    """A manifest that needs no detector: eight people, three expressions, two sequences each, as bright squares.

    The expression is the square's column, the person its row and the background's grey.
    """
    generator = np.random.default_rng(0)
    rows = []
    for person in range(8):
        for place, expression in enumerate(("anger", "fear", "happiness")):
            for take in range(2):
                image = generator.normal(60 + 15 * person, 8, (schema.CROP_SIZE, schema.CROP_SIZE))
                top, left = 34 + 8 * person, 32 + 26 * place
                image[top : top + 20, left : left + 20] += 100
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
                        "image": {"bytes": files.encode_image(image.clip(0, 255).astype(np.uint8)), "path": "x.pgm"},
                    }
                )
    manifest = tmp_path_factory.mktemp("patterns") / "set.parquet"
    about = {"commit": None, "summary": {"protocol": "all", "drawn": True}}
    files.write([pa.Table.from_pylist(rows, schema=schema.FACES)], manifest, about)
    make_folds(manifest, 4, "standardize", seed=0)
    return manifest
