"""A disk that fails at its n-th change: tests/faults.c before libc, in a process of its own."""

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import date
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fertools.errors import FertoolsError
from manifests.errors import ManifestError
from trainer.errors import TrainerError

ERRORS = (errno.ENOSPC, errno.EIO, errno.EINTR)


def on_a_failing_disk(function: str, tmp_path: Path, *arguments: object) -> list[dict[str, Any]]:
    """Call a function of this module on a failing disk, in another process; return what was tried, a row a command."""
    compiler = shutil.which("cc")
    if not compiler or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler on Linux")
    library = tmp_path / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    code = "import sys; sys.path.insert(0, 'tests'); import failing_disk as f; getattr(f, sys.argv[1])(*sys.argv[2:])"
    run = subprocess.run(
        [sys.executable, "-c", code, function, *map(str, arguments)],
        env=os.environ | {"LD_PRELOAD": str(library)}, cwd=Path(__file__).parent.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


class Faults:
    """The faults of this process."""

    def __init__(self, folder: Path) -> None:
        self._library, self._folder = ctypes.CDLL(os.environ["LD_PRELOAD"]), str(folder)
        self._library.faults_seen.restype = ctypes.c_long

    def arm(self, at: int, error: int, stays: bool) -> None:
        """Let the change number `at`, from 1, fail, and perhaps all after it."""
        self._library.faults_arm(self._folder.encode(), ctypes.c_long(at), error, int(stays))

    def disarm(self) -> int:
        """Let nothing fail any more; return how many changes there were."""
        seen = self._library.faults_seen()
        self._library.faults_arm(b"/", ctypes.c_long(-1), 0, 0)
        return int(seen)


def every_fault(folder: Path, work, check, start, num_faults: int) -> None:
    """Let changes fail in turn; the same work afterwards must end as if nothing had. Print what was tried, as JSON.

    Args:
        folder: where the disk fails.
        work: what is interrupted.
        check: what must hold whatever failed, and with the result True, after an undisturbed end.
        start: makes the folder as it was before.
        num_faults: how many changes fail, one at a time, evenly spread; 0: every one.
    """
    faults, told = Faults(folder), []
    start()
    faults.arm(sys.maxsize, 0, False)
    work()
    changes = faults.disarm()
    chosen = sorted({round(at) for at in np.linspace(1, changes, num_faults or changes)})
    for number, at in enumerate(chosen):
        start()
        faults.arm(
            at, ERRORS[number % len(ERRORS)], stays=number % 4 > 1 and ERRORS[number % len(ERRORS)] != errno.EINTR
        )
        try:
            work()
            failed = False
        except (FertoolsError, ManifestError, TrainerError) as error:
            failed = True
            assert "\n" not in str(error), f"change {at}: {error}"
            told.append(type(error).__name__)
        faults.disarm()
        try:
            check(not failed)
            work()
            check(True)
        except AssertionError as error:
            raise AssertionError(f"change {at} of {changes}: {error}") from error
    print(json.dumps({"changes": changes, "faults": len(chosen), "told": dict(Counter(told))}))


class Files:
    """What a folder holds, and what it may come to: never a file that is half written under its name.

    Args:
        folder: of which all files are restored.
        changing: patterns of names of files that differ each time; they are not compared.
    """

    def __init__(self, folder: Path, changing: tuple[str, ...]) -> None:
        self.folder, self.changing = folder, ("*.part", "*.lock", *changing)
        self.before, self.expected = self.now(), {}

    def now(self) -> dict[Path, bytes]:
        """Return the bytes of its files."""
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def restore(self) -> None:
        """Make the folder as it was."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for path, data in self.before.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def compared(self, found: dict[Path, bytes]) -> dict[Path, bytes]:
        """Return the files that are the same each time."""
        return {
            path: data for path, data in found.items() if not any(fnmatch(path.name, name) for name in self.changing)
        }

    def check(self, done: bool) -> None:
        """Check each file; where the work is done, all of them."""
        now, before, expected = map(self.compared, (self.now(), self.before, self.expected))
        wrong = [path for path, data in now.items() if data not in (before.get(path), expected.get(path))]
        assert not (half := [path for path in wrong if path in before or path in expected]), f"{half} are half written"
        assert not done or now == expected, now.keys() ^ expected.keys()


def on(folder: Path, work, num_faults: str, changing: tuple[str, ...] = ()) -> None:
    """Do work in a folder once for what it comes to, then with faults."""
    files = Files(folder, changing)
    work()
    files.expected = files.now()
    every_fault(folder, work, files.check, files.restore, int(num_faults))


def preparation(raw: str, manifests: str, num_faults: str) -> None:
    """`prepare` on a disk that fails; chunks that a run has finished stay, under names by chance."""
    from fertools.datasets import DATASETS
    from fertools.preparation.prepare import prepare

    folder = Path(manifests)
    on(folder, lambda: prepare(DATASETS["affectnet"], Path(raw), folder, published=True), num_faults)


def folds(manifest: str, num_faults: str) -> None:
    """`make-folds` on a disk that fails."""
    from fertools.folds.make_folds import make_folds

    path = Path(manifest)
    on(path.parent, lambda: make_folds(path, 3, "zca", seed=1), num_faults)


def export(raw: str, folder: str, num_faults: str) -> None:
    """`fertools export` on a disk that fails; an export that is there already is not written again."""
    from fertools.datasets import DATASETS
    from fertools.export import export as library
    from fertools.folds.make_folds import make_folds
    from fertools.preparation.prepare import prepare

    manifest, out = Path(folder) / "manifests/affectnet.parquet", Path(folder) / "exports/out"
    prepare(DATASETS["affectnet"], Path(raw), manifest.parent, published=True)
    make_folds(manifest, 3, "none", seed=0)

    def work() -> None:
        if not out.exists():
            library.export(manifest, out, "hf", date(2026, 1, 1), pixels=True, fold=1)

    on(out.parent, work, num_faults)


def training(manifest: str, runs: str, num_faults: str) -> None:
    """`trainer fit` on a disk that fails, then `trainer export`; what tells times differs each time."""
    from small_runs import CPU, judged_quickly, run_spec, silent

    from trainer.evaluation.reporting import run_report
    from trainer.inference.export import export
    from trainer.training.fit import fit

    spec, folder = run_spec(Path(manifest), "resnet", "epochs=1"), Path(runs)
    times = ("provenance.json", "metrics.jsonl", "report.html", "checkpoint*", "events*")
    with judged_quickly(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_report, "run_page", lambda *_: "page")  # drawing it takes longer than all else
        on(folder, lambda: fit(spec, folder, CPU, silent), num_faults, times)
        run = fit(spec, folder, CPU, silent)
        opened = ("provenance.json", "README.md")  # which tell how often the test part was
        on(folder, lambda: export(run, Path(manifest).parent, "safetensors"), num_faults, opened)
