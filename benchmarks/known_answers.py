"""Problems whose mutual information is known, and what critics trained on them find: read by gaussians.py."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainer.methods.objectives.mutual_information import ESTIMATORS, donsker_varadhan, mine
from trainer.networks.critics import CRITICS, joint_and_marginal

DIMS = 20
WIDTH = 256  # units of a hidden layer
LAST = 500  # steps that a training value is the mean of
NEW = 100  # seed of the pairs that no critic was trained on
READINGS = {  # what trains a critic: what reads its scores. SMILE's gradient is that of jsd
    "dv": ("dv",), "mine": ("dv",), "jsd": ("dv", "smile"), "nwj": ("nwj",), "nce": ("nce",)
}  # fmt: skip

Pairs = tuple[Tensor, Tensor]
Draw = Callable[[int], Pairs]  # so many new pairs


class Effort(NamedTuple):
    """How much is measured."""

    nats: tuple[float, ...]
    steps: dict[str, int]
    held_out: int  # pairs
    seeds: int  # of the known answers


class Trained(NamedTuple):
    """A critic, made to score all pairs, and each reading of its scores in every step: (steps,)."""

    score: nn.Module
    values: dict[str, Tensor]


def correlation(nats: float) -> float:
    """Return the correlation of each coordinate's pair."""
    return math.sqrt(1 - math.exp(-2 * nats / DIMS))


def gaussians(nats: float, seed: int) -> Draw:
    """Pairs whose coordinates are correlated one by one, and share so much in all."""
    generator, rho = torch.Generator().manual_seed(seed), correlation(nats)

    def draw(num: int) -> Pairs:
        x, noise = torch.randn(2, num, DIMS, generator=generator)
        return x, rho * x + math.sqrt(1 - rho**2) * noise

    return draw


def of_one_class(seed: int) -> Draw:
    """Pairs of noisy one-hot vectors of the same of 7 classes, with 8 coordinates of noise: they share log 7 nats."""
    generator = torch.Generator().manual_seed(seed)

    def draw(num: int) -> Pairs:
        classes = torch.eye(7)[torch.randint(7, (num,), generator=generator)]
        shown, noise = torch.randn(2, num, 7, generator=generator), torch.randn(2, num, 8, generator=generator)
        x, y = torch.cat([classes + 0.1 * shown, noise], dim=-1)
        return x, y

    return draw


def objective(by: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what trains a critic; MINE keeps its average."""
    if by != "mine":
        return ESTIMATORS[by]
    average = torch.full((1,), -math.inf)

    def estimate(joint: Tensor, marginal: Tensor) -> Tensor:
        nonlocal average
        value, average = mine(joint, marginal, average)
        return value

    return estimate


def train(draw: Draw, by: str, critic: str, negatives: str, batch: int, steps: int, seed: int) -> Trained:
    """Train a critic with Adam, 1e-3, on a batch of new pairs a step."""
    torch.manual_seed(seed)
    size = draw(2)[0].shape[1]
    score, reader = (CRITICS[critic](size, size, WIDTH, kind) for kind in (negatives, "all"))
    optimizer, estimate = torch.optim.Adam(score.parameters(), lr=1e-3), objective(by)
    values = {reading: torch.empty(steps) for reading in READINGS[by]}
    for step in range(steps):
        x, y = draw(batch)
        joint, marginal = score(x.unsqueeze(1), y)
        optimizer.zero_grad()
        (-estimate(joint, marginal)).sum().backward()
        optimizer.step()
        for reading in values:
            values[reading][step] = ESTIMATORS[reading](joint.detach(), marginal.detach())
    reader.load_state_dict(score.state_dict())
    return Trained(reader, values)


@torch.no_grad()
def scores(score: nn.Module, draw: Draw, num: int, batch: int) -> Pairs:
    """Score pairs, batch by batch: those that belong together, and all others within a batch."""
    found = [score(x.unsqueeze(1), y) for x, y in (draw(batch) for _ in range(num // batch))]
    joint, marginal = (torch.cat(side) for side in zip(*found, strict=True))
    return joint, marginal


def best_critic(seed: int) -> float:
    """Donsker-Varadhan by the log density ratio, less its constant, at 2 nats: the mean of 2000 batches of 32."""
    draw, rho, found = gaussians(2, seed), correlation(2), []
    for _ in range(2000):
        x, y = draw(32)
        quadratic = rho**2 * ((x**2).sum(1)[:, None] + (y**2).sum(1)) - 2 * rho * x @ y.T
        found.append(donsker_varadhan(*joint_and_marginal((-quadratic / (2 - 2 * rho**2)).unsqueeze(-1), "all")))
    return torch.cat(found).mean().item()


def diverged(values: Tensor, batch: int) -> int:
    """Return the step at which the mean of 100 values exceeds three times the logarithm of the negatives; or 0."""
    above = (values.unfold(0, min(100, len(values)), 1).mean(1) > 3 * math.log(batch)).nonzero()
    return min(100, len(values)) + int(above[0]) if len(above) else 0


def permuted(effort: Effort, seed: int) -> float:
    """Donsker-Varadhan where partners were dealt at random: a third of the pairs trains, one stops, one is reported."""
    num, generator = effort.held_out, torch.Generator().manual_seed(seed)
    x, y = gaussians(2, seed)(3 * num)
    parts = list(zip(x.split(num), y[torch.randperm(3 * num, generator=generator)].split(num), strict=True))

    def again(size: int) -> Pairs:
        rows = torch.randperm(num, generator=generator)[:size]
        return parts[0][0][rows], parts[0][1][rows]

    def estimate(score: nn.Module, part: Pairs) -> float:
        batches = zip(part[0].split(32), part[1].split(32), strict=True)
        return donsker_varadhan(*scores(score, lambda _: next(batches), num, 32)).item()

    stops = sorted({max(1, effort.steps["known"] // divisor) for divisor in (80, 40, 20, 10, 5)})
    stopped = [train(again, "dv", "concat", "all", 32, steps, seed).score for steps in stops]
    return estimate(max(stopped, key=lambda score: estimate(score, parts[1])), parts[2])


def answer(name: str, found: list[float], low: float, high: float) -> dict[str, Any]:
    """What was found, a value a seed, and the bounds that were set before."""
    return {
        "name": name,
        "found": found,
        "accepted": [low, high],
        "holds": all(low <= value <= high for value in found),
    }


def of_gaussians(effort: Effort) -> Iterator[dict[str, Any]]:
    """Estimates on new pairs, and the divergence of Donsker-Varadhan with one shift."""
    steps, seeds = effort.steps["known"], range(effort.seeds)

    def trained(by: str, nats: float, batch: int) -> list[Trained]:
        return [train(gaussians(nats, seed), by, "concat", "shift", batch, steps, seed) for seed in seeds]

    def read(critics: list[Trained], nats: float, batch: int, name: str = "dv") -> list[float]:
        drawn = [scores(critic.score, gaussians(nats, NEW), effort.held_out, batch) for critic in critics]
        return [ESTIMATORS[name](*pairs).item() for pairs in drawn]

    bounds = {("jsd", 2): (1.7, 2.2), ("mine", 2): (1.6, 2.1), ("jsd", 8): (7.0, 8.8), ("mine", 8): (5.0, 8.0)}
    for (by, nats), (low, high) in bounds.items():
        critics = trained(by, nats, 128)
        yield answer(f"a: {nats} nats, {by} with one shift, B = 128, read by dv", read(critics, nats, 128), low, high)
        if (by, nats) == ("jsd", 2):
            yield answer("a: the same critics, read by nce among 200", read(critics, nats, 200, "nce"), 1.65, 2.0)
    for batch in (128, 32):
        when = [diverged(critic.values["dv"], batch) for critic in trained("dv", 8, batch)]
        yield answer(f"a, T6: 8 nats, dv with one shift, B = {batch}: step of divergence", when, 1, 3000)
    yield answer("a: 0.5 nats, dv with one shift, B = 32", read(trained("dv", 0.5, 32), 0.5, 32), 0.35, 0.55)
    yield answer("a: 2 nats, the best critic, all negatives, B = 32", [best_critic(0)], 1.95, 2.10)


def of_classes(effort: Effort) -> Iterator[dict[str, Any]]:
    """Pairs that share a class of 7, log 7 = 1.946 nats; and pairs that share nothing."""
    steps, seeds = effort.steps["known"], range(effort.seeds)
    critics = [train(of_one_class(seed), "dv", "concat", "all", 32, steps, seed) for seed in seeds]
    found = [critic.values["dv"][-LAST:].mean().item() for critic in critics]
    yield answer("b: one class of 7, dv, all negatives, B = 32: in training", found, 1.896, 1.996)
    drawn = [scores(critic.score, of_one_class(NEW), effort.held_out, 32) for critic in critics]
    found = [donsker_varadhan(*pairs).item() for pairs in drawn]
    yield answer("b: the same critics: new pairs", found, 1.90, 1.996)
    drifted = train(of_one_class(0), "dv", "concat", "shift", 32, effort.steps["drift"], 0)
    last = drifted.values["dv"][-LAST:]
    new = donsker_varadhan(*scores(drifted.score, of_one_class(NEW), effort.held_out, 32)).item()
    yield {"name": "b: one shift, three times the steps: in training", "found": [last.mean().item()]}
    yield {"name": "b: the same critic: spread in training", "found": [last.std().item()]}
    yield {"name": "b: the same critic: new pairs", "found": [new]}
    yield answer("c: permuted pairs", [permuted(effort, seed) for seed in seeds], -0.05, 0.05)
