"""Jobs side by side, each in a process of its own: one that dies takes no other with it, and all stop as one."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from manifests.schema import ManifestError
from trainer.errors import TrainerError
from trainer.runs.signals import deferred_signals

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SECONDS = 0.2  # between two looks at whether to stop
Work = Callable[
    ..., object
]  # called with what it reports epochs to (`training.loop.Report`), and what says when to stop


@dataclass(frozen=True)
class Job:
    """Something to be done, which is done where a file stands.

    Attributes:
        title: for people.
        path: the file.
        work: what is to be done; it can be sent to another process.
        spec: the run that it trains or judges (`training.fit.RunSpec`).
        stages: that it trains, in order.
        needs: a file that must stand first.
        alone: whether nothing may run beside it, as it measures time.
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
        """Whether nothing is left to do."""
        return self.path.exists()

    @property
    def ready(self) -> bool:
        """Whether it can begin."""
        return self.needs is None or self.needs.exists()


@runtime_checkable
class Listener(Protocol):
    """What is told of jobs, by title."""

    def begun(self, title: str, stages: tuple[str, ...], /) -> None:
        """Hear that a job begins, and which stages it trains."""

    def epoch(self, title: str, stage: str, number: int, epochs: int, logged: dict[str, float], /) -> None:
        """Hear that a job has trained an epoch; they count from 1."""

    def ended(self, title: str, error: str | None, /) -> None:
        """Hear that a job is done, or has failed, and why."""


def run(jobs: Sequence[Job], at_once: int, num_threads: int, listener: Listener) -> dict[str, str]:
    """Do what is not done of jobs, what others need before these.

    Side by side, each is the work of a process with its share of the threads: to the bit what it is alone with as many.
    Ctrl-C and SIGTERM let every training write down where it stands.

    Args:
        jobs: in an order in which each could follow the others.
        at_once: how many; 1: they are done in this process.
        num_threads: that they share.
        listener: what is told of them.

    Returns:
        Why jobs have failed, by title. One that fails does not stop the others.
    """
    missing = [job for job in jobs if not job.done]
    if at_once == 1:
        return _here(missing, listener)
    failed = _here([job for job in missing if job.alone], listener)
    return failed | _beside([job for job in missing if not job.alone], at_once, num_threads, listener)


def _here(jobs: Sequence[Job], listener: Listener) -> dict[str, str]:
    failed = {}
    for job in jobs:
        listener.begun(job.title, job.stages)
        error = _attempt(job, partial(listener.epoch, job.title), lambda: False)
        listener.ended(job.title, error)
        if error:
            failed[job.title] = error
    return failed


def _attempt(job: Job, report: Callable[..., object], stop: Callable[[], bool]) -> str | None:
    """Do a job; return why it failed, where a user can mend it."""
    try:
        job.work(report, stop)
    except (TrainerError, ManifestError) as error:
        return str(error)
    return None


# --- side by side


@dataclass
class Worker:
    """A process at work; `error` is what it said of its end."""

    job: Job
    process: SpawnProcess
    ended: bool = False
    error: str | None = None


def _beside(jobs: Sequence[Job], at_once: int, num_threads: int, listener: Listener) -> dict[str, str]:
    waiting, failed, stopping = list(jobs), {}, False
    workers: dict[Connection, Worker] = {}
    try:
        with deferred_signals() as stopped:
            while True:
                if stopped() and not stopping:
                    stopping = True
                    _stop(workers)
                while not stopping and len(workers) < at_once and (job := _take(waiting)):
                    workers.update([_start(job, max(1, num_threads // at_once))])
                    listener.begun(job.title, job.stages)
                if not workers:
                    break
                for connection in wait(list(workers), SECONDS):
                    assert isinstance(connection, Connection)
                    if _hear(connection, workers[connection], listener):
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
    return failed | _here(waiting, listener)  # what they need there is not, as they will say


def _take(waiting: list[Job]) -> Job | None:
    """Take the first job that can begin."""
    for job in waiting:
        if job.ready:
            waiting.remove(job)
            return job
    return None


def _start(job: Job, threads: int) -> tuple[Connection, Worker]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(job, theirs))
    resource_tracker.ensure_running()  # or its start would end the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # it is told to stop, by this process only
    with _threads(threads):
        process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return ours, Worker(job, process)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let processes that are started have a number of threads: libraries read it when they are loaded."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(number)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _work(job: Job, connection: Connection) -> None:
    """Do a job in this process, until the other end says to stop, or is no more."""

    def tell(what: object) -> None:
        with suppress(OSError):
            connection.send(what)

    try:
        error = _attempt(job, lambda *told: tell(told), connection.poll)
    except Exception as bug:
        if type(bug).__name__ != "OutOfMemoryError":  # torch's, which is not loaded for it
            traceback.print_exc()
        error = f"{type(bug).__name__}: {bug}".splitlines()[0]
    tell(error)


def _hear(connection: Connection, worker: Worker, listener: Listener) -> bool:
    """Take one message; return whether there was one."""
    try:
        told: Any = connection.recv()
    except (EOFError, OSError):
        return False
    if isinstance(told, tuple):
        listener.epoch(worker.job.title, *told)
    else:
        worker.ended, worker.error = True, told
    return True


def _end(worker: Worker) -> str | None:
    """Wait for the end of a process; return why its job has failed."""
    worker.process.join()
    if worker.ended:
        return worker.error
    code = worker.process.exitcode or 0
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return (
        f"its process was ended from outside ({how}): too little memory? Fewer at once need less: --side-by-side. The "
        "same command goes on from the last checkpoint"
    )


def _stop(workers: dict[Connection, Worker]) -> None:
    for connection in workers:
        with suppress(OSError):
            connection.send(None)
