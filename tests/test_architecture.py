import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [  # from the ground up; what stands on one line does not import one another
    "manifests",
    "fertools.errors",
    "fertools.inputs",
    "fertools.faces fertools.datasets fertools.folds fertools.identities",
    "fertools.preparation fertools.checks fertools.export fertools.drawn",
    "fertools.cli fertools",
    "trainer.errors",
    "trainer.runs",
    "trainer.networks",
    "trainer.methods",
    "trainer.data",
    "trainer.evaluation",
    "trainer.training",
    "trainer.inference trainer.experiments",
    "trainer.cli trainer",
]
FLOOR = {folder: floor for floor, folders in enumerate(LAYERS) for folder in folders.split()}
RESTRICTED = (  # what torch has pickled is read here, by its reader that calls nothing but what builds tensors
    "trainer/methods/pretrained/weights.py",  # a user's file of weights, bounded first
    "fertools/faces/mtcnn.py",  # the detector's, of the installed facenet-pytorch; provenance names their hash
)
FILES = [
    path.relative_to(ROOT) for folder in ("fertools", "manifests", "trainer") for path in (ROOT / folder).rglob("*.py")
]


def room(module):
    """The longest of the layers' names that a module is in."""
    return max((folder for folder in FLOOR if f"{module}.".startswith(f"{folder}.")), key=len)


@pytest.mark.parametrize("file", sorted(FILES), ids=str)
def test_a_folder_imports_only_folders_below_it(file):
    here = room(".".join(file.with_suffix("").parts))
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [f"{getattr(node, 'module', '')}.{name.name}".lstrip(".") for name in node.names]
        for name in (name for name in names if name.startswith(("fertools", "manifests", "trainer"))):
            there = room(name)
            assert there == here or FLOOR[there] < FLOOR[here], f"{file}:{node.lineno} imports {name}"
            assert (here[:7], there[:8]) != ("trainer", "fertools") or there == "fertools.faces", f"{file}: {name}"


def test_the_architecture_is_the_listing():
    assert all(
        len([*(ROOT / package).glob("*.*"), *(ROOT / package).glob("*/__init__.py")]) <= 12
        for package in FLOOR
        if "." not in package
    )


@pytest.mark.parametrize("command", ["fertools.cli", "trainer.cli.main"])
def test_help_imports_nothing_heavy(command):
    heavy = "{'torch', 'torchvision', 'cv2', 'sklearn', 'matplotlib', 'facenet_pytorch', 'pandas'}"
    code = f"import sys, {command}; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"


@pytest.mark.parametrize("file", sorted(FILES), ids=str)
def test_nothing_is_unpickled(file):
    loads = r"import pickle|pickle\.load|torch\.load\(|np\.load\(|joblib|allow_pickle"
    found = re.findall(loads, (ROOT / file).read_text())
    if str(file) in RESTRICTED:
        found.remove("torch.load(")
        assert re.search(r"torch\.load\([^)]*weights_only=True", (ROOT / file).read_text())
    assert found == []


def test_the_lock_names_no_registry():
    assert re.findall(r"https?://|--index|--extra-index", (ROOT / "requirements.lock").read_text()) == []
