"""The processes of one machine."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2

MAX_DEATHS = 2  # of workers that had a chunk in hand: then it is worked at alone, then image by image
Chunk = Sequence[Any]
Step = Callable[[Chunk], dict[str, Any]]


def run(step: Step, chunks: Sequence[Chunk], workers: int) -> Iterator[dict[str, Any]]:
    """Yield what a step makes of each chunk, as they finish; {"lost": image} of one that no process survives.

    A worker that dies costs time, no chunk: the pool is made anew, and what was in its hands is done again. Two chunks
    a worker are in flight, so that memory does not grow with the number of chunks.

    Args:
        step: a function that can be sent to another process.
        chunks: what it is called with.
        workers: processes; one is this process.
    """
    if workers == 1 or len(chunks) <= 1:
        yield from map(step, chunks)
        return
    waiting = deque((chunk, 0) for chunk in chunks)
    while waiting:
        alone = waiting[0][1] >= MAX_DEATHS
        in_hand: dict[Future[dict[str, Any]], tuple[Chunk, int]] = {}
        pool = ProcessPoolExecutor(
            1 if alone else min(workers, len(waiting)), multiprocessing.get_context("spawn"), _start
        )
        try:
            yield from _work(pool, step, waiting, in_hand, 1 if alone else 2 * workers)
        except BrokenProcessPool:
            again = [(chunk, deaths + 1) for chunk, deaths in in_hand.values()]
            lost = [chunk for chunk, deaths in again if deaths > MAX_DEATHS]
            waiting.extendleft(entry for entry in again if entry[1] <= MAX_DEATHS)
            waiting.extendleft(([image], MAX_DEATHS) for chunk in lost if len(chunk) > 1 for image in chunk)
            yield from ({"lost": chunk[0]} for chunk in lost if len(chunk) == 1)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _work(
    pool: ProcessPoolExecutor,
    step: Step,
    waiting: deque[tuple[Chunk, int]],
    in_hand: dict[Future[dict[str, Any]], tuple[Chunk, int]],
    most: int,
) -> Iterator[dict[str, Any]]:
    """Move chunks from waiting to in hand and from there to the pool until none is left, or none of this kind."""
    alone = most == 1
    while in_hand or (waiting and (waiting[0][1] >= MAX_DEATHS) == alone):
        while waiting and len(in_hand) < most and (waiting[0][1] >= MAX_DEATHS) == alone:
            in_hand[pool.submit(step, waiting[0][0])] = waiting[0]
            waiting.popleft()
        finished, _ = wait(in_hand, return_when=FIRST_COMPLETED)
        for future in sorted(finished, key=lambda future: future.exception() is not None):  # what is done is done
            result = future.result()
            del in_hand[future]
            yield result


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: chunks in work are finished
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent has ended, however that came: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
