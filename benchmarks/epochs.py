"""What a balanced epoch costs to draw: from the index of the training part, and as it was drawn before, from all pairs.

Before, an epoch searched the pairs of all epochs (the first 2^24) for their faces and gave torch.multinomial a weight
for each. Both draw from made-up faces: classes and people as uneven as AffectNet's. Contenders take turns; figures are
processor seconds, medians of the rounds. Writes docs/results/epochs.json: python benchmarks/epochs.py
"""

import argparse
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fertools.drawn import corpus
from fertools.folds import pairs
from trainer.data.balanced import PairIndex
from trainer.runs.made_by import made_by

CODE = ("fertools/folds", "trainer/data")
CLASS_SIZES = (74_874, 134_415, 25_459, 14_090, 6_378, 3_803, 24_882, 3_750)  # of AffectNet's training part
NUM_PEOPLE, MOST_PAIRS = 20_000, 2**24 - 1


def made_up_faces(num: int) -> tuple[Tensor, Tensor]:
    """Return the class and the person of each face; a person's number of faces falls off as one over their rank."""
    rng = np.random.default_rng(0)
    of_class, of_person = np.array(CLASS_SIZES, float), 1 / np.arange(1, NUM_PEOPLE + 1)
    classes = rng.choice(len(of_class), num, p=of_class / of_class.sum())
    return torch.from_numpy(classes), torch.from_numpy(rng.choice(NUM_PEOPLE, num, p=of_person / of_person.sum()))


def all_pairs(classes: Tensor, people: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return both sides of as many epochs of pairs as were drawn from before."""
    faces, num_epochs = np.arange(len(classes)), -(-MOST_PAIRS // len(classes))
    anchors, fill = pairs.draw(faces, classes.numpy(), people.numpy(), np.random.default_rng(0))
    partners = np.empty((num_epochs, len(anchors)), np.int32)
    fill(partners)
    return np.tile(anchors, num_epochs)[:MOST_PAIRS], partners.ravel()[:MOST_PAIRS]


def from_all_pairs(classes: Tensor, sides: tuple[np.ndarray, np.ndarray], num: int) -> list[Tensor]:
    """Draw an epoch as it was drawn before."""
    rows = np.arange(len(classes))
    generator = torch.Generator().manual_seed(0)
    found = [torch.from_numpy(np.searchsorted(rows, side)) for side in sides]
    torch.randperm(num, generator=generator)
    shown = classes[found[0]]
    shares = 1 / torch.bincount(shown)[shown].double()
    drawn = torch.multinomial(shares, num, replacement=True, generator=generator)
    return [side[drawn] for side in found]


def seconds(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median processor seconds of each contender."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 == 0 else reversed(list(runs)):
            start = time.process_time()
            runs[name]()
            taken[name].append(time.process_time() - start)
    return {name: round(median(times), 4) for name, times in taken.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=280_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results/epochs.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    classes, people = made_up_faces(arguments.rows)
    sides, index = all_pairs(classes, people), PairIndex.of(classes, people)
    num = len(index.anchors)
    figures = seconds(
        {
            "before, an epoch": lambda: from_all_pairs(classes, sides, num),
            "now, an epoch": lambda: index.draw(num, torch.Generator().manual_seed(0)),
            "now, the index, once a run": lambda: PairIndex.of(classes, people),
        },
        arguments.rounds,
    )
    result = {
        "made": made_by({"rows": arguments.rows, "rounds": arguments.rounds}, parts=CODE),
        "load": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("numpy", "torch")},
        "command": f"python benchmarks/epochs.py --rows {arguments.rows} --rounds {arguments.rounds}",
        "faces": arguments.rows, "pairs of an epoch": num, "processor seconds": figures,
        "times": round(figures["before, an epoch"] / figures["now, an epoch"]),
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    corpus.write_whole(arguments.out, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
