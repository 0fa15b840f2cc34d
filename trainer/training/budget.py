"""What a training was given: steps, faces, optimizer updates and processor seconds, counted stage by stage.

Budgets are compared by the stages that train the expression code (`Stage.trains_code`): equal is the same number of
steps, of faces in them, and of updates. What else a method trains (an identity code, a classifier on a frozen code) is
counted and written down, and is no part of that comparison.
"""

import time
from typing import Any

import torch

from trainer.methods.base import Pairs, Stage
from trainer.runs.distributed import all_reduce_sum

Budget = dict[str, dict[str, int | float]]  # stage -> steps, faces, updates, processor_seconds; trains_code: 0 or 1


class Meter:
    """Counts what a stage takes, since it was last read."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._started = stage, time.process_time()
        self._steps = self._faces = self._updates = 0
        for optimizer in stage.optimizers:
            optimizer.register_step_post_hook(self._update)

    def count(self, batch: Any) -> None:
        """Count a step on a batch; a pair is two faces."""
        self._steps += 1
        self._faces += len(batch[0]) * (2 if self._stage.reads is Pairs else 1)

    def add_to(self, budget: Budget) -> Budget:
        """Return the budget with what was counted, by all processes, and begin anew."""
        now = time.process_time()
        faces, seconds = all_reduce_sum(torch.tensor([self._faces, now - self._started], dtype=torch.float64)).tolist()
        counted = {"steps": self._steps, "faces": int(faces), "updates": self._updates, "processor_seconds": seconds}
        before = budget.get(self._stage.name, {})
        total = {name: before.get(name, 0) + value for name, value in counted.items()}
        self._steps = self._faces = self._updates = 0
        self._started = now
        return budget | {self._stage.name: total | {"trains_code": int(self._stage.trains_code)}}

    def _update(self, *_: object) -> None:
        self._updates += 1
