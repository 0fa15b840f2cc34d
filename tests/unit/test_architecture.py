import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = [  # from the ground up; what stands on one line does not import one another
    "manifests",
    "fertools.errors",
    "fertools.inputs",
    "fertools.faces fertools.datasets fertools.folds",
    "fertools.preparation fertools.checks fertools.export fertools.drawn",
    "fertools.augmentation",
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
        len([*(ROOT / package).glob("*.py"), *(ROOT / package).glob("*/__init__.py")]) <= 12
        for package in FLOOR
        if "." not in package
    )


def imported(code):
    """The packages that a fresh process has imported after code; torch._dynamo is none, but weighs as much as one."""
    told = "import sys; print(*{name.partition('.')[0] for name in sys.modules}, *{'torch._dynamo'} & {*sys.modules})"
    out = subprocess.run([sys.executable, "-c", f"{code}\n{told}"], capture_output=True, text=True, check=True)
    return set(out.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import fertools, fertools.datasets, trainer, trainer.methods",
        "from fertools.cli import app; app(['--help'], standalone_mode=False)",
        "from trainer.cli.main import app; app(['--help'], standalone_mode=False)",
        "from trainer.cli.main import app; app(['methods'], standalone_mode=False)",
    ],
)
def test_what_needs_no_array_imports_nothing_heavy(code):
    heavy = {"numpy", "pyarrow", "pandas", "torch", "torchvision", "cv2", "PIL", "sklearn", "scipy", "matplotlib"}
    assert imported(code) & (heavy | {"jinja2", "facenet_pytorch", "faiss"}) == set()


def test_what_uses_a_model_imports_torch_and_no_more_than_it_needs():
    """Prediction, the demo, evaluation, spawned workers; a method's own file comes with the run that names it."""
    code = """
import trainer.inference.predict, trainer.inference.server, trainer.evaluation.evaluate, trainer.experiments.jobs
from trainer.methods import METHODS, find_method
[find_method(name) for name in METHODS]"""
    found = imported(code)
    unneeded = {"torchvision", "torch._dynamo", "facenet_pytorch", "sklearn", "scipy", "matplotlib", "pandas"}
    assert "torch" in found and found & (unneeded | {"jinja2", "tensorboard", "faiss"}) == set()


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
