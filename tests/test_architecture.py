import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {  # longest prefix wins; what stands here is what a file may take from our own packages
    "manifests": ["manifests"],
    "fertools.errors": [],
    "fertools.datasets.base": ["fertools.errors"],
    "fertools.datasets": [
        "fertools.datasets.base",
        "fertools.datasets",
        "fertools.datasets.readers.recordio",
        "fertools.datasets.readers.video",
        "manifests",
    ],
    "fertools.datasets.readers.recordio": ["fertools.errors"],
    "fertools.datasets.readers.video": ["fertools.errors"],
    "fertools.datasets.protocols": ["fertools.datasets.base", "fertools.errors"],
    "fertools.faces.images": ["fertools.errors"],
    "fertools.faces.mtcnn": [],
    "fertools.faces.cascade": ["fertools.faces.mtcnn"],
    "fertools.faces.detector": ["fertools.faces.cascade", "fertools.errors"],
    "fertools.faces.align": ["fertools.errors", "manifests.schema"],
    "fertools.folds.whitening": ["fertools.errors", "manifests.schema"],
    "fertools.folds.assign": ["fertools.errors"],
    "fertools.folds.pairs": [],
    "fertools.drawn": ["fertools.drawn", "fertools.errors", "fertools.datasets.readers.recordio"],
    "fertools.export.contact_sheet": ["fertools.folds.whitening", "manifests"],
    "fertools.checks.release_report": ["fertools.datasets.base"],
    "fertools.checks.verify": [
        "fertools.datasets.base",
        "fertools.errors",
        "fertools.faces.images",
        "fertools.checks.release_report",
    ],
    "fertools.checks.diff": ["manifests"],
    "fertools.folds.make_folds": [
        "fertools.folds.assign",
        "fertools.folds.pairs",
        "fertools.folds.whitening",
        "manifests",
    ],
    "fertools": ["fertools", "manifests"],
    "trainer.errors": [],
    "trainer.config": ["trainer.errors"],
    "trainer.losses": [],
    "trainer.estimators": [],
    "trainer.networks": ["trainer.networks"],
    "trainer.method": [],
    "trainer.optimizers": [],
    "trainer.execution": ["trainer.errors", "trainer.method"],
    "trainer.methods": [
        "trainer.config",
        "trainer.estimators",
        "trainer.losses",
        "trainer.method",
        "trainer.networks",
        "trainer.optimizers",
    ],
    "trainer.methods.__init__": ["trainer.config", "trainer.method", "trainer.methods"],
    "trainer.grids": ["manifests.schema"],
    "trainer.crops": ["manifests.schema"],
    "trainer.store": ["manifests", "trainer.crops"],
    "trainer.data": ["manifests", "trainer.crops", "trainer.grids", "trainer.method", "trainer.store"],
    "trainer.board": ["trainer.errors"],
    "trainer.extra": [  # this and trainer.photos alone call on fertools
        "fertools.faces.near_copies",
        "manifests",
        "trainer.crops",
        "trainer.data",
        "trainer.store",
    ],
    "trainer.photos": [
        "fertools.faces.align",
        "fertools.faces.detector",
        "fertools.errors",
        "fertools.faces.images",
        "manifests.schema",
        "trainer.errors",
        "trainer.frames",
    ],
    "trainer.writing": ["trainer.errors"],
    "trainer.checkpoint": [],
    "trainer.events": ["trainer.writing"],
    "trainer.run": ["trainer.checkpoint", "trainer.errors", "trainer.events", "trainer.writing"],
    "trainer.loop": ["trainer.errors", "trainer.execution", "trainer.method", "trainer.run"],
    "trainer.frames": ["trainer.errors"],
    "trainer.interrupts": [],
    "trainer.lfw_bin": ["manifests.schema", "trainer.errors"],
    "trainer.people": ["manifests", "trainer.data", "trainer.errors", "trainer.networks", "trainer.store"],
    "trainer.side_by_side": ["manifests.schema", "trainer.errors", "trainer.interrupts"],
    "trainer.together": [
        "manifests.schema",
        "trainer.checkpoint",
        "trainer.errors",
        "trainer.method",
        "trainer.networks",
        "trainer.run",
    ],
    "trainer.weights": ["trainer.errors", "trainer.networks"],
    "trainer.layouts": ["trainer.errors", "trainer.method", "trainer.networks", "trainer.weights"],
    "trainer.pictures": [
        "trainer.board",
        "trainer.crops",
        "trainer.data",
        "trainer.errors",
        "trainer.method",
        "trainer.methods",
        "trainer.run",
    ],
    "trainer.metrics": ["trainer.estimators", "trainer.metrics", "trainer.networks"],
    "trainer.figures": [
        "trainer.board",
        "trainer.crops",
        "trainer.data",
        "trainer.evaluate",
        "trainer.method",
        "trainer.metrics",
        "trainer.papers",
        "trainer.pictures",
        "trainer.report",
        "trainer.run",
    ],
    "trainer.summary": ["trainer.metrics", "trainer.report", "trainer.run", "trainer.writing"],
    "trainer.tables": ["trainer.metrics"],
    "trainer.papers": ["trainer.papers"],
    "trainer.report": ["trainer.metrics", "trainer.run"],
    "trainer": ["trainer", "manifests"],
}
FILES = [
    path.relative_to(ROOT)
    for package in ("fertools", "manifests", "trainer")
    for path in sorted((ROOT / package).rglob("*.py"))
]


def within(name, prefixes):
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_imports_only_what_it_may(file):
    module = ".".join(file.with_suffix("").parts)
    allowed = MAY_IMPORT[max((prefix for prefix in MAY_IMPORT if within(module, [prefix])), key=len)]
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        match node:
            case ast.Import(names=names):
                imported = [alias.name for alias in names]
            case ast.ImportFrom(module=str(source), names=names):
                imported = [f"{source}.{alias.name}" for alias in names]
            case _:
                continue
        ours = [name for name in imported if within(name, ["fertools", "manifests", "trainer"])]
        assert all(within(name, allowed) for name in ours), f"{file}:{node.lineno} imports {ours}"


@pytest.mark.parametrize("command", ["fertools", "trainer"])
def test_help_imports_nothing_heavy(command):
    heavy = "{'torch', 'torchvision', 'cv2', 'sklearn', 'matplotlib', 'facenet_pytorch', 'pandas'}"
    code = f"import sys, {command}.cli; print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_nothing_is_unpickled(file):
    loads = r"import pickle|pickle\.load|torch\.load\(|np\.load\(|joblib|allow_pickle"
    found = re.findall(loads, (ROOT / file).read_text())
    if file == Path("trainer/weights.py"):  # the one place, by torch's restricted reader
        found.remove("torch.load(")
        assert re.search(r"torch\.load\([^)]*weights_only=True", (ROOT / file).read_text())
    assert found == []


def test_the_lock_names_no_registry():
    assert re.findall(r"https?://|--index|--extra-index", (ROOT / "requirements.lock").read_text()) == []
