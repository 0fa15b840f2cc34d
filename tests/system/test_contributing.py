"""CONTRIBUTING.md is followed to the letter: its files are written, named as an installation names them, and used."""

import os
import re
import shutil
import string
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from fertools.datasets import ckplus
from fertools.datasets.base import Sample

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
MODULES = {"fertools": "fertools.cli", "trainer": "trainer.cli.main"}


def install(folder):
    """What pip leaves of a package: its files, and what its pyproject.toml says of entry points."""
    for source in re.findall(r"```python\n(# .*?)```", TEXT, re.DOTALL):
        path = folder / source.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    project = tomllib.loads(re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)[1])["project"]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))


def photographs(raw, drawn_raw):
    """Two drawn photographs of each of six people, called as the text calls them."""
    raw.mkdir()
    happy = [
        sample
        for sample in ckplus.DATASET.samples(drawn_raw)
        if isinstance(sample, Sample) and ckplus.LABELS.get(sample.label) == "happiness"
    ]
    for letter, subject in zip(string.ascii_lowercase, sorted({sample.subject for sample in happy})[:6], strict=False):
        frames = sorted((s for s in happy if s.subject == subject), key=lambda sample: sample.frame)
        shutil.copy(drawn_raw / frames[0].path, raw / f"{letter * 3}_calm_1.png")
        shutil.copy(drawn_raw / frames[-1].path, raw / f"{letter * 3}_joy_2.png")
    (raw / "holiday.png").write_bytes(b"")


@pytest.fixture
def run(tmp_path):
    def run(program, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", f"from {MODULES[program]} import app; app()", *arguments], cwd=tmp_path,
            capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_a_dataset_and_a_method_from_a_package_of_ones_own(tmp_path, drawn_raw, run):
    install(tmp_path)
    photographs(tmp_path / "photos", drawn_raw)
    commands = re.search(r"```\n(fertools prepare studio.*?)```", TEXT, re.DOTALL)[1].splitlines()
    prepare, folds, fit = map(str.split, commands)
    assert "holiday.png: not a name such as anna_joy_1.png" in run(*prepare)
    run(*folds)
    rows = pd.read_parquet(tmp_path / "manifests/studio.parquet")
    assert set(rows["expression"].dropna()) == {"happiness", "neutral"} and rows["subject"].nunique() == 6
    small = [f"--set={setting}" for setting in ("width=4", "code_size=8", "smoothing=0.3")]
    run(*fit, "--epochs", "1", *small)
    (scores,) = (tmp_path / "runs").glob("studio-smoothed-demo-*/scores.json")
    assert "smoothing" in (scores.parent / "config.json").read_text()
    assert "smoothed: ResNet-18 on smoothed labels" in run("trainer", "methods")
    assert "all (studio): every image" in run("fertools", "protocols", "studio")
