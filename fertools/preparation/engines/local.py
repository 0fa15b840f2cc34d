"""The processes of one machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import cv2

from fertools.preparation.engines.attempts import Chunk, Result, Step, finish


def run(step: Step, chunks: Sequence[Chunk], workers: int) -> Iterator[Result]:
    """Yield what a step makes of each chunk, as they finish; {"lost": image} of one that no process survives.

    A worker that dies costs time, no chunk. Memory does not grow with the number of chunks.

    Args:
        step: a function that can be sent to another process.
        chunks: what it is called with.
        workers: processes; one is this process, which ends with an image that ends it.
    """
    if workers == 1:
        yield from map(step, chunks)
    else:
        yield from finish(partial(_attempt, step, workers), chunks)


def _attempt(step: Step, workers: int, chunks: Sequence[Chunk], alone: bool) -> Iterator[tuple[int, Result]]:
    """Work at each chunk once; yield number and result of those whose worker lived."""
    waiting = list(enumerate(chunks))[::-1]
    idle = [_worker() for _ in range(1 if alone else min(workers, len(chunks)))]
    in_hand: dict[Future[Result], tuple[int, ProcessPoolExecutor]] = {}
    try:
        while waiting or in_hand:
            while waiting and idle:
                number, chunk = waiting.pop()
                worker = idle.pop()
                in_hand[_submit(worker, step, chunk)] = number, worker
            finished, _ = wait(in_hand, return_when=FIRST_COMPLETED)
            for future in finished:
                number, worker = in_hand.pop(future)
                died = isinstance(future.exception(), BrokenProcessPool)
                idle.append(_worker() if died else worker)
                if not died:
                    yield number, future.result()
    finally:
        pools = [*idle, *(worker for _, worker in in_hand.values())]
        with ThreadPoolExecutor(len(pools)) as ending:  # all together: each takes a moment
            ending.map(ProcessPoolExecutor.shutdown, pools)


def _worker() -> ProcessPoolExecutor:
    """Return one process, so that one which dies takes one chunk with it; it is started by what it is given first."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), start_worker)


def _submit(worker: ProcessPoolExecutor, step: Step, chunk: Chunk) -> Future[Result]:
    try:
        return worker.submit(step, chunk)
    except BrokenProcessPool as error:  # it died while it had nothing in hand
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


def start_worker() -> None:
    """Make a process a worker: of one thread, deaf to Ctrl-C, and ended when its parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: chunks in work are finished
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent has ended, however that came: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
