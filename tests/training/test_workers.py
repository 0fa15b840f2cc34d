"""Jobs in worker processes: catches one that ends others, lost checkpoints, and results that differ from one alone."""

import json
import multiprocessing
import os
import signal
from functools import partial

import pytest
import torch
from ends import die, last_until_told, refuse
from small_runs import CPU, fit, run_spec, same_weights, silent, timeless
from typer.testing import CliRunner

from trainer.cli import main
from trainer.experiments import jobs, workers
from trainer.experiments.jobs import training
from trainer.experiments.workers import Job
from trainer.runs.run import Run


class Recorder:
    """A listener that remembers."""

    def __init__(self):
        self.started_jobs, self.epochs, self.ends = [], [], {}

    def started(self, title, _stages):
        self.started_jobs.append(title)

    def epoch(self, title, stage, epoch, epochs, _logged):
        self.epochs.append((title, stage, epoch, epochs))

    def ended(self, title, error):
        self.ends[title] = error


def run_of(job):
    return Run(job.path.parent)


def test_one_that_dies_takes_no_other_with_it_and_others_are_to_the_bit_what_they_are_alone(patterns, tmp_path):
    alone = fit(run_spec(patterns, "resnet"), tmp_path / "alone", CPU, silent)
    good = training(run_spec(patterns, "resnet"), tmp_path / "beside", CPU)
    killed = Job("killed", tmp_path / "killed", die)
    waits = Job("waits", tmp_path / "waits", refuse, needs=good.path)
    orphan = Job("orphan", tmp_path / "orphan", refuse, needs=killed.path)
    recorder = Recorder()
    failed = workers.run([orphan, waits, killed, good], 2, 2, recorder)
    assert failed["waits"] == "no such thing" and recorder.started_jobs[-2] == "waits"
    assert "signal SIGKILL" in failed["killed"] and "resumes from the last checkpoint" in failed["killed"]
    assert failed["orphan"] == "no such thing" and recorder.started_jobs[-1] == "orphan"  # in its own words, at the end
    assert set(failed) == {"waits", "killed", "orphan"} and recorder.ends == {good.title: None} | failed
    assert [epoch[1:] for epoch in recorder.epochs] == [("classifier", epoch, 3) for epoch in (1, 2, 3)]
    beside = run_of(good)
    assert same_weights(beside, alone)
    assert timeless(beside) == timeless(alone)
    assert beside.read_json("provenance.json")["threads"] == torch.get_num_threads() == 1


class Stopping(Recorder):
    """As Ctrl-C does, in the midst of an epoch."""

    def __init__(self, title):
        super().__init__()
        self.title = title

    def epoch(self, title, *epoch):
        if title == self.title and title not in [recorder[0] for recorder in self.epochs]:
            for process in multiprocessing.active_children():  # a terminal tells all that belong together
                os.kill(process.pid, signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        super().epoch(title, *epoch)


def test_ctrl_c_stops_all_and_each_has_written_down_where_it_stands(patterns, tmp_path):
    trains = training(run_spec(patterns, "resnet", "epochs=1000"), tmp_path, CPU)
    other = Job("other", tmp_path / "other", partial(last_until_told, tmp_path / "what"), stages=("waiting",))
    never = Job("never", tmp_path / "never", refuse)
    recorder = Stopping(trains.title)
    with pytest.raises(KeyboardInterrupt):
        workers.run([trains, other, never], 2, 2, recorder)
    assert recorder.ends == {} and multiprocessing.active_children() == []
    assert (tmp_path / "what").read_text() == "so far"
    progress = run_of(trains).checkpoint().progress
    assert not run_of(trains).trained and (progress["epoch"], progress["step"]) > (0, 0)


def test_one_after_the_other_a_failure_stops_no_other_and_what_is_done_is_not_done_again(tmp_path):
    def make(path, *_):
        path.touch()

    first, last = (Job(name, tmp_path / name, partial(make, tmp_path / name)) for name in ("first", "last"))
    broken = Job("broken", tmp_path / "broken", refuse)
    assert workers.run([first, broken, last], 1, 1, Recorder()) == {"broken": "no such thing"}
    assert first.done and last.done
    again = Recorder()
    workers.run([first, broken, last], 1, 1, again)
    assert again.started_jobs == ["broken"]


def test_what_measures_time_has_the_machine_for_itself(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(workers, "_run_in_workers", lambda jobs, *_: seen.append([job.title for job in jobs]) or {})
    timed = Job("timed", tmp_path / "timed", lambda *_: seen.append("timed"), alone=True)
    workers.run([Job("other", tmp_path / "other", refuse), timed], 2, 2, Recorder())
    assert seen == ["timed", ["other"]]


@pytest.mark.parametrize(
    ("num_jobs", "free", "expected"), [(3, 2**40, 3), (100, 2**40, 8), (100, 5 * 2**30, 2), (100, 1, 1), (1, 2**40, 1)]
)
def test_there_are_as_many_workers_as_jobs_threads_and_memory_allow(num_jobs, free, expected, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(jobs, "free_memory", lambda _: free)
    assert jobs.default_num_workers(CPU, num_jobs) == expected


def test_fit_trains_folds_and_seeds_reports_what_failed_and_the_scores_of_the_rest(patterns, tmp_path):
    other = Run(tmp_path / "set-resnet-demo-width=4-batch_size=12-epochs=1-fold01-seed4")
    other.folder.mkdir()
    other.write_json("config.json", {"method": "another"})
    other.write_json("provenance.json", {"data": {}})
    line = f"fit --manifests {patterns.parent} --runs {tmp_path} --method resnet --preset demo --set width=4"
    words = [*line.split(), *["--set", "batch_size=12", "--epochs", "1", "--seed", "3", "--seeds", "2", "--json"]]
    result = CliRunner().invoke(main.app, words, catch_exceptions=False)
    assert result.exit_code == 1
    good, bad = json.loads(result.stdout)
    assert good["run"].endswith("fold01-seed3") and 0 <= good["classification"]["accuracy"] <= 1
    assert set(bad) == {"run", "error"} and bad["run"] == str(other.folder) and "holds another run" in bad["error"]
    assert f"error: {other.folder.name}: {other.folder} holds another run" in result.stderr


@pytest.mark.gpu
def test_side_by_side_on_a_gpu_all_are_trained(patterns, tmp_path):
    cuda = torch.device("cuda")
    todo = [training(run_spec(patterns, "resnet", fold=fold), tmp_path, cuda) for fold in (1, 2)]
    assert workers.run(todo, 2, 2, Recorder()) == {} and all(job.done for job in todo)
