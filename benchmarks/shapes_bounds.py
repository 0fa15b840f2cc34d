"""What DICE-FER has to show on coloured shapes: read by shapes.py.

All was set before any run but for T15, which at first read the end of a training alone: by then the leak's alarm had
given way to that of a diverging critic.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from coloured import NUM_HUES, SHAPES

Row = dict[str, Any]
CHANCE = {"shape": 1 / len(SHAPES), "foreground": 1 / NUM_HUES, "background": 1 / NUM_HUES}


class Bound(NamedTuple):
    """What was found, a value a run or seed (none: not run), and the range that is accepted."""

    name: str
    found: list[float]
    low: float
    high: float


def judged(first: list[Row], second: list[Row], strict: bool) -> list[dict[str, Any]]:
    """Judge the rows of stage 1 and stage 2; the strict bounds are for long runs."""
    bounds = [*of_stage_1(first), *of_stage_2(second), *(of_long_runs(first, second) if strict else ())]
    return [
        {"name": name, "found": found, "accepted": [low, high if math.isfinite(high) else None],
         "holds": all(low <= value <= high for value in found)}
        for name, found, low, high in bounds if found
    ]  # fmt: skip


def of_stage_1(rows: list[Row]) -> Iterator[Bound]:
    """What E holds, and which trainings are named for what is wrong with them."""
    for name in ("jsd", "default"):
        for factor, low, high in (("shape", 0.95, 1), ("foreground", 0, 0.35), ("background", 0, 0.30)):
            yield Bound(f"7.3: {name}: {factor} from E, linear", _read(rows, name, factor), low, high)
        mine = _of(rows, name)
        yield Bound(f"7.3: {name}: global nats on new pairs", [row["nats"]["global"] for row in mine], 1.65, 1.95)
        yield Bound(f"7.3: {name}: no collapse: spread of E", [row["spread of E"] for row in mine], 0.01, math.inf)
    bare, full = (_read(rows, name, "foreground") for name in ("jsd, delta = 0", "jsd"))
    yield Bound("7.3: jsd, no swap: foreground from E, linear", _read(rows, "jsd, no swap", "foreground"), 0.75, 1)
    yield Bound("7.3: foreground from E, linear: delta = 0 less jsd", _differences(bare, full), 0.10, 1)
    for title, name, word in (
        ("T6: dv, no swap: divergence is named", "dv, no swap", "diverges"),
        ("T15: pairs alike: the leak is named", "jsd, pairs alike", "leak"),
    ):
        yield Bound(f"{title} (1: yes)", [float(word in (row["concern"] or "")) for row in _of(rows, name)], 1, 1)


def of_stage_2(rows: list[Row]) -> Iterator[Bound]:
    """What I holds under the strong discriminator, and that E stays as it is."""
    told = [row["in training"]["discriminator"] for row in _of(rows, "zeta = 0")]
    yield Bound("T16: zeta = 0: loss of the strong discriminator", told, 0, 1.25)
    for name in ("zeta = 0", "zeta = 0.1", "zeta = 1"):
        for factor in ("foreground", "background"):
            yield Bound(f"7.4: {name}: {factor} from I, mlp", _read(rows, name, factor, "mlp"), 0.85, 1)
    free = _read(rows, "zeta = 0", "shape", "mlp")
    for name, gap in (("zeta = 0.1", 0.15), ("zeta = 1", 0.20)):
        hidden = _differences(free, _read(rows, name, "shape", "mlp"))
        yield Bound(f"7.4: shape from I, mlp: zeta = 0 less {name}", hidden, gap, 1)
    yield Bound("T12: E bitwise unchanged (1: yes)", [float(row["E is bitwise as before"]) for row in rows], 1, 1)


def of_long_runs(first: list[Row], second: list[Row]) -> Iterator[Bound]:
    """Each code holds all of its own factors, and of the other's next to nothing, whichever probe reads it."""
    for rows, name, own in ((first, "jsd", ("shape",)), (second, "zeta = 1", ("foreground", "background"))):
        for factor, chance in CHANCE.items():
            low, high = (0.98, 1.0) if factor in own else (0.0, chance + 0.10)
            best = [
                max(both) for both in zip(*(_read(rows, name, factor, by) for by in ("linear", "mlp")), strict=True)
            ]
            yield Bound(f"strict: {name}: {factor}, best probe", best, low, high)


def _of(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if row["run"] == name]


def _read(rows: list[Row], name: str, factor: str, probe: str = "linear") -> list[float]:
    return [row["probes"][probe][factor] for row in _of(rows, name)]


def _differences(more: list[float], less: list[float]) -> list[float]:
    return [a - b for a, b in zip(more, less, strict=False)]  # a seed each, of as many as both have
