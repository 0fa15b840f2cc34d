"""Mutual information of pairs that are drawn anew as often as asked, held out: train, stop and judge on three parts.

A critic, wherever it was trained, bounds the information of the pairs that it is judged on from below (but for the bias
that the estimator states). So it may be trained on easier pairs: that loosens the bound and cannot lift it.
"""

import copy
import math
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trainer.methods.objectives.mutual_information import donsker_varadhan, info_nce, jensen_shannon, ksg, smile
from trainer.networks.critics import ConcatCritic, SeparableCritic

Pairs = tuple[Float[Tensor, "pairs left"], Float[Tensor, "pairs right"]]
Draw = Callable[[str], Pairs]  # all pairs of `train`, `validation` or `test`, in an order drawn anew
Critic = ConcatCritic | SeparableCritic
Objective = Callable[[Tensor, Tensor], Tensor]
Bounds = Callable[[Critic, Tensor, Tensor], list[float]]

BATCH, LARGEST, FEWEST = 128, 256, 6  # pairs: of a training step, of an InfoNCE estimate, of a part
STEPS, CHECK, PATIENCE = 300, 5, 10  # at most; between looks at `validation`; looks without a gain
LEARNING_RATE, WIDTH = 5e-4, 128
ROLLS, REPEATS = 22, 8  # shifts that stand for independence; draws of the part to judge on
NEIGHBOURS, COMPONENTS = (3, 5), 8


def separable_bound(draw: Draw, seed: int, steps: int = STEPS) -> dict[str, float]:
    """Return InfoNCE of a separable critic, in batches of the same size for all parts: see `estimate_size`."""
    if not _enough(draw):
        return {"nce": math.nan}
    size = estimate_size(draw)

    def bounds(critic: Critic, left: Tensor, right: Tensor) -> list[float]:
        places = torch.arange(len(left) // size * size).view(-1, size)
        return [float(np.mean([float(info_nce(*critic(left[batch, None], right[batch]))) for batch in places]))]

    (value,) = _held_out(_critic(SeparableCritic, draw, "all", seed), info_nce, bounds, draw, steps)
    return {"nce": value}


def estimate_size(draw: Draw) -> int:
    """Return how many pairs an InfoNCE estimate takes: the smaller of validation and test part, at most 256."""
    return min(LARGEST, *(len(draw(name)[0]) for name in ("validation", "test")))


def joined_bounds(draw: Draw, seed: int, steps: int = STEPS) -> dict[str, float]:
    """Return Donsker-Varadhan and SMILE of a critic on joined codes that was trained by Jensen-Shannon."""
    if not _enough(draw):
        return dict.fromkeys(("dv", "smile"), math.nan)

    def bounds(critic: Critic, left: Tensor, right: Tensor) -> list[float]:
        shifts = range(0, min(ROLLS, len(right) - 1), 2)  # the critic itself adds one: every second is enough
        scores = [critic(left[:, None], right.roll(shift, 0)) for shift in shifts]
        joint, *marginal = (each for both in scores for each in both)
        return [float(estimate(joint, torch.cat(marginal))) for estimate in (donsker_varadhan, smile)]

    found = _held_out(_critic(ConcatCritic, draw, "shift", seed), jensen_shannon, bounds, draw, steps)
    return dict(zip(("dv", "smile"), found, strict=True))


def neighbours(draw: Draw) -> dict[str, float]:
    """Return KSG of the test part, among the first principal components of the training part."""
    from sklearn.decomposition import PCA

    if not _enough(draw):
        return dict.fromkeys((f"ksg{k}" for k in NEIGHBOURS), math.nan)
    left, right = (
        PCA(min(COMPONENTS, *train.shape)).fit(train.numpy()).transform(test.numpy())
        for train, test in zip(draw("train"), draw("test"), strict=True)
    )
    return {f"ksg{k}": ksg(left, right, k) for k in NEIGHBOURS}


def _enough(draw: Draw) -> bool:
    return all(len(draw(name)[0]) >= FEWEST for name in ("train", "validation", "test"))


def _critic(kind: type[Critic], draw: Draw, negatives: str, seed: int) -> Critic:
    left, right = draw("train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(left.shape[1], right.shape[1], WIDTH, negatives)


def _held_out(critic: Critic, objective: Objective, bounds: Bounds, draw: Draw, steps: int) -> list[float]:
    """Train a critic; return its bounds on `test` as it was when the first of them was highest on `validation`."""
    optimizer = torch.optim.Adam(critic.parameters(), lr=LEARNING_RATE)
    watched = [draw("validation") for _ in range(2)]
    best, waited, weights = -math.inf, 0, critic.state_dict()
    for step, (left, right) in enumerate(islice(_batches(draw), steps + 1)):
        if step % CHECK == 0:
            with torch.no_grad():
                now = float(np.mean([bounds(critic, *pairs)[0] for pairs in watched]))
            if now > best:
                best, waited, weights = now, 0, copy.deepcopy(critic.state_dict())
            elif (waited := waited + 1) > PATIENCE:
                break
        optimizer.zero_grad()
        torch.autograd.backward(-objective(*critic(left[:, None], right)).mean())
        optimizer.step()
    critic.load_state_dict(weights)
    with torch.no_grad():
        found = np.mean([bounds(critic, *draw("test")) for _ in range(REPEATS)], axis=0)
    return [float(value) for value in found]


def _batches(draw: Draw) -> Iterator[Pairs]:
    while True:
        left, right = draw("train")
        num = math.ceil(len(left) / BATCH)
        yield from zip(left.tensor_split(num), right.tensor_split(num), strict=True)
