"""Ctrl-C and SIGTERM, held back until a training has written down where it stands."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HELD_BACK = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Yield whether to stop; at the end, do what the signal asks for.

    A second Ctrl-C is not held back; SIGTERM always is, for schedulers send it to a process and again by torchrun.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in HELD_BACK}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hold(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    for number in HELD_BACK:
        signal.signal(number, hold)
    try:
        yield lambda: bool(came)
    finally:
        restore()
    if came:
        signal.raise_signal(came[0])
