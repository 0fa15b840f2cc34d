import importlib.util
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", TOP / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOCK = """# made by uv
contourpy==1.3.3 ; python_full_version < '3.12' \\
    --hash=sha256:00
    # via matplotlib
contourpy==1.4.0 ; python_full_version >= '3.12' \\
    --hash=sha256:01
    # via matplotlib
matplotlib==3.11.2 \\
    --hash=sha256:02
    # via
    #   fertools (pyproject.toml)
    #   mlcroissant
colorama==0.4.6 ; os_name == 'nt' or sys_platform == 'win32' \\
    --hash=sha256:04
    # via matplotlib
mlcroissant==1.1.1 \\
    --hash=sha256:03
    # via fertools (pyproject.toml)
"""


def test_the_lock_tells_what_runs_and_for_whom(generate):
    pinned = generate.locked(LOCK)
    assert pinned["contourpy"].versions == ("1.3.3", "1.4.0")
    assert pinned["matplotlib"].needed_by == {"fertools (pyproject.toml)", "mlcroissant"}
    assert generate.run_time(pinned) == {"colorama", "contourpy", "matplotlib"}  # mlcroissant is of dev


def test_what_is_of_another_system_is_known_from_the_lock_whatever_is_installed(generate):
    pinned = generate.locked(LOCK)
    assert not pinned["colorama"].here
    assert pinned["contourpy"].here
    assert pinned["matplotlib"].here


def test_generated_pages_are_what_the_code_says(generate):
    for path, text in generate.pages().items():
        assert path.read_text() == text, f"{path.name} is stale: make docs"


@pytest.mark.parametrize("path", [*TOP.glob("*.md"), *TOP.glob("docs/*.md")], ids=lambda path: path.name)
def test_links_lead_to_files(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
