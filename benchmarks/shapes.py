"""DICE-FER on coloured shapes (coloured.py), where it is known what E and I should hold: the shape, and all else.

The training is the project's own: its stages are driven step by step, on new pairs in every step. The bounds are
those of shapes_bounds.py. One core, about 20 minutes; with `--steps 20000 --identity-steps 20000 --device cuda` the
strict ones are judged too.

Writes docs/results/shapes.json and docs/results/shapes.png: python benchmarks/shapes.py
"""

import argparse
import importlib.metadata
import io
import json
import math
import os
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import torch
from coloured import SHAPES, Factors, ShapeEncoder, chance, draw, pairs
from shapes_bounds import CHANCE, Row, judged
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from fertools.drawn.corpus import write_whole
from trainer.evaluation.metrics.probes import PROBES
from trainer.methods.base import Stage
from trainer.methods.dicefer import DiceFer
from trainer.methods.objectives.mutual_information import info_nce
from trainer.methods.settings.dicefer import DEFAULT, DiceFerConfig
from trainer.networks.critics import SeparableCritic

matplotlib.use("agg")  # no display
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

PACKAGES = ("torch", "numpy", "scikit-learn", "matplotlib")
HELD_OUT_SEED, POST_HOC_STEPS, STRICT_STEPS = 1000, 300, 20000
BASE = DiceFerConfig(
    learning_rate=1e-3, critic_width=128, negatives="shift", expression_estimator="jsd", identity_estimator="jsd"
)  # fmt: skip
RECIPE = {name: value for name, value in asdict(DEFAULT).items() if value != getattr(BASE, name)} | {"batch_size": 32}
RECIPE["head"] = "mean"  # which its critics start from
NO_SWAP, ALIKE = "jsd, no swap", "jsd, pairs alike"
STAGE_1: dict[str, dict[str, Any]] = {
    "jsd": {},
    "default": RECIPE,
    NO_SWAP: {"swap": False},
    "jsd, delta = 0": {"distance_weight": 0.0},
    ALIKE: {},
    "jsd, mean head": {"head": "mean"},
    "dv": {"expression_estimator": "dv"},
    "mine": {"expression_estimator": "mine"},
    "dv, mu = 0": {"expression_estimator": "dv", "global_weight": 0.0},
    "dv, nu = 0": {"expression_estimator": "dv", "local_weight": 0.0},
    "dv, no swap": {"expression_estimator": "dv", "swap": False},
}
STRONG = {"discriminator_steps": 2, "discriminator_shifts": 4}
STAGE_2: dict[str, dict[str, Any]] = {
    "zeta = 0": {"adversarial_weight": 0.0} | STRONG,
    "zeta = 0.1": {"adversarial_weight": 0.1} | STRONG,
    "zeta = 1": {"adversarial_weight": 1.0} | STRONG,
    "plain discriminator, zeta = 0": {"adversarial_weight": 0.0},
}
MAIN = ("jsd", "default", NO_SWAP)


class Trained(NamedTuple):
    """What was found, and the method it was found in."""

    row: Row
    method: DiceFer


def build(settings: dict[str, Any], seed: int, device: torch.device) -> DiceFer:
    """Return an untrained DICE-FER for shapes; what is not set is the paper's, but for batch, rate and critics."""
    flat = settings.get("head") != "mean"
    config = replace(BASE, **{name: value for name, value in settings.items() if name != "head"})
    torch.manual_seed(seed)
    return DiceFer(config, len(SHAPES), lambda: ShapeEncoder(flat, config.standardise)).to(device)


def drive(
    method: DiceFer, stage: Stage, num_steps: int, generator: torch.Generator, alike: bool = False
) -> list[dict[str, float]]:
    """Train a stage on new pairs in every step; return the means of what each tenth of the steps logged."""
    tenths: list[dict[str, Any]] = []
    last = math.ceil(num_steps / 10)
    method.train()
    for step in range(num_steps):
        for optimizer in stage.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = method.config.learning_rate * stage.schedule(step / num_steps)
        logged = stage.step(pairs(method.config.batch_size, generator, alike))
        if (num_steps - step) % last == 0:
            tenths.append({})
        if tenths:
            tenths[-1] = {name: tenths[-1].get(name, 0) + value.detach() / last for name, value in logged.items()}
    return [{name: float(value) for name, value in means.items()} for means in tenths]


@torch.no_grad()
def nats(method: DiceFer, generator: torch.Generator, alike: bool) -> dict[str, float]:
    """Read stage 1's critics on 4000 new pairs: by InfoNCE where that trained them, else Donsker-Varadhan."""
    by = "nce" if method.config.expression_estimator == "nce" else "dv"
    found = {"global": 0.0, "local": 0.0}
    for batch in (pairs(1000, generator, alike) for _ in range(4)):
        maps, codes = method.eval().expression_encoder.both(batch.anchor, batch.partner)
        read = codes.chunk(2)[1 if method.config.swap else 0]
        information = method.expression_critics(maps.chunk(2)[0], read, by, batch.expression)
        found = {name: value + float(information[name]) / 4 for name, value in found.items()}
    return found


@torch.no_grad()
def encoded(method: DiceFer, device: torch.device) -> tuple[dict[str, Tensor], Factors]:
    """Return both codes of 6000 images that no training saw, and their factors."""
    generator = torch.Generator(device).manual_seed(HELD_OUT_SEED)
    factors = chance(6000, generator)
    parts = [method.eval().codes(images) for images in draw(factors, generator).split(500)]
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}, factors


def probes(codes: Tensor, factors: Factors) -> dict[str, dict[str, float]]:
    """Return how often each factor is read right in 2000 images by probes fitted on 4000 others."""
    found: dict[str, dict[str, float]] = {}
    for name, probe in {"linear": "accuracy", "mlp": "mlp"}.items():
        found[name] = {}
        for factor in CHANCE:
            truth, fitted = getattr(factors, factor).cpu().numpy(), make_pipeline(StandardScaler(), PROBES[probe](4000))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # as in trainer.metrics.probes
                fitted.fit(codes[:4000].numpy(), truth[:4000])
            found[name][factor] = float(fitted.score(codes[4000:].numpy(), truth[4000:]))
    return found


def shared_nats(method: DiceFer, generator: torch.Generator) -> float:
    """Return what a critic, trained on the finished codes, proves E and I to share: InfoNCE on new images."""
    torch.manual_seed(0)
    critic = SeparableCritic(64, 64, 128, "all").to(generator.device)
    optimizer, values = torch.optim.Adam(critic.parameters(), lr=1e-3), []
    method.eval()
    for _ in range(POST_HOC_STEPS):
        with torch.no_grad():
            codes = method.codes(draw(chance(128, generator), generator))
        standard = [(code - code.mean(0)) / (code.std(0) + 1e-6) for code in codes.values()]
        value = info_nce(*critic(standard[0].unsqueeze(1), standard[1])).sum()
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
        values.append(value.item())  # of images that the critic has not yet seen
    return sum(values[-50:]) / 50


def share(name: str, settings: dict[str, Any], num_steps: int, seed: int, device: torch.device) -> Trained:
    """Stage 1: train E, and read it."""
    started, generator = time.perf_counter(), torch.Generator(device).manual_seed(seed)
    method = build(settings, seed, device)
    stage = next(method.stages())
    tenths = drive(method, stage, num_steps, generator, alike=name == ALIKE)
    concerns = [text for means in tenths if (text := stage.concern(means))]
    codes, factors = encoded(method, device)
    row = {
        "run": name, "seed": seed, "settings": settings, "steps": num_steps, "in training": tenths[-1],
        "nats": nats(method, generator, name == ALIKE), "spread of E": float(codes["expression"].std(0).mean()),
        "probes": probes(codes["expression"], factors),
        "concern": "; ".join(dict.fromkeys(concerns)) or None, "complaint": stage.complaint(tenths[-1], 100, 100),
        "seconds": round(time.perf_counter() - started),
    }  # fmt: skip
    return Trained(row, method)


def hide(name: str, expression: DiceFer, settings: dict[str, Any], num_steps: int, seed: int) -> Row:
    """Stage 2: train I beside a frozen E, and read it."""
    device = next(expression.parameters()).device
    started, generator = time.perf_counter(), torch.Generator(device).manual_seed(seed + 1)
    method = build(settings, seed, device)
    method.expression_encoder.load_state_dict(expression.expression_encoder.state_dict(), strict=False)
    walk = method.stages()
    next(walk)
    before = {key: value.clone() for key, value in method.expression_encoder.state_dict().items()}
    tenths = drive(method, next(walk), num_steps, generator)
    after = method.expression_encoder.state_dict()
    codes, factors = encoded(method, device)
    return {
        "run": name, "seed": seed, "settings": settings, "steps": num_steps, "in training": tenths[-1],
        "E is bitwise as before": all(torch.equal(before[key], after[key]) for key in before),
        "probes": probes(codes["identity"], factors), "nats E and I share, at least": shared_nats(method, generator),
        "seconds": round(time.perf_counter() - started),
    }  # fmt: skip


def measure(
    steps: int, identity_steps: int, device: torch.device, names: list[str], num_seeds: int, known: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield all figures so far, after each run; the known ones, too, but for those of the same names."""
    first, second = ([row for row in known.get(f"stage {n}", []) if row["run"] not in names] for n in (1, 2))
    expressions: list[DiceFer] = []
    strict = min(steps, identity_steps) >= STRICT_STEPS
    for name in names:
        for seed in range(num_seeds if name in MAIN else 1):
            if name in STAGE_1:
                row, method = share(name, STAGE_1[name], steps // 2 if name == ALIKE else steps, seed, device)
                expressions += [method] * (name == "jsd")
                first.append(row)
            else:
                row = hide(name, expressions[0], STAGE_2[name], identity_steps, seed)
                second.append(row)
            print(json.dumps(row), flush=True)
            thresholds = judged(first, second, strict)
            yield {"strict bounds": strict, "thresholds": thresholds, "stage 1": first, "stage 2": second}


def bars(axes: Axes, title: str, rows: list[Row], probe: str) -> None:
    """Draw what a probe reads of each factor in the first seed of each run; dotted: chance."""
    shown = [row for row in rows if row["seed"] == 0]
    for place, (factor, colour) in enumerate(zip(CHANCE, ("tab:blue", "tab:orange", "tab:green"), strict=True)):
        where = [index + 0.26 * (place - 1) for index in range(len(shown))]
        axes.bar(where, [row["probes"][probe][factor] for row in shown], 0.24, color=colour, label=factor)
        axes.axhline(CHANCE[factor], color=colour, linestyle=":", linewidth=1)
    axes.set_xticks(range(len(shown)), [row["run"].replace(", ", ",\n") for row in shown], fontsize=8)
    axes.set_title(title, fontsize=10)
    axes.set(ylim=(0, 1))


def picture(first: list[Row], second: list[Row]) -> bytes:
    """Pairs, a column each, above what probes read from E and from I."""
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(9, 7), layout="constrained", height_ratios=(2, 3, 3))
    batch = pairs(14, torch.Generator().manual_seed(0))
    sheet = torch.stack([batch.anchor, batch.partner]).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    top.imshow((sheet.clamp(-1, 1) + 1) / 2, interpolation="nearest")
    top.set_title("pairs: one column each, of one shape", fontsize=10)
    top.axis("off")
    bars(middle, "read from E, linear probe (dotted: chance)", first, "linear")
    bars(bottom, "read from I, perceptron (dotted: chance)", second, "mlp")
    figure.legend(*middle.get_legend_handles_labels(), fontsize=9, ncols=3, loc="outside lower center", frameon=False)
    content = io.BytesIO()
    figure.savefig(content, dpi=100, metadata={"Software": None})
    return content.getvalue()


def main() -> None:
    """Measure, print, write and draw."""
    runs = [*STAGE_1, *STAGE_2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3500, help="of stage 1")
    parser.add_argument("--identity-steps", type=int, default=2000, help="of stage 2")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--runs", nargs="*", default=runs, choices=runs, help="some alone")
    parser.add_argument("--seeds", type=int, default=2, help=f"of {', '.join(MAIN)}")
    parser.add_argument("--add", action="store_true", help="to the runs that --out holds")
    parser.add_argument("--out", type=Path, default=Path("docs/results/shapes.json"))
    arguments = parser.parse_args()
    if not STAGE_2.keys().isdisjoint(arguments.runs) and "jsd" not in arguments.runs:
        parser.error("stage 2 needs the E of the run jsd: expected jsd among --runs")
    torch.set_num_threads(1)
    started = time.process_time()
    known = json.loads(arguments.out.read_text()) if arguments.add else {}
    spent = known.get("processor minutes", 0)
    about = {
        "date": date.today().isoformat(),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} shared cores, one thread",
        "device": str(arguments.device),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "commands": [*known.get("commands", []), " ".join(["python", *map(shlex.quote, sys.argv)])],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for measured in measure(
        arguments.steps, arguments.identity_steps, arguments.device, arguments.runs, arguments.seeds, known
    ):
        about["processor minutes"] = round(spent + (time.process_time() - started) / 60, 1)
        write_whole(arguments.out, (json.dumps(about | measured, indent=2) + "\n").encode())
        write_whole(arguments.out.with_suffix(".png"), picture(measured["stage 1"], measured["stage 2"]))
    for row in measured["thresholds"]:
        print(row["name"].ljust(64), [round(value, 3) for value in row["found"]], row["accepted"], row["holds"])
    print(arguments.out)


if __name__ == "__main__":
    main()
