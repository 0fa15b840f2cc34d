"""Where the work on a dataset is done: each engine is one function that runs a step on every chunk, in any order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fertools.preparation.engines import local, ray
from fertools.preparation.engines.attempts import Chunk, Result, Step


@dataclass(frozen=True)
class Engine:
    """An engine as it is asked for.

    Attributes:
        name: local or ray.
        workers: processes; chunks that Ray has in work at a time, null: one a core of its cluster.
        address: of a Ray cluster; null: Ray is started on this machine.
    """

    name: str = "local"
    workers: int | None = 1
    address: str | None = None

    def run(self, step: Step, chunks: Sequence[Chunk], gpu: bool) -> Iterator[Result]:
        """Yield what a step makes of each chunk; a GPU is shared out where the step needs one."""
        if self.name == "ray":
            return ray.run(step, chunks, self.workers, self.address, gpu)
        return local.run(step, chunks, self.workers or 1)
