"""A run's folder, whatever happens to its disk or its process: nothing half-written counts, nothing good is lost."""

import math
import resource
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import CPU, cut_short, run_spec, silent, timeless
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from manifests import atomic
from trainer.errors import TrainerError
from trainer.evaluation.metrics import probes
from trainer.runs.run import CHECKPOINTS, Run
from trainer.training import fit as library
from trainer.training import loop
from trainer.training.loop import TrainingError

ENDS = ("weights.safetensors", "predictions.parquet", "scores.json")  # what a run comes to, byte for byte
WITH_THEM = ("config.json", "metrics.jsonl", "checkpoint.safetensors", "provenance.json", "report.html")
FULL = Path("/dev/full")  # no byte fits there


@pytest.fixture(scope="module", autouse=True)
def saved_each_epoch_and_judged_at_once():
    """The probes, which take most of the time, are tested elsewhere: one of them is enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "MAX_SAVING", math.inf)
        patch.setattr(probes, "NUM_PERMUTATIONS", 1)
        patch.setattr(probes, "PROBES", {"accuracy": probes.PROBES["accuracy"]})
        yield


@pytest.fixture(scope="module")
def whole(patterns, tmp_path_factory):
    return library.fit(run_spec(patterns, "resnet"), tmp_path_factory.mktemp("whole"), CPU, silent)


def files(run):
    return sorted(path.name for path in run.folder.iterdir() if "tfevents" not in path.name)


def assert_same(run, whole):
    assert files(run) == files(whole)
    assert timeless(run) == timeless(whole)
    for name in ENDS:
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


@contextmanager
def seen_before_each_change(folder, see):
    """Let a function see the folder before anything in it is renamed or removed, as a kill would leave it."""

    def watched(change):
        def act(path, *rest, **named):
            if path.exists() and folder in path.parents:
                see()
            return change(path, *rest, **named)

        return act

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", watched(Path.replace))
        patch.setattr(Path, "unlink", watched(Path.unlink))
        yield


def test_killed_between_any_two_files_it_ends_the_same(patterns, whole, tmp_path):
    ask, disturbed, left = run_spec(patterns, "resnet"), tmp_path / "disturbed", []

    def copy():
        left.append(shutil.copytree(disturbed, tmp_path / str(len(left))))

    with seen_before_each_change(disturbed, copy):
        library.fit(ask, disturbed, CPU, silent)
    moments = {}  # the last state that there was before each file came under its name, or went
    for runs in left:
        coming = [path.name[1:].rsplit(".", 2)[0] for path in runs.rglob("*.part")]
        moments[*coming] = runs
    assert len(left) >= 17 and {name for coming in moments for name in coming} >= {*ENDS, *WITH_THEM}
    for runs in moments.values():
        assert_same(library.fit(ask, runs, CPU, silent), whole)


def stopped(ask, runs):
    """Return a run that was stopped with two checkpoints: after one epoch, and after two."""
    return cut_short(ask, runs, epochs=2)


def test_where_the_newest_checkpoint_is_damaged_the_one_before_it_serves(patterns, whole, tmp_path, capsys):
    ask = run_spec(patterns, "resnet")
    run = stopped(ask, tmp_path)
    newest, before = (run.folder / name for name in CHECKPOINTS)
    newest.write_bytes(newest.read_bytes()[:-100])
    assert Run(run.folder).checkpoint().progress["epoch"] == 1
    assert "checkpoint.safetensors is not complete" in (told := capsys.readouterr().err)
    assert "resuming from checkpoint-before.safetensors" in told
    assert before.exists()
    with seen_before_each_change(run.folder, lambda: Run(run.folder).trained or Run(run.folder).checkpoint().progress):
        resumed = library.fit(ask, tmp_path, CPU, silent)
    assert_same(resumed, whole)


def test_where_the_newest_checkpoint_is_gone_the_one_before_it_serves(patterns, whole, tmp_path):
    ask = run_spec(patterns, "resnet")
    (stopped(ask, tmp_path).folder / CHECKPOINTS[0]).unlink()
    assert_same(library.fit(ask, tmp_path, CPU, silent), whole)


def test_where_no_checkpoint_is_whole_it_says_what_to_delete(patterns, tmp_path):
    run = stopped(run_spec(patterns, "resnet"), tmp_path)
    for name in CHECKPOINTS:
        (run.folder / name).write_bytes(b"\0" * 64)
    with pytest.raises(
        TrainerError, match=r"checkpoint.safetensors .*checkpoint-before.safetensors .*; delete .*seed0"
    ):
        library.fit(run_spec(patterns, "resnet"), tmp_path, CPU, silent)


def test_tensorboard_shows_each_epoch_once(patterns, tmp_path):
    """Two epochs were logged, the second is trained again from the checkpoint before: its first values are dropped."""
    ask = run_spec(patterns, "resnet")
    (stopped(ask, tmp_path).folder / CHECKPOINTS[0]).unlink()
    run = library.fit(ask, tmp_path, CPU, silent)
    board = EventAccumulator(str(run.folder)).Reload()
    for name in ("loss", "validation_accuracy", "seconds"):
        shown = [(event.step, event.value) for event in board.Scalars(f"classifier/{name}")]
        assert shown == [(row["epoch"], pytest.approx(row[name])) for row in run.metrics()]


# --- what is not finite


def test_a_nan_is_never_saved(patterns, tmp_path, monkeypatch):
    """Saved after each step: the first leaves weights that are huge, the second is nan."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    ask = run_spec(patterns, "resnet", "learning_rate=1e30", "weight_decay=0", "batch_size=4")
    with pytest.raises(TrainingError, match="stage classifier, epoch 1: loss is (nan|inf); a smaller learning_rate"):
        library.fit(ask, tmp_path, CPU, silent)
    saved = Run(tmp_path / ask.name()).checkpoint()
    assert saved.progress["step"] >= 1
    assert all(value.isfinite().all() for value in saved.weights.values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_leaves_the_checkpoint_as_it_was(value, tmp_path):
    module, run = torch.nn.Linear(2, 2), Run(tmp_path)
    run.save(module, [], {"epoch": 1}, {})
    before = (tmp_path / CHECKPOINTS[0]).read_bytes()
    with torch.no_grad():
        module.weight[1, 0] = value
    with pytest.raises(TrainerError, match=r"weights.weight is no longer finite.*a smaller learning_rate"):
        run.save(module, [], {"epoch": 2}, {})
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINTS[0]]
    assert (tmp_path / CHECKPOINTS[0]).read_bytes() == before


# --- a full disk


@contextmanager
def room_for(num_bytes):
    """Let no file become larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_a_full_disk_is_told_at_every_file_and_then_the_run_ends_the_same(patterns, whole, tmp_path, monkeypatch):
    ask = run_spec(patterns, "resnet")
    folder = tmp_path / ask.name()
    folder.mkdir()
    monkeypatch.setattr(atomic, "temporary_name", lambda name: f".{name}.part")

    def refused(name):
        with pytest.raises(TrainerError, match=rf"{name} cannot be written \(.*\); .* Free space, .* same command"):
            library.fit(ask, tmp_path, CPU, silent)
        assert not list(folder.glob(".*")), "half-written files are left"

    def full(name):
        path = folder / ("events.out.tfevents.1000000000.000000" if "events" in name else f".{name}.part")
        path.symlink_to(FULL)
        refused(name)

    full("provenance.json")
    full("config.json")
    with monkeypatch.context() as patch:
        patch.setattr("trainer.runs.run.time.time", lambda: 1e9)
        full("events.out.tfevents.1000000000.000000")
    (folder / "events.out.tfevents.1000000000.000000").unlink()
    full("metrics.jsonl")
    with room_for(20_000):
        refused("checkpoint.safetensors")
    stop = cut_short(ask, tmp_path, epochs=2)
    saved = (stop.folder / CHECKPOINTS[0]).read_bytes()
    with room_for(20_000):
        refused("checkpoint.safetensors")
    assert (stop.folder / CHECKPOINTS[0]).read_bytes() == saved
    cut_short(ask, tmp_path, epochs=1)  # all are trained
    with room_for(20_000):
        refused("weights.safetensors")
    for name in ("predictions.parquet", "report.html", "scores.json"):
        full(name)
    assert_same(library.fit(ask, tmp_path, CPU, silent), whole)


def test_a_folder_that_cannot_be_made_is_told(patterns, tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(TrainerError, match="seed0 cannot be written .Not a directory."):
        library.fit(run_spec(patterns, "resnet"), tmp_path / "runs", CPU, silent)


def test_weights_are_for_all_to_read_and_what_a_kill_left_of_them_goes(tmp_path):
    (tmp_path / ".tmpaB3dE6").write_bytes(b"half of a checkpoint")
    Run(tmp_path).finish_training(torch.nn.Linear(2, 2), {"licence": "none"})
    Run(tmp_path).write_text("notes.txt", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "weights.safetensors"]
    assert (tmp_path / "weights.safetensors").stat().st_mode == (tmp_path / "notes.txt").stat().st_mode
    assert load_file(tmp_path / "weights.safetensors").keys() == {"weight", "bias"}


# --- the same bits


def test_a_run_says_whether_it_was_asked_to_be_deterministic(patterns, whole, tmp_path):
    try:
        run = library.fit(replace(run_spec(patterns, "resnet"), deterministic=True), tmp_path, CPU, silent)
    finally:
        torch.use_deterministic_algorithms(False)
    assert run.read_json("provenance.json")["deterministic"]
    assert not whole.read_json("provenance.json")["deterministic"]
    assert_same(run, whole)
