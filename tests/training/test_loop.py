"""Interrupted anywhere, a training ends as if nothing had been."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from small_runs import CPU, cut_short, run_spec, same_weights, silent, timeless

from trainer.runs.run import Run
from trainer.runs.signals import deferred_signals
from trainer.training import fit as library
from trainer.training import loop
from trainer.training.loop import TrainingError

FEW_STEPS = {
    "dicefer": ("batch_size=7", "epochs_expression=2", "epochs_identity=1", "epochs_classifier=1"),
    "ifgan": ("batch_size=7", "epochs=2"),
    "resnet": ("batch_size=7", "epochs=2"),
}


@pytest.mark.parametrize("name", FEW_STEPS)
def test_stopped_after_any_step_it_resumes_to_the_bit(name, patterns, tmp_path):
    ask = run_spec(patterns, name, *FEW_STEPS[name])
    whole = library.fit(ask, tmp_path / "whole", CPU, silent)
    run, places = cut_short(ask, tmp_path / "cut", steps=1), []
    while not run.trained:
        places.append(run.checkpoint().progress["step"])
        run = cut_short(ask, tmp_path / "cut", steps=1)
    assert len(places) > 3 and any(places)
    assert same_weights(run, whole)
    assert timeless(run) == timeless(whole)
    assert run.read_json("scores.json") == whole.read_json("scores.json")


def test_killed_without_a_word_it_goes_on_from_the_last_checkpoint(patterns, tmp_path, monkeypatch):
    """Saved within epochs only: what a kill then loses is trained again, and logged once."""
    whole = library.fit(run_spec(patterns, "resnet"), tmp_path / "whole", CPU, silent)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)

    def die(_stage, epoch, *_):
        if epoch == 2:
            raise MemoryError  # no handler of ours sees it

    with pytest.raises(MemoryError):
        library.fit(run_spec(patterns, "resnet"), tmp_path / "cut", CPU, die)
    resumed = library.fit(run_spec(patterns, "resnet"), tmp_path / "cut", CPU, silent)
    assert same_weights(resumed, whole)
    assert timeless(resumed) == timeless(whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_held_back_until_all_is_saved(number, patterns, tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from small_runs import CPU, fit, run_spec
from trainer.cli.options import refusals

with refusals():
    spec = run_spec(Path({str(patterns)!r}), "resnet")
    fit(spec, Path({str(tmp_path)!r}), CPU, lambda *_: os.kill(os.getpid(), {int(number)}))
"""
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=here)
    if number == signal.SIGTERM:
        assert done.returncode == -signal.SIGTERM
    else:
        assert "interrupted; run the same command again to resume" in done.stderr
    run = Run(next(tmp_path.iterdir()))
    assert not run.trained and run.checkpoint().progress["epoch"] == 1


def test_a_second_signal_is_not_held_back():
    """In a process of its own: pytest's parallel workers do not survive a KeyboardInterrupt."""
    code = """
import signal
from trainer.runs.signals import deferred_signals
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
try:
    with deferred_signals() as stop:
        signal.raise_signal(signal.SIGINT)
        print(stop())
        signal.raise_signal(signal.SIGINT)
        print("went on")
except KeyboardInterrupt:
    print("ended", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "ended", "True"]


def test_a_second_sigterm_is_held_back_and_done_once():
    """In a process of its own: what goes wrong ends it."""
    code = """
import signal
from trainer.runs.signals import deferred_signals
came = []
signal.signal(signal.SIGTERM, lambda *_: came.append("end"))
with deferred_signals() as stop:
    for _ in range(2):
        signal.raise_signal(signal.SIGTERM)
    print(stop(), came)
print(came)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "[]", "['end']"]


def test_elsewhere_than_in_the_main_thread_nothing_is_held_back():
    seen = []

    def work():
        with deferred_signals() as stop:
            seen.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_too_little_memory_is_told_with_what_to_change(patterns, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.Tensor, "backward", full)
    monkeypatch.setattr(torch.autograd, "backward", full)
    with pytest.raises(TrainingError, match=r"epoch 1: cpu is out of memory; use a smaller batch_size \(it is 12\) or"):
        library.fit(run_spec(patterns, "resnet"), tmp_path, CPU, silent)


def test_slow_saving_is_done_less_often(patterns, tmp_path, monkeypatch):
    """Each epoch of this takes milliseconds; where one saving takes a second, the next is 20 seconds away."""
    saved = []
    save = Run.save
    monkeypatch.setattr(Run, "save", lambda self, *rest: (saved.append(rest[2]["epoch"]), save(self, *rest)))
    clock = iter(range(0, 10**6))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(clock)))
    library.fit(run_spec(patterns, "resnet", "epochs=12"), tmp_path, CPU, silent)
    assert saved[-1] == 12 and 1 < len(saved) < 12
