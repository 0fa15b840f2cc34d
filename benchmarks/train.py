"""How fast stages train: ours, the limit of the device, the usual way, and the structure of the parent method's code.

Contenders take turns on the same faces, in another order every second round; a figure is the median of its turns, a
ratio the median over rounds of what two did in the same one. Ours: faces resident, turned and whitened a batch at a
time, channels last, fused optimizers, in one pass what can be one. The limit: the same steps on one batch that is on
the device. The usual way: PNG files of the faces, torch's DataLoader with the number of workers that is fastest here,
cv2 and albumentations a sample, float32, contiguous, torch's Adam as it comes; its steps are ours. The parent's
structure (Sanchez, Serrurier & Ortner 2020, arXiv:1912.03915, section 3; written from the paper): an encoder's pass a
side, a critic's pass each for local and global, joint and shuffled, an optimizer a network; on a fixed batch, held
against ours on the same batch with the critics, the negatives and the estimator of the paper's preset.

Writes docs/results/train.json: python benchmarks/train.py --work FOLDER
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version

import albumentations
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from torch import Tensor, nn
from torch.optim import Adam, AdamW
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from fertools.datasets import DATASETS
from fertools.drawn.corpus import draw
from fertools.folds.make_folds import make_folds
from fertools.preparation.prepare import prepare
from manifests import files
from trainer.data.fold_data import FoldData
from trainer.experiments import throughput
from trainer.methods import build, dicefer, find_method, ifgan
from trainer.methods.base import Faces, Method, Pairs, Stage
from trainer.methods.objectives.losses import code_distance, discriminator_loss, independence_loss
from trainer.methods.objectives.mutual_information import donsker_varadhan
from trainer.networks.critics import flatten_map, positions
from trainer.runs.device import environment, pick_device
from trainer.training.fit import RunSpec
from trainer.training.precision import StepRunner

PAPERS = ("critic=concat", "critic_width=512", "negatives=shift", "expression_estimator=dv", "identity_estimator=dv",
          "gated=false", "discriminator_steps=1", "discriminator_shifts=1")  # fmt: skip


def manifest_of(work: Path, subjects: int) -> Path:
    """Return the manifest of a drawn CK+, made where it is not there."""
    manifest = work / f"drawn{subjects}" / "ckplus.parquet"
    if not manifest.exists():
        draw(work / f"raw{subjects}", num_subjects=subjects, seed=0, workers=2)
        made = Path(prepare(DATASETS["ckplus"], work / f"raw{subjects}", manifest.parent).manifest)
        make_folds(made, 10, "standardize", seed=0)
    return manifest


# --- the usual way


class Files(Dataset[Any]):
    """Faces in PNG files, or pairs of them, decoded and augmented one by one."""

    def __init__(self, sides: list[list[Path]], classes: Tensor, size: int) -> None:
        self.sides, self.classes = sides, classes
        self.augment = albumentations.Compose([
            albumentations.Rotate(limit=(-15, 15), p=1.0), albumentations.HorizontalFlip(p=0.5),
            albumentations.Resize(size, size), albumentations.Normalize(mean=(0.5,), std=(0.5,)), ToTensorV2(),
        ])  # fmt: skip

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.classes)

    def __getitem__(self, place: int) -> tuple[Any, ...]:
        """Return the images of a place, and their class."""
        images = (cv2.imread(str(side[place]), cv2.IMREAD_GRAYSCALE)[..., None] for side in self.sides)
        return *(self.augment(image=image)["image"] for image in images), self.classes[place]


def write_pngs(data: FoldData, folder: Path) -> list[Path]:
    """Write the training faces of a fold; return their files, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    margin = (data.crop.stored - data.crop.face) // 2
    crops = files.read_images(data.manifest, data.rows["train"], data.crop)
    paths = [folder / f"{number}.png" for number in range(len(crops))]
    for path, crop in zip(paths, crops, strict=True):
        cv2.imwrite(str(path), crop[margin:-margin, margin:-margin])
    return paths


def loaded(data: FoldData, stage: Stage, paths: list[Path], size: int, workers: int, device: torch.device) -> Iterator:
    """Yield batches as a DataLoader gives them, without end."""
    sides, classes = [paths], data.classes("train").cpu()
    if stage.reads is Pairs:
        pairs = files.read_pairs(data.manifest, data.fold, data.table)
        rows = [np.searchsorted(data.rows["train"], pairs[name][pairs["epoch"] == 0]) for name in ("anchor", "partner")]
        sides, classes = [[paths[row] for row in side] for side in rows], classes[torch.from_numpy(rows[0])]
    loader = DataLoader(
        Files(sides, classes, size), stage.batch_size, shuffle=True, num_workers=workers, drop_last=True,
        persistent_workers=workers > 0, pin_memory=device.type == "cuda",
    )  # fmt: skip
    while True:
        for batch in loader:
            yield stage.reads(*(part.to(device, non_blocking=True) for part in batch))


def fastest(make: Any, device: torch.device) -> tuple[int, throughput.Step]:
    """Return the number of workers with which a step is fastest, and the step."""
    found = {}
    for workers in (0, 1, 2) if device.type == "cpu" else (4, 8, os.cpu_count() or 8):
        step = make(workers)
        found[workers] = (median(throughput.interleaved_rates({"": step}, device, 0.5)[""][:3]), step)
    best = max(found, key=lambda workers: found[workers][0])
    return best, found[best][1]


# --- the parent's structure


def parent_step(method: Any, stage: Stage, batch: Pairs) -> throughput.Step:
    """Return a step of a stage of DICE-FER as the parent method's public code is built."""
    second, config = stage.name == "identity", method.config
    encoder = method.identity_encoder if second else method.expression_encoder
    critics = method.identity_critics if second else method.expression_critics
    optimizers = [
        Adam(part.parameters(), config.learning_rate) for part in (encoder, critics.global_critic, critics.local_critic)
    ]
    adversary = Adam(method.discriminator.parameters(), config.learning_rate)

    def information(feature_map: Tensor, code: Tensor) -> Tensor:
        total = code.new_zeros(())
        for critic, seen, weight in (
            (critics.global_critic, flatten_map(feature_map), config.global_weight),
            (critics.local_critic, positions(feature_map), config.local_weight),
        ):
            joint, marginal = (_scores(critic, seen, other) for other in (code, code.roll(1, 0)))
            total = total + weight * donsker_varadhan(joint, marginal).mean()
        return total

    def step() -> int:
        method.zero_grad()
        maps, codes = zip(*(encoder(side, place) for side, place in ((batch[0], 0), (batch[1], -1))), strict=True)
        if second:
            with torch.no_grad():
                shared = [method.expression_encoder(side) for side in batch[:2]]
            told = [_told(method, e, i.detach()) for (_, e), i in zip(shared, codes, strict=True)]
            sum(told).backward()
            adversary.step()
            method.zero_grad()
            hidden = [independence_loss(method.discriminator(e, i)) for (_, e), i in zip(shared, codes, strict=True)]
            loss = config.adversarial_weight * sum(hidden)
            maps = [torch.cat([m, own], 1) for (m, _), own in zip(shared, maps, strict=True)]
            read = [torch.cat([e, i], 1) for (_, e), i in zip(shared, codes, strict=True)]
        else:
            loss, read = config.distance_weight * code_distance(*codes), codes[::-1]
        (loss - sum(map(information, maps, read))).backward()
        for optimizer in optimizers:
            optimizer.step()
        return 2 * len(batch.expression)

    method.train()
    return step


def _scores(critic: nn.Module, features: Tensor, codes: Tensor) -> Tensor:
    return critic.score(critic.of_features(features) + critic.of_code(codes).unsqueeze(1)).squeeze(-1)


def _told(method: Any, expression: Tensor, identity: Tensor) -> Tensor:
    joint, apart = method.discriminator(expression, identity), method.discriminator(expression, identity.roll(1, 0))
    return discriminator_loss(apart, joint)


# --- what is compared


def made(asked: RunSpec, data: FoldData, device: torch.device) -> Method:
    """Return a method, untrained."""
    method = build(asked.method, dataclasses.asdict(asked.config()), data.expressions, 0, device)
    if "averages" in dict(method.named_buffers()):
        method.get_buffer("averages").zero_()
    return method


def torchs_optimizers() -> ExitStack:
    """Return what methods are given torch's optimizers in, as they come."""
    stack = ExitStack()
    stack.enter_context(patch.object(dicefer, "adamw", lambda some, rate, decay: AdamW(some, rate, weight_decay=decay)))
    stack.enter_context(
        patch.object(ifgan, "adam", lambda some, rate, decay, betas: Adam(some, rate, betas, weight_decay=decay))
    )
    return stack


def compare(asked: RunSpec, device: torch.device, work: Path, seconds: float) -> dict[str, Any]:
    """Return what each contender reaches in each stage of a method."""
    kind, settings = find_method(asked.method), dataclasses.asdict(asked.config())
    data = FoldData.seen_by(kind, settings, asked.manifest, asked.fold, device)
    paths, size = write_pngs(data, work / "png"), settings.get("size", 112)
    precisions = ("tf32", "bf16", "float32") if device.type == "cuda" else ("float32", "bf16")
    ours, other, usual = (made(asked, data, device) for _ in range(3))
    usual.to(memory_format=torch.contiguous_format)
    walks = [ours.stages(), other.stages(), usual.stages()]
    if asked.method == "dicefer":
        papers = [made(dataclasses.replace(asked, settings=(*asked.settings, *PAPERS)), data, device) for _ in range(2)]
        papers[1].to(memory_format=torch.contiguous_format)
        walks += [method.stages() for method in papers]
    found = {}
    for name in kind.STAGE_MODULES:
        with torchs_optimizers():
            stages = [*(next(walk) for walk in walks[:2]), next(walks[2]), *(next(walk) for walk in walks[3:])]
        first, second = (
            StepRunner(how).wrap_stage(stage, device) for how, stage in zip(precisions, stages, strict=False)
        )
        plain = StepRunner("float32").wrap_stage(stages[2], device)
        fixed = next(throughput.endless_batches(first, data))
        workers, step = fastest(
            lambda number, plain=plain: throughput.stage_step(
                usual, plain, loaded(data, plain, paths, size, number, device)
            ),
            device,
        )
        contenders = {
            "ours": throughput.stage_step(ours, first, throughput.endless_batches(first, data)),
            "limit": throughput.stage_step(ours, first, repeat(fixed)),
            f"ours, {precisions[1]}": throughput.stage_step(other, second, throughput.endless_batches(second, data)),
            "usual": step,
        }
        if first.reads is Pairs:
            exact = StepRunner("float32")
            contenders["ours, paper's critics, fixed batch"] = throughput.stage_step(
                papers[0], exact.wrap_stage(stages[3], device), repeat(fixed)
            )
            contenders["parent's structure, fixed batch"] = parent_step(papers[1], stages[4], fixed)
        with FlopCounterMode(display=False) as counter:
            contenders["limit"]()
        rates = throughput.interleaved_rates(contenders, device, seconds)
        found[name] = _summary(rates, first, fixed, workers, counter.get_total_flops())
        print(asked.method, name, json.dumps(found[name]), flush=True)
    return found


def _summary(
    rates: dict[str, list[float]], stage: Stage, fixed: Faces | Pairs, workers: int, operations: int
) -> dict[str, Any]:
    def times(one: str, other: str) -> float:
        return round(median(a / b for a, b in zip(rates[one], rates[other], strict=True)), 3)

    per_unit = 2 if stage.reads is Pairs else 1
    second = next(name for name in rates if name.startswith("ours, ") and "critics" not in name)
    summary = {
        "unit": "pairs" if per_unit == 2 else "images", "batch": len(fixed.expression), "operations": operations,
        "per second": {name: round(median(rate) / per_unit, 1) for name, rate in rates.items()},
        "share of the limit": times("ours", "limit"), "times the usual way": times("ours", "usual"),
        f"{second}: times the usual way": times(second, "usual"), "workers of the usual way": workers,
    }  # fmt: skip
    if per_unit == 2:
        *_, fair, parent = rates
        summary["times the parent's structure"] = times(fair, parent)
    return summary


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where the drawn faces are, or will be, made")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[], help="of DICE-FER; else the preset's")
    parser.add_argument("--subjects", type=int, default=24, help="people who are drawn")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn, at least")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("docs/results/train.json"))
    arguments = parser.parse_args()
    device, manifest = pick_device(arguments.device), manifest_of(arguments.work, arguments.subjects)
    sizes = [(f"batch_size={size}",) for size in arguments.batch_sizes] or [()]
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "where": environment(device),
        "versions": {name: importlib.metadata.version(name) for name in ("albumentations", "opencv-python-headless")},
        "command": "python benchmarks/train.py --work FOLDER" + "".join(
            f" --{name.replace('_', '-')} {' '.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in vars(arguments).items() if name not in ("work", "out") and value
        ),
        "product, operations per second": {
            how: throughput.product_rate(device, how) for how in ("float32", "tf32", "bf16")
        },
        "stages": [],
    }  # fmt: skip
    for method, settings in [*(("dicefer", size) for size in sizes), ("ifgan", ())]:
        asked = RunSpec(
            manifest=manifest, method=method, preset=arguments.preset, settings=settings, epochs=None, fold=1, seed=0
        )
        stages = compare(asked, device, arguments.work, arguments.seconds)
        result["stages"].append({"method": method, "preset": arguments.preset, "settings": settings, "stages": stages})
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
