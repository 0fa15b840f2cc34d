"""A disk that fails at its n-th change: tests/faults.c before libc, in a process of its own."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ERRORS = (errno.ENOSPC, errno.EIO)


def on_a_failing_disk(function: str, tmp_path: Path, *arguments: object) -> str:
    """Call a function of this module with faults at hand, in another process; return what it printed."""
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
    return run.stdout


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


def every_fault(folder: Path, work, check, start, step: int) -> None:
    """Let each step-th change fail in turn; the same work afterwards must end as if nothing had.

    Args:
        folder: where the disk fails.
        work: what is interrupted.
        check: what must hold whatever failed, and with the result True, after an undisturbed end.
        start: makes the folder as it was before.
        step: of how many changes one fails.
    """
    from fertools.errors import FertoolsError
    from manifests.errors import ManifestError
    from trainer.errors import TrainerError

    faults, at, told = Faults(folder), 1, set()
    while True:
        start()
        faults.arm(at, ERRORS[at // step % 2], stays=at // step % 4 > 1)
        try:
            work()
            failed = False
        except (FertoolsError, ManifestError, TrainerError) as error:
            failed = True
            assert "\n" not in str(error), f"change {at}: {error}"
            told.add(type(error).__name__)
        seen = faults.disarm()
        try:
            check(not failed)
            work()
            check(True)
        except AssertionError as error:
            raise AssertionError(f"change {at} of {seen}: {error}") from error
        if seen < at:
            break
        at += step
    print(at, seen, sorted(told))


def folds(manifest: str, step: str) -> None:
    """`make-folds` on a disk that fails."""
    from fertools.folds.make_folds import make_folds

    path = Path(manifest)
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    make_folds(path, 3, "zca", seed=1)
    expected = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}

    def start() -> None:
        shutil.rmtree(path.parent)
        for file, data in before.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def check(done: bool) -> None:
        now = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
        if done:
            assert now == expected, [
                file for file in now.keys() | expected.keys() if now.get(file) != expected.get(file)
            ]
        for file, data in now.items():
            if not file.name.endswith((".part", ".lock")):
                sound = [expected.get(file)] if done else [before.get(file), expected.get(file)]
                assert data in sound, f"{file} is half written"

    every_fault(path.parent, lambda: make_folds(path, 3, "zca", seed=1), check, start, int(step))


def training(manifest: str, runs: str, step: str) -> None:
    """`trainer fit` on a disk that fails."""
    from small_runs import CPU, run_spec, silent

    from trainer.training.fit import fit

    spec, folder = run_spec(Path(manifest), "resnet", "epochs=1"), Path(runs)
    names = ("config.json", "weights.safetensors", "predictions.parquet", "scores.json")

    def work() -> None:
        fit(spec, folder, CPU, silent)

    def bytes_of() -> dict[str, bytes]:
        run = folder / spec.name()
        return {name: (run / name).read_bytes() for name in names if (run / name).exists()}

    work()
    expected = bytes_of()

    def check(done: bool) -> None:
        now = bytes_of()
        differing = [name for name in now if now[name] != expected[name]]
        assert not differing, f"{differing} are half written"
        assert not done or now == expected

    every_fault(folder, work, check, lambda: shutil.rmtree(folder), int(step))
