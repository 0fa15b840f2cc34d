"""Ctrl-C and SIGTERM, deferred until a training has written its checkpoint."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

DEFERRED = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether a signal has arrived; on exit, raise that signal.

    A second Ctrl-C is not deferred; SIGTERM always is, as schedulers send it directly and again through torchrun. In
    other threads than the main one nothing is deferred.
    """
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {signum: signal.getsignal(signum) for signum in DEFERRED}

    def restore() -> None:
        for signum, handler in before.items():
            signal.signal(signum, handler)

    def defer(signum: int, _frame: FrameType | None) -> None:
        arrived.append(signum)
        if signum == signal.SIGINT:
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    for signum in DEFERRED:
        signal.signal(signum, defer)
    try:
        yield lambda: bool(arrived)
    finally:
        restore()
    if arrived:
        signal.raise_signal(arrived[0])
