"""Catches a sequence of commands, edits, damage and interruptions after which totals differ or a file is half made.

Hypothesis chooses the sequences. Nothing is detected: the drawn set publishes landmarks.
"""

import fcntl
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fertools.checks import whole
from fertools.datasets import DATASETS
from fertools.errors import FertoolsError
from fertools.folds.identities.embed import Embedder
from fertools.folds.identities.group import group
from fertools.folds.make_folds import make_folds
from fertools.preparation.prepare import prepare
from manifests import faces as crops
from manifests import files
from manifests.errors import LockedError, ManifestError

BY_GREY = Embedder("by-grey", "none", "x", lambda faces: np.eye(256, dtype=np.float32)[faces[:, 72, 72]] + 0.01)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    from fertools.drawn.corpus import draw

    root = tmp_path_factory.mktemp("drawn")
    draw(root, 4, seed=0, workers=1, dataset="affectnet")
    return root


class Commands(RuleBasedStateMachine):
    """A raw folder and its manifest, as somebody works with them."""

    drawn: Path

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(dir=self.drawn.parent))
        self.raw = shutil.copytree(self.drawn, self.folder / "raw")
        self.manifest = self.folder / "manifests/affectnet.parquet"
        self.pictures = sorted(self.raw.rglob("*.jpg"))
        self.damaged = self.edited = False

    def teardown(self):
        shutil.rmtree(self.folder)

    def prepare(self, **options):
        return prepare(DATASETS["affectnet"], self.raw, self.manifest.parent, published=True, **options)

    def read_by_a_run(self):
        """Hashes of all that a training reads; where it may not be read, none."""
        if self.damaged or not self.manifest.exists():
            return None
        return crops.recorded_sha256(self.manifest), files.pairs_source(files.read(self.manifest))

    def attempt(self, act, *, changes):
        """Do something that may be refused in words; a run stays valid unless what it reads may change."""
        before = self.read_by_a_run()
        try:
            return act()
        except (FertoolsError, ManifestError) as error:
            assert "\n" not in str(error)
        finally:
            assert changes or before in (None, self.read_by_a_run())

    @rule()
    def prepare_again(self):
        made = self.attempt(self.prepare, changes=self.edited or not self.manifest.exists())
        if made:
            self.edited = False
            assert made.found == made.usable + made.outside + len(made.quarantined)
            assert made.usable == sum(files.read(self.manifest)["usable"].to_pylist())

    @rule()
    def prepare_anew(self):
        made = self.prepare(overwrite=True)
        self.edited = False
        assert made.usable == sum(files.read(self.manifest)["usable"].to_pylist())

    @rule()
    def prepare_and_be_interrupted(self):
        def interrupt(done, *_):
            if done:
                raise KeyboardInterrupt

        before = self.read_by_a_run()
        try:
            self.prepare(progress=interrupt)
        except (KeyboardInterrupt, FertoolsError, ManifestError):
            pass
        else:
            return
        assert before in (None, self.read_by_a_run())

    @precondition(lambda self: self.manifest.exists())
    @rule(seed=st.integers(0, 1), whiten=st.sampled_from(["none", "standardize"]))
    def make_folds(self, seed, whiten):
        self.attempt(lambda: make_folds(self.manifest, 3, whiten, seed=seed), changes=True)
        self.attempt(lambda: make_folds(self.manifest, 3, whiten, seed=seed), changes=False)

    @precondition(lambda self: self.manifest.exists())
    @rule(threshold=st.sampled_from([0.2, 0.9]))
    def group(self, threshold):
        self.attempt(lambda: group(self.manifest, BY_GREY, threshold), changes=False)

    @precondition(lambda self: self.manifest.exists())
    @rule()
    def write_at_the_same_time(self):
        lock = self.manifest.with_name(".affectnet.lock")
        before = {path: path.read_bytes() for path in self.manifest.parent.rglob("*.parquet")}
        with lock.open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            for act in (self.prepare, lambda: make_folds(self.manifest, 3, "none", seed=0)):
                with pytest.raises(LockedError, match="is being written by another process"):
                    act()
        lock.unlink()
        assert before == {path: path.read_bytes() for path in self.manifest.parent.rglob("*.parquet")}

    @rule(number=st.integers(0, 30), data=st.sampled_from([b"", b"no picture", None]))
    def edit(self, number, data):
        path = self.pictures[number % len(self.pictures)]
        path.write_bytes((self.drawn / path.relative_to(self.raw)).read_bytes() if data is None else data)
        self.edited = True

    @precondition(lambda self: self.manifest.exists())
    @rule(file=st.integers(0, 9), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def damage(self, file, place, bit):
        found = sorted(path for path in self.manifest.parent.rglob("*") if path.is_file())
        path = found[file % len(found)]
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 1 << bit
        path.write_bytes(data)
        self.damaged = True

    @precondition(lambda self: self.damaged)
    @rule()
    def mend(self):
        self.prepare(overwrite=True)
        if whole.examine(self.manifest).damage:
            make_folds(self.manifest, 3, "standardize", seed=0)
            group(self.manifest, BY_GREY, 0.5)
        self.damaged = self.edited = False

    @invariant()
    def nothing_is_half_written(self):
        assert not [path for path in self.folder.rglob("*") if path.name.endswith((".part", ".lock"))]
        if self.manifest.exists() and not self.damaged:
            assert whole.examine(self.manifest).damage == []


def test_whatever_is_done_in_whatever_order_the_manifest_is_whole_and_its_totals_add_up(raw):
    Commands.drawn = raw
    run_state_machine_as_test(
        Commands,
        settings=settings(
            max_examples=6, stateful_step_count=8, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
