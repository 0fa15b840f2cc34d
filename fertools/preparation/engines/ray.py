"""Ray Data: the cores of a cluster, or of this machine. All nodes see the raw folder and the manifests by one path."""

import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module
from typing import Any

from fertools.errors import FertoolsError
from fertools.preparation.engines.attempts import Chunk, Result, Step, finish


class EngineError(FertoolsError):
    """Ray is not there, or it cannot work."""


def run(
    step: Step, chunks: Sequence[Chunk], workers: int | None, address: str | None = None, gpu: bool = False
) -> Iterator[Result]:
    """Yield what a step makes of each chunk, as they finish; {"lost": image} of one that no process survives.

    A worker or a node that is lost costs time, no chunk.

    Args:
        step: a function that every node can import.
        chunks: what it is called with.
        workers: chunks in work at a time, and the cores of a Ray that is started here; null: one a core of the cluster.
        address: of a running cluster, `auto` for the one that this machine is part of; null: one is started here.
        gpu: the step needs one: the cluster's are shared out among its workers.

    Raises:
        EngineError: Ray is not installed, there is no cluster there, or its workers cannot do anything.
    """
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ImportError:
        raise EngineError("--engine ray needs Ray; install it: pip install 'fertools[ray]'") from None
    if not chunks:
        return
    started = {"num_cpus": workers, "include_dashboard": False} if address is None else {}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **started)
    except ConnectionError as error:
        raise EngineError(f"no Ray cluster at {address!r} ({error}); start one: ray start --head") from error
    with redirect_stdout(sys.stderr):  # Ray tells of dead workers there; what stands on stdout may be read as JSON
        try:
            _quiet(ray.data)
            has = ray.cluster_resources()
            workers = workers or int(has["CPU"])
            num_gpus = min(1, has.get("GPU", 0) / workers) if gpu else 0  # above one, Ray gives whole ones only
            yield from finish(partial(_attempt, ray, step, workers, num_gpus), chunks)
        except ray.exceptions.RayError as error:
            raise EngineError(f"Ray gave up: {error}") from error
        finally:
            ray.shutdown()


def _attempt(
    ray: Any, step: Step, workers: int, num_gpus: float, chunks: Sequence[Chunk], alone: bool
) -> Iterator[tuple[int, Result]]:
    """Work at each chunk once; yield number and result of those whose worker lived.

    Ray Data does again for ever what its worker died of. So it is told of each chunk that is begun: at the second time,
    the worker that had it first has died.
    """
    begun = ray.remote(num_cpus=0)(_Begun).remote()
    rows = [{"number": number, "chunk": chunk} for number, chunk in enumerate(chunks)]
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _guarded, fn_args=(step, begun), num_cpus=1, num_gpus=num_gpus,
        compute=ray.data.TaskPoolStrategy(1 if alone else min(workers, len(rows))),
    )  # fmt: skip
    for row in done.iter_rows():
        if row["raised"] is not None:
            raise row["raised"]
        if row["done"] is not None:
            yield row["number"], row["done"]


class _Begun:
    """Which chunks were begun: one process of the cluster, that all workers ask."""

    def __init__(self) -> None:
        self._numbers: set[int] = set()

    def before(self, number: int) -> bool:
        """Return whether a chunk was begun before; it is now."""
        known = number in self._numbers
        self._numbers.add(number)
        return known


def _guarded(row: dict[str, Any], step: Step, begun: Any) -> dict[str, Any]:
    """Do a step on one chunk; what it raises comes back as a value, as Ray would wrap it in words of its own."""
    import cv2

    told = {"number": row["number"], "done": None, "raised": None}
    if import_module("ray").get(begun.before.remote(row["number"])):
        return told
    cv2.setNumThreads(1)
    try:
        return told | {"done": step(row["chunk"])}
    except Exception as error:
        error.add_note(traceback.format_exc())
        return told | {"raised": error}


def _quiet(data: Any) -> None:
    """Leave the terminal to our own progress."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
