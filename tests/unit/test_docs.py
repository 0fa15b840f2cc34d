import importlib.util
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


def test_generated_pages_are_what_the_code_says():
    spec = importlib.util.spec_from_file_location("generate", TOP / "docs/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for path, text in generate.pages().items():
        assert path.read_text() == text, f"{path.name} is stale: make docs"


@pytest.mark.parametrize("path", [*TOP.glob("*.md"), *TOP.glob("docs/*.md")], ids=lambda path: path.name)
def test_links_lead_to_files(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
