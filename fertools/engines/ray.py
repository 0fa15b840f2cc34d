"""Ray Data: the cores of a cluster, or of this machine. All nodes see the raw folder and the manifests by one path."""

import logging
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from fertools.errors import FertoolsError
from manifests.schema import ManifestError

Chunk = Sequence[Any]
Step = Callable[[Chunk], dict[str, Any]]


class EngineError(FertoolsError):
    """Ray is not there, or a chunk cannot be done on it."""


def run(
    step: Step, chunks: Sequence[Chunk], workers: int | None, address: str | None = None, gpu: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield what a step makes of each chunk, as they finish; Ray does again what is lost with a worker or a node.

    Args:
        step: a function that every node can import.
        chunks: what it is called with.
        workers: chunks in work at a time, and the cores of a Ray that is started here; null: one a core of the cluster.
        address: of a running cluster, `auto` for the one that this machine is part of; null: one is started here.
        gpu: the step needs one: the cluster's are shared out among its workers.

    Raises:
        EngineError: Ray is not installed, there is no cluster there, workers died again and again, or a step refused.
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
    try:
        _quiet(ray.data)
        has = ray.cluster_resources()
        workers = workers or int(has["CPU"])
        num_gpus = has.get("GPU", 0) / workers if gpu else 0
        data = ray.data.from_items([{"chunk": chunk} for chunk in chunks], override_num_blocks=len(chunks))
        done = data.map(_guarded, fn_args=(step,), num_cpus=1, num_gpus=num_gpus, concurrency=workers)
        for row in done.iter_rows():
            if row["refusal"]:
                raise EngineError(row["refusal"])
            yield row["done"]
    except ray.exceptions.RayError as error:
        raise EngineError(f"Ray gave up ({error}); `--engine local` names an image that ends its workers") from error
    finally:
        ray.shutdown()


def _guarded(row: dict[str, Any], step: Step) -> dict[str, Any]:
    """Do a step on one chunk; what a user can mend comes back as a value, as Ray would wrap it in words of its own."""
    import cv2

    cv2.setNumThreads(1)
    try:
        return {"done": step(row["chunk"]), "refusal": ""}
    except (FertoolsError, ManifestError) as error:
        return {"done": None, "refusal": str(error)}


def _quiet(data: Any) -> None:
    """Leave the terminal to our own progress."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
