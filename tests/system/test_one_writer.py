"""Catches two commands that write one manifest or one run at once, and what dead writers leave."""

import errno
import json
import os
import platform
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import filelock._unix
import pytest
from small_runs import CPU, run_spec, silent
from test_embed import GREY
from typer.testing import CliRunner

import fertools.cli
import trainer.cli.main
from fertools.folds.make_folds import make_folds
from manifests import files
from manifests.errors import LockedError
from manifests.lock import manifest_writer, only_writer
from trainer.runs.run import Run
from trainer.training import fit as library

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # scripts, no package
import two_writers


@pytest.fixture(scope="module", autouse=True)
def quick_judging():
    """Judge as other processes do."""


HOLD = """
import sys
from pathlib import Path
from manifests.lock import only_writer
with only_writer(Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_writer(path, lock):
    """Another process that holds a lock until this is over."""
    command = [sys.executable, "-c", HOLD, str(path), str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "held\n"
        yield owner
        owner.stdin.close()


@pytest.fixture
def manifest(patterns, tmp_path):
    return Path(shutil.copytree(patterns.parent, tmp_path / "manifests")) / patterns.name


def invoke(app, *words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    return result.exit_code, result.stderr


def lock_of(manifest):
    return manifest.with_name(".set.lock")


def test_who_writes_a_manifest_is_named_and_readers_do_not_wait(manifest, tmp_path):
    (tmp_path / "quarters.onnx").write_bytes(GREY)
    where, before = ("--manifests", manifest.parent), manifest.read_bytes()
    with another_writer(manifest, lock_of(manifest)) as owner:
        for words in (["make-folds"], ["group", "set", "--embedder", tmp_path / "quarters.onnx", "--device", "cpu"]):
            code, error = invoke(fertools.cli.app, *words, *where)
            named = f"set.parquet is being written by process {owner.pid} on {platform.node()} (-c {manifest} "
            assert code == 1 and named in error and "wait until that has ended, or end it" in error
            assert error.splitlines()[-1].startswith("error: ")
        assert invoke(fertools.cli.app, "audit", "set", *where)[0] in (0, 1)
        assert invoke(fertools.cli.app, "diff", "set", "set", *where)[0] == 0
    assert manifest.read_bytes() == before
    assert invoke(fertools.cli.app, "make-folds", "--num-folds", "3", *where)[0] == 0 and not lock_of(manifest).exists()


def test_a_preparation_is_refused_before_anything_is_made(tmp_path):
    from fertools.cli import app

    app(["draw", "affectnet", "--raw", str(tmp_path / "raw"), "--subjects", "2"], standalone_mode=False)
    manifest = tmp_path / "manifests/affectnet.parquet"
    with another_writer(manifest, manifest.with_name(".affectnet.lock")):
        code, error = invoke(app, *two_writers.manifest_commands(tmp_path)["prepare"][0][1:])
        assert code == 1 and two_writers.REFUSAL in error
        assert [path.name for path in manifest.parent.iterdir()] == [".affectnet.lock"]


def test_who_writes_a_run_is_named_and_the_run_stays_as_it_is(patterns, tmp_path):
    spec = run_spec(patterns, "resnet", "epochs=1")
    folder = tmp_path / spec.name()
    with another_writer(folder, folder / ".lock") as owner:
        with pytest.raises(LockedError, match=f"seed0 is being written by process {owner.pid}"):
            library.fit(spec, tmp_path, CPU, silent)
        assert [path.name for path in folder.iterdir()] == [".lock"]
    library.fit(spec, tmp_path, CPU, silent)
    with another_writer(folder, folder / ".lock"):
        words = ("evaluate", folder, "--manifests", patterns.parent, "--device", "cpu")
        code, error = invoke(trainer.cli.main.app, *words)
        assert code == 1 and two_writers.REFUSAL in error
        assert invoke(trainer.cli.main.app, "report", folder)[0] == 0


def test_the_lock_of_a_dead_owner_is_free(manifest):
    with another_writer(manifest, lock_of(manifest)) as owner:
        owner.kill()
        owner.wait()
        assert json.loads(lock_of(manifest).read_text())["pid"] == owner.pid
        make_folds(manifest, 3, "none", seed=0)
    assert not lock_of(manifest).exists()


def test_what_dead_writers_left_goes_and_what_is_another_manifest_s_stays(manifest):
    beside = manifest.parent / "set.whitening"
    beside.mkdir()
    left = [".set.parquet.0123abcd.part", ".set.pairs.parquet.0123abcd.part", "..set.ledger-00.0123abcd.part"]
    for name in (*left, ".settle.parquet.0123abcd.part", "set.whitening/.fold01.parquet.0123abcd.part"):
        (manifest.parent / name).touch()
    with manifest_writer(manifest):
        assert [name for name in left if (manifest.parent / name).exists()] == []
        assert not list(beside.iterdir()) and (manifest.parent / ".settle.parquet.0123abcd.part").exists()


def test_a_process_that_holds_the_lock_may_take_it_again(tmp_path):
    with Run(tmp_path).writer():
        (tmp_path / ".weights.0123abcd.part").touch()  # its own, at work
        with Run(tmp_path).writer():
            pass
        assert {path.name for path in tmp_path.iterdir()} == {".lock", ".weights.0123abcd.part"}
    assert not (tmp_path / ".lock").exists()


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch, capsys):
    def without(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(filelock._unix.fcntl, "flock", without)
    with only_writer(tmp_path, tmp_path / ".lock"):
        (tmp_path / "written").touch()
    assert f"the file system of {tmp_path} has no locks" in capsys.readouterr().err


def test_every_pair_of_writing_commands_together_leaves_one_result(tmp_path):
    with two_writers.two_processes() as run:
        two_writers.prepared(tmp_path)
        refused = 0
        for pairs in (two_writers.manifest_pairs, two_writers.run_pairs):
            for name, found in pairs(tmp_path, run, 1):
                assert [one["wrong"] for one in found] == [[]] * len(found), name
                assert all(one["done"] >= 1 and one["done"] + one["refused"] == 2 for one in found), name
                refused += sum(one["refused"] for one in found)
            run(two_writers.manifest_commands(tmp_path)["make-folds"][0], ["fertools", "protocols"])
        assert refused > 0
    files.read(tmp_path / "manifests/affectnet.parquet")
