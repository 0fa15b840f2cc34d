"""Catches a file that is half written under its name, and a traceback, where the disk is full or fails.

`benchmarks/faults.py` lets every change fail; here some do.
"""

import shutil

import pytest
from failing_disk import on_a_failing_disk


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A drawn set that is prepared without a detector."""
    from fertools.drawn.corpus import draw

    root = tmp_path_factory.mktemp("raw")
    draw(root, 4, seed=0, workers=1, dataset="affectnet")
    return root


def test_a_preparation_on_a_disk_that_fails_ends_the_same_or_in_a_sentence(raw, tmp_path):
    (tried,) = on_a_failing_disk("preparation", tmp_path, raw, tmp_path / "manifests", 8)
    assert tried["told"]["WriteError"] > 4


def test_folds_on_a_disk_that_fails_end_the_same_or_in_a_sentence(patterns, tmp_path):
    shutil.copytree(patterns.parent, tmp_path / "manifests")
    (tried,) = on_a_failing_disk("folds", tmp_path, tmp_path / "manifests" / patterns.name, 5)
    assert tried["told"]["WriteError"] > 2


def test_an_export_on_a_disk_that_fails_ends_the_same_or_in_a_sentence(raw, tmp_path):
    (tried,) = on_a_failing_disk("export", tmp_path, raw, tmp_path, 8)
    assert tried["told"]["WriteError"] > 4


def test_a_run_and_its_export_on_a_disk_that_fails_end_the_same_or_in_a_sentence(patterns, tmp_path):
    fitted, exported = on_a_failing_disk("training", tmp_path, patterns, tmp_path / "runs", 3)
    assert fitted["told"]["WriteError"] > 1 and exported["told"]["WriteError"] > 0
