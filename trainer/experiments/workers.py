"""Jobs in worker processes: one that dies ends no other, and Ctrl-C stops all of them with a checkpoint each."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from manifests.errors import ManifestError
from trainer.errors import TrainerError
from trainer.runs.signals import deferred_signals

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
POLL_SECONDS = 0.2  # how often a signal to stop is looked for
Work = Callable[..., object]  # called with a reporter of epochs (trainer.training.loop.Report), and a function: stop?


@dataclass(frozen=True)
class Job:
    """A unit of work, which is done once its file exists.

    Attributes:
        title: for messages.
        path: the file.
        work: the function; it can be pickled.
        spec: the run that it trains or evaluates (trainer.training.fit.RunSpec).
        stages: the stages that it trains, in order.
        needs: a file that must exist first.
        alone: whether nothing may run at the same time, because it measures time.
    """

    title: str
    path: Path
    work: Work
    spec: object = None
    stages: tuple[str, ...] = ()
    needs: Path | None = None
    alone: bool = False

    @property
    def done(self) -> bool:
        """Whether its file exists."""
        return self.path.exists()

    @property
    def ready(self) -> bool:
        """Whether the file that it needs exists."""
        return self.needs is None or self.needs.exists()


@runtime_checkable
class Listener(Protocol):
    """Receives the progress of jobs, by title."""

    def started(self, title: str, stages: tuple[str, ...], /) -> None:
        """Receive the start of a job, and the stages that it trains."""

    def epoch(self, title: str, stage: str, epoch: int, epochs: int, logged: dict[str, float], /) -> None:
        """Receive the end of an epoch; they count from 1."""

    def ended(self, title: str, error: str | None, /) -> None:
        """Receive the end of a job, with the error of one that failed."""


def run(jobs: Sequence[Job], num_workers: int, num_threads: int, listener: Listener) -> dict[str, str]:
    """Run the jobs that are not done; a job that needs another's file waits for it.

    Each worker has an equal share of the threads; its results are, to the bit, those of a single job with as many.
    On Ctrl-C and SIGTERM every training writes a checkpoint and stops.

    Args:
        jobs: in an order in which they could run one after another.
        num_workers: number of processes; 1: jobs run in this process.
        num_threads: threads of all workers together.
        listener: receives their progress.

    Returns:
        The errors of failed jobs, by title. A failure does not stop the others.
    """
    missing = [job for job in jobs if not job.done]
    if num_workers == 1:
        return _run_here(missing, listener)
    failed = _run_here([job for job in missing if job.alone], listener)
    return failed | _run_in_workers([job for job in missing if not job.alone], num_workers, num_threads, listener)


def _run_here(jobs: Sequence[Job], listener: Listener) -> dict[str, str]:
    failed = {}
    for job in jobs:
        listener.started(job.title, job.stages)
        error = _attempt(job, partial(listener.epoch, job.title), lambda: False)
        listener.ended(job.title, error)
        if error:
            failed[job.title] = error
    return failed


def in_subprocess(method: str, measurement: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of a function in a fresh process.

    Args:
        method: name of the method that it measures, for the message.
        measurement: the function; it can be pickled.

    Raises:
        TrainerError: the function's own, or the process was killed.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(measurement).result()
        except BrokenProcessPool as error:
            raise TrainerError(
                f"the process that measures {method} was killed, perhaps for too little memory; a preset with a "
                "smaller batch_size or width needs less"
            ) from error


def _attempt(job: Job, report: Callable[..., object], stop: Callable[[], bool]) -> str | None:
    """Run a job; return the error, if it is one that a user can fix."""
    try:
        job.work(report, stop)
    except (TrainerError, ManifestError) as error:
        return str(error)
    return None


# --- worker processes


@dataclass
class Worker:
    """A process and its job; `error` is what it reported at its end."""

    job: Job
    process: SpawnProcess
    ended: bool = False
    error: str | None = None


def _run_in_workers(jobs: Sequence[Job], num_workers: int, num_threads: int, listener: Listener) -> dict[str, str]:
    waiting, failed, stopping = list(jobs), {}, False
    workers: dict[Connection, Worker] = {}
    try:
        with deferred_signals() as stopped:
            while True:
                if stopped() and not stopping:
                    stopping = True
                    _stop(workers)
                while not stopping and len(workers) < num_workers and (job := _take(waiting)):
                    workers.update([_start(job, max(1, num_threads // num_workers))])
                    listener.started(job.title, job.stages)
                if not workers:
                    break
                for connection in wait(list(workers), POLL_SECONDS):
                    assert isinstance(connection, Connection)
                    if _receive(connection, workers[connection], listener):
                        continue
                    worker = workers.pop(connection)
                    error = _end(worker)
                    if stopping:
                        continue
                    if error:
                        failed[worker.job.title] = error
                    listener.ended(worker.job.title, error)
    finally:
        for worker in workers.values():
            worker.process.terminate()
    return failed | _run_here(waiting, listener)  # which report that the file they need is missing


def _take(waiting: list[Job]) -> Job | None:
    """Remove and return the first job that is ready."""
    for job in waiting:
        if job.ready:
            waiting.remove(job)
            return job
    return None


def _start(job: Job, threads: int) -> tuple[Connection, Worker]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(job, theirs))
    resource_tracker.ensure_running()  # starting it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # of Ctrl-C only this process tells the worker
    with _threads(threads):
        process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return ours, Worker(job, process)


@contextmanager
def _threads(num_threads: int) -> Iterator[None]:
    """Give processes started meanwhile a number of threads: libraries read it when they are loaded."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(num_threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _work(job: Job, connection: Connection) -> None:
    """Run a job in this process, until the other end of the connection sends a message, or closes."""

    def send(message: object) -> None:
        with suppress(OSError):
            connection.send(message)

    try:
        error = _attempt(job, lambda *epoch: send(epoch), connection.poll)
    except Exception as bug:
        if type(bug).__name__ != "OutOfMemoryError":  # torch's, compared by name so that torch is not imported
            traceback.print_exc()
        error = f"{type(bug).__name__}: {bug}".splitlines()[0]
    send(error)


def _receive(connection: Connection, worker: Worker, listener: Listener) -> bool:
    """Receive one message, an epoch or the end; return whether there was one."""
    try:
        message: Any = connection.recv()
    except (EOFError, OSError):
        return False
    if isinstance(message, tuple):
        listener.epoch(worker.job.title, *message)
    else:
        worker.ended, worker.error = True, message
    return True


def _end(worker: Worker) -> str | None:
    """Wait for the end of a process; return the error of its job."""
    worker.process.join()
    if worker.ended:
        return worker.error
    code = worker.process.exitcode or 0
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return (
        f"its process was killed ({how}), perhaps for too little memory; run fewer at once with --side-by-side. The "
        "same command resumes from the last checkpoint"
    )


def _stop(workers: dict[Connection, Worker]) -> None:
    for connection in workers:
        with suppress(OSError):
            connection.send(None)
