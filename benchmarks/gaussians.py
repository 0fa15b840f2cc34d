"""Every estimator of mutual information against the truth: Gaussian pairs that share 0.5 to 10 nats in 20 dimensions.

Critics are trained on new pairs in every step, and read on others. Then the problems of known_answers.py, against
bounds set beforehand. About 25 minutes of one core.

Writes docs/results/gaussians.json and docs/results/gaussians.png: python benchmarks/gaussians.py
"""

import argparse
import importlib.metadata
import io
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from known_answers import (
    DIMS,
    LAST,
    NEW,
    READINGS,
    WIDTH,
    Effort,
    Pairs,
    correlation,
    gaussians,
    of_classes,
    of_gaussians,
    scores,
    train,
)
from torch import nn

from fertools.drawn.corpus import write_whole
from trainer.methods.objectives.mutual_information import ESTIMATORS, club, ksg
from trainer.networks.critics import joint_and_marginal

matplotlib.use("agg")  # no display
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.text import Annotation  # noqa: E402

PACKAGES = ("torch", "numpy", "scipy", "matplotlib")
BATCH, SHIFT_BATCH = 64, 32
FULL = Effort(
    nats=(0.5, 1, 2, 4, 6, 8, 10), held_out=4000, seeds=3,
    steps={"concat": 1000, "separable": 4000, "shift": 3000, "likelihood": 3000, "known": 4000, "drift": 12000},
)  # fmt: skip
QUICK = Effort(nats=(2, 8), steps=dict.fromkeys(FULL.steps, 20), held_out=400, seeds=1)
PANELS = {  # title: rows by (trained by, read by, negatives)
    "Donsker-Varadhan, one shift": ("dv", "dv", "shift"),
    "Donsker-Varadhan, all negatives": ("dv", "dv", "all"),
    "MINE": ("mine", "dv", "all"),
    "Jensen-Shannon, read by Donsker-Varadhan": ("jsd", "dv", "all"),
    "SMILE": ("jsd", "smile", "all"),
    "NWJ": ("nwj", "nwj", "all"),
    "InfoNCE": ("nce", "nce", "all"),
    "CLUB, an upper bound (mind the scale)": ("likelihood", "club", "all"),
    "KSG, k = 3: no critic": (None, "ksg", None),
}
COLOURS = {"concat": "tab:blue", "separable": "tab:orange", "Gaussian conditional": "tab:green", None: "tab:green"}


def variational(nats: float, effort: Effort, seed: int) -> Iterator[dict[str, Any]]:
    """Train and read every critic at one true information."""
    plans = [(by, critic, "all", BATCH, effort.steps[critic]) for critic in ("separable", "concat") for by in READINGS]
    for plan in [*plans, ("dv", "concat", "shift", SHIFT_BATCH, effort.steps["shift"])]:
        by, critic, negatives, batch, steps = plan
        trained = train(gaussians(nats, seed), *plan, seed)
        held_out = scores(trained.score, gaussians(nats, NEW), effort.held_out, batch)
        for reading in READINGS[by]:
            last = trained.values[reading][-LAST:]
            yield {
                "trained by": by, "read by": reading, "critic": critic, "negatives": negatives, "batch": batch,
                "steps": steps, "nats": nats, "training": last.mean().item(), "training spread": last.std().item(),
                "held out": ESTIMATORS[reading](*held_out).item(),
                "ceiling": math.log(batch) if reading == "nce" else None,
                "log marginal pairs": math.log(batch * (batch - 1 if negatives == "all" else 1)),
            }  # fmt: skip


def upper_bound(nats: float, effort: Effort, seed: int) -> dict[str, Any]:
    """Learn a Gaussian density of y given x by likelihood, and read it by CLUB."""
    torch.manual_seed(seed)
    draw, rho, steps = gaussians(nats, seed), correlation(nats), effort.steps["likelihood"]
    model = nn.Sequential(nn.Linear(DIMS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2 * DIMS))
    optimizer, values = torch.optim.Adam(model.parameters(), lr=1e-3), torch.empty(steps)

    def log_densities(pairs: Pairs) -> Pairs:
        mean, log_spread = model(pairs[0]).unsqueeze(1).chunk(2, dim=2)
        every = torch.distributions.Normal(mean, log_spread.exp()).log_prob(pairs[1]).sum(-1)
        return joint_and_marginal(every.unsqueeze(-1), "all")

    for step in range(steps):
        joint, marginal = log_densities(draw(BATCH))
        optimizer.zero_grad()
        (-joint.mean()).backward()
        optimizer.step()
        values[step] = club(joint.detach(), marginal.detach())
    with torch.no_grad():
        held_out = [log_densities(draw(BATCH)) for _ in range(effort.held_out // BATCH)]
    return {
        "trained by": "likelihood", "read by": "club", "critic": "Gaussian conditional", "negatives": "all",
        "batch": BATCH, "steps": steps, "nats": nats, "training": values[-LAST:].mean().item(),
        "training spread": values[-LAST:].std().item(),
        "held out": club(*(torch.cat(side) for side in zip(*held_out, strict=True))).item(),
        "ceiling": None, "with the true conditional": DIMS * rho**2 / (1 - rho**2),
    }  # fmt: skip


def neighbours(nats: float, effort: Effort, seed: int) -> dict[str, Any]:
    """KSG in all 20 dimensions at once, which are too many for it."""
    x, y = (side.numpy() for side in gaussians(nats, seed)(effort.held_out))
    return {
        "trained by": None, "read by": "ksg", "critic": None, "negatives": None, "nats": nats,
        "held out": ksg(x, y, k=3), "ceiling": sum(1 / n for n in range(3, effort.held_out)),  # psi(n) - psi(k)
    }  # fmt: skip


def panel(axes: Axes, title: str, rows: list[dict[str, Any]]) -> None:
    """Draw one estimator: the truth, the ceiling, what was found in training (band: spread) and on new pairs."""
    high = 36 if rows[0]["read by"] == "club" else 14
    axes.plot([0, 10], [0, 10], "--", color="0.4", linewidth=1, zorder=1)
    for critic in dict.fromkeys(row["critic"] for row in rows):
        own, colour = [row for row in rows if row["critic"] == critic], COLOURS[critic]
        nats, new = [row["nats"] for row in own], [row["held out"] for row in own]
        if "training" in own[0]:
            mean, spread = (np.array([row[name] for row in own]) for name in ("training", "training spread"))
            axes.plot(nats, mean, color=colour, linewidth=1.5)
            axes.fill_between(nats, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
            off_the_scale(axes, nats, list(mean), -high / 10, high, colour)
        axes.plot(nats, new, "o", color=colour, markersize=5, markeredgecolor="white")
        off_the_scale(axes, nats, new, -high / 10, high, colour)
    if "with the true conditional" in rows[0]:
        axes.plot(nats, [row["with the true conditional"] for row in rows], ":", color="black", linewidth=1)
    ceiling, sound = rows[0]["ceiling"], rows[0].get("log marginal pairs")
    if level := ceiling or sound:
        name = f"ceiling {level:.2f}" if ceiling else f"log of marginal pairs {level:.2f}"
        axes.axhline(level, color="tab:red", linestyle="-" if ceiling else ":", linewidth=1)
        place, side = (10.9, "right") if level < 6 else (0.1, "left")  # where the truth is elsewhere
        axes.text(place, level + 0.15, name, fontsize=8, color="tab:red", ha=side)
    axes.set(title=title, xlim=(0, 11), ylim=(-high / 10, high))
    axes.title.set_fontsize(10)


def off_the_scale(axes: Axes, nats: list[float], values: list[float], low: float, high: float, colour: str) -> None:
    """Write what lies above or below the panel at its edge."""
    for place, value in zip(nats, values, strict=True):
        if low <= value <= high:
            continue
        edge, marker, away, upright = (high, "^", -6, "top") if value > high else (low, "v", 6, "bottom")
        away *= 1 + 1.5 * sum(isinstance(text, Annotation) and text.xy == (place, edge) for text in axes.texts)
        axes.plot(place, edge, marker, color=colour, clip_on=False, zorder=3)
        axes.annotate(f"{value:,.0f}", (place, edge), (0, away), textcoords="offset points", fontsize=7,
                      ha="center", va=upright, color=colour)  # fmt: skip


def picture(rows: list[dict[str, Any]]) -> bytes:
    """Small multiples, a panel an estimator."""
    figure, grid = plt.subplots(3, 3, figsize=(11, 9.6), layout="constrained", sharex=True)
    for axes, (title, key) in zip(grid.flat, PANELS.items(), strict=True):
        panel(axes, title, [row for row in rows if (row["trained by"], row["read by"], row["negatives"]) == key])
    figure.supxlabel("true mutual information (nats)")
    figure.supylabel("estimate (nats)")
    handles = [plt.Line2D([], [], color="0.4", linestyle="--", label="truth"),
               plt.Line2D([], [], color="0.2", label="in training, mean and spread of the last steps"),
               plt.Line2D([], [], color="0.2", marker="o", linestyle="", label="new pairs (arrows: off the scale)"),
               plt.Line2D([], [], color="black", linestyle=":", label="CLUB, true conditional"),
               *(plt.Line2D([], [], color=COLOURS[name], linewidth=4, label=f"{name} critic")
                 for name in ("concat", "separable"))]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, dpi=110, metadata={"Software": None})
    return content.getvalue()


def measure(effort: Effort, seed: int) -> dict[str, Any]:
    """All figures, printed as they come."""
    rows = []
    for nats in effort.nats:
        for row in [*variational(nats, effort, seed), upper_bound(nats, effort, seed), neighbours(nats, effort, seed)]:
            rows.append(row)
            words = [str(row[name]) for name in ("nats", "trained by", "read by", "critic", "negatives")]
            print(" ".join(words).ljust(56), *(f"{row.get(name, math.nan):10.3f}" for name in ("training", "held out")))
    answers = []
    for found in (*of_gaussians(effort), *of_classes(effort)):
        answers.append(found)
        print(found["name"].ljust(66), [round(value, 3) for value in found["found"]], found.get("accepted", ""))
    return {"rows": rows, "known answers": answers}


def main() -> None:
    """Measure, print, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps of all, to see that it runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/gaussians.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    measured = measure(QUICK if arguments.quick else FULL, arguments.seed)
    result = {
        "date": date.today().isoformat(),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} shared cores, one thread, no GPU used",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": "python " + " ".join(sys.argv),
        "dimensions": DIMS,
        "processor minutes": round((time.process_time() - started) / 60, 1),
    } | measured
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(arguments.out, (json.dumps(result, indent=2) + "\n").encode())
    write_whole(arguments.out.with_suffix(".png"), picture(result["rows"]))
    print(arguments.out)


if __name__ == "__main__":
    main()
