"""Catches a file that is half written under its name, and a traceback, where the disk is full or fails."""

import shutil

from failing_disk import on_a_failing_disk


def test_folds_on_a_disk_that_fails_anywhere_end_the_same_or_in_a_sentence(patterns, tmp_path):
    shutil.copytree(patterns.parent, tmp_path / "manifests")
    told = on_a_failing_disk("folds", tmp_path, tmp_path / "manifests" / patterns.name, 2)
    assert "WriteError" in told


def test_a_training_on_a_disk_that_fails_ends_the_same_or_in_a_sentence(patterns, tmp_path):
    told = on_a_failing_disk("training", tmp_path, patterns, tmp_path / "runs", 25)
    assert "WriteError" in told
