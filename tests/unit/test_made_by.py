"""Catches a result that is shown though the code it describes has changed since, and nobody said so."""

import json
import shutil
from pathlib import Path

import pytest

from trainer.runs import made_by

ROOT = Path(__file__).parents[2]
UNRECORDED = set((ROOT / "tests" / "unrecorded_results.txt").read_text().split())
SOURCE = '''"""Words."""

X = "# no comment"  # a comment


def f():
    """More words."""

    return X
'''


def test_comments_docstrings_and_empty_lines_do_not_count():
    assert made_by.effective(SOURCE) == 'X = "# no comment"\ndef f():\n    return X'
    assert made_by.effective(SOURCE.replace("return X", "return 2")) != made_by.effective(SOURCE)


@pytest.fixture
def checkout(tmp_path):
    """Code in the layout of this one: a file a part."""
    for part in made_by.CODE:
        path = tmp_path / part if part.endswith(".py") else tmp_path / part / "code.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"NAME = {part!r}\n")
    return tmp_path


def result(folder, name, made):
    path = folder / "results" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rows": []} | ({"made": made} if made else {})))


def test_a_result_is_stale_when_the_code_of_its_runs_has_changed_and_says_which(checkout, tmp_path):
    code = made_by.code_digests(root=checkout)
    made = made_by.made_by(
        {"folds": (1, 2), "from-scratch": False}, [{"code": code, "commit": "a", "device": "cpu"}] * 2
    )
    assert made["code"] == code and made["options"] == {"folds": "1,2"} and made["runs"]["number"] == 2
    result(checkout, "paper/fresh.json", made)
    result(checkout, "old.json", None)
    assert made_by.stale(checkout / "results", checkout) == {"old.json": [made_by.NOT_RECORDED]}
    later = tmp_path / "later"
    shutil.copytree(checkout, later)
    (later / "trainer/methods/code.py").write_text("NAME = 2  # what it is\n")
    assert made_by.stale(later / "results", later)["paper/fresh.json"] == ["trainer/methods"]


def test_runs_of_different_code_have_no_code_in_common():
    assert made_by.made_by({}, [{"code": {"a": "1"}}, {"code": {"a": "2"}}])["code"] is None
    assert made_by.made_by({}, [{}])["code"] is None


def test_every_committed_result_records_the_code_that_made_it_but_those_from_before():
    """The list may only shrink: a result that is computed again leaves it, and none joins."""
    stale = made_by.stale(ROOT / "docs" / "results")
    unrecorded = {name for name, why in stale.items() if why == [made_by.NOT_RECORDED]}
    assert unrecorded <= UNRECORDED, "write these with trainer.runs.made_by.made_by"
    assert unrecorded >= UNRECORDED, "these are recorded now, or gone: take them from tests/unrecorded_results.txt"


def test_the_processor_is_named():
    found = made_by.processor()
    assert found["model"] and found["instruction_set"]
