"""Pretraining of an encoder on face identification: margin softmax on identities, evaluated on people held out.

The weights.safetensors of its run is a file for `trainer fit --encoder-weights`.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from manifests.provenance import commit
from manifests.schema import DEFAULT_CROP
from trainer.data import lfw_pairs
from trainer.data.crops import EVALUATION_BATCH
from trainer.data.fold_data import Whitener, whitener
from trainer.data.identities import IdentityBatch, IdentityData, read_people
from trainer.errors import TrainerError
from trainer.evaluation.metrics.verification import Pairs, cosines, pairs_of_people, published_pairs, verification
from trainer.methods.base import Faces, Method, Stage
from trainer.methods.config import ConfigError, one_of, override
from trainer.networks.margin import MARGINS, MarginHead
from trainer.networks.resnet import ResNet
from trainer.runs.device import environment
from trainer.runs.distributed import rank
from trainer.runs.run import Run
from trainer.training.loop import Report, train

MOMENTUM = 0.9
DROPS = (20 / 34, 28 / 34, 32 / 34)  # fractions of the training after which the learning rate is divided by 10
NOTE = (
    "its encoder was pretrained on the people of {title}; whether any of them, or of these photographs, is among the "
    "faces it is evaluated on was not audited"
)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """CosFace as InsightFace trains it on CASIA-WebFace: 512 faces per step, of all ranks together."""

    head: str = "cosface"
    margin: float = 0.35  # Wang et al. 2018, section 4.2
    scale: float = 64.0
    warmup: int = 2  # (ours) epochs in which the margin grows from 0; without it small networks do not start to learn
    epochs: int = 34
    batch_size: int = 512
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    width: int = 64  # ResNet-18
    code_size: int = 512
    whitening: str = "standardize"  # as the faces of `trainer fit` will be; or none: from -1 to 1
    one_in: int = 10  # of so many people, one is held out


DEFAULT = PretrainConfig()
PRESETS = {
    "default": DEFAULT,
    "arcface": dataclasses.replace(DEFAULT, head="arcface", margin=0.5),  # Deng et al. 2019, section 3.1
    "demo": dataclasses.replace(
        DEFAULT, scale=30.0, epochs=40, batch_size=64, learning_rate=0.05, width=16, code_size=128, one_in=4
    ),
}


@dataclass(frozen=True, kw_only=True)
class PretrainSpec:
    """The specification of a pretraining."""

    manifest: Path
    preset: str
    settings: tuple[str, ...]  # name=value
    epochs: int | None
    seed: int
    pairs: tuple[Path, ...] = ()  # files like lfw.bin, to evaluate it on too

    def config(self) -> PretrainConfig:
        """Return the settings.

        Raises:
            ConfigError: unknown preset or setting.
        """
        if self.preset not in PRESETS:
            raise ConfigError(f"no preset {self.preset!r} of pretrain; known: {', '.join(PRESETS)}")
        epochs = [] if self.epochs is None else [f"epochs={self.epochs}"]
        config: PretrainConfig = override(PRESETS[self.preset], [*epochs, *self.settings])
        one_of("head", config.head, MARGINS)
        one_of("whitening", config.whitening, ("standardize", "none"))
        if config.one_in < 2:
            raise ConfigError(f"one_in={config.one_in}: expected 2 or more, or nobody is left to train on")
        return config

    def name(self) -> str:
        """Return the name of the run's folder, made of the options that are not defaults."""
        epochs = [] if self.epochs is None else [f"epochs={self.epochs}"]
        return "-".join([self.manifest.stem, "pretrain", self.preset, *self.settings, *epochs, f"seed{self.seed}"])


class Pretraining(Method):
    """An encoder, and one direction for each person."""

    def __init__(self, config: PretrainConfig, num_people: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = ResNet("resnet18", 1, config.code_size, config.width, standardise=True)
        self.head = MarginHead(config.code_size, num_people, config.head, config.margin, config.scale)
        self.optimizers = self._optimizer(self.encoder), self._optimizer(self.head)

    def _optimizer(self, part: nn.Module) -> torch.optim.SGD:
        rate, decay = self.config.learning_rate, self.config.weight_decay
        return torch.optim.SGD(part.parameters(), rate, MOMENTUM, weight_decay=decay)

    def forward(self, images: Tensor) -> Tensor:
        """Return codes; their similarity is the cosine."""
        codes: Tensor = self.encoder(images).output
        return codes

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return the code, by name."""
        return {"identity": self(images)}

    def stages(self) -> Iterator[Stage]:
        """Train encoder and head on identities."""

        def step(batch: IdentityBatch) -> dict[str, Tensor]:
            loss = self.head(self(batch.image), batch.person)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            for optimizer in self.optimizers:
                optimizer.step()
            return {"loss": loss}

        yield Stage(
            "people", self.config.epochs, self.config.batch_size, Faces, step, self.optimizers,
            schedule=lambda done: 0.1 ** sum(done >= drop for drop in DROPS), begin=self._begin,
        )  # fmt: skip

    def _begin(self, epoch: int) -> None:
        self.head.margin = self.config.margin * min(1.0, epoch / max(self.config.warmup, 1e-9))


def pretrain(
    spec: PretrainSpec,
    runs: Path,
    device: torch.device,
    progress: Report,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Train, resuming where it stopped, and evaluate on people held out; a trained run is evaluated again.

    Returns:
        The scores, with the run's folder; None if interrupted, and on ranks other than 0.

    Raises:
        TrainerError: the pairs are aligned in another way than the manifest.
        LockedError: another process trains it.
    """
    config = spec.config()
    people = read_people(spec.manifest, config.one_in)
    align = people.provenance["align"]
    if spec.pairs and align != DEFAULT_CROP.align:
        raise TrainerError(f"{spec.manifest} is aligned by {align}, {spec.pairs[0]} is not: leave it out")
    published = {path.name: lfw_pairs.read(path) for path in spec.pairs}
    whiten = whitener(spec.manifest, 0, config.whitening, device)
    torch.manual_seed(spec.seed)
    method = Pretraining(config, people.num_people).to(device)
    run = Run(runs / spec.name())
    provenance = environment(device) | {"commit": commit(), "data": people.provenance, "overlap_audited": False}
    with run.writer():
        run.start(
            {"method": "pretrain", "preset": spec.preset, "settings": asdict(config), "dataset": spec.manifest.stem,
             "seed": spec.seed}, provenance,
        )  # fmt: skip
        judged = [("people", people.held_out, pairs_of_people(people.held_out_names))]
        judged += [(name, torch.from_numpy(faces), published_pairs(same)) for name, (faces, same) in published.items()]
        if rank() == 0:
            start = {name: judge(method.encoder, faces, pairs, whiten, device) for name, faces, pairs in judged}
        if not run.trained:
            if not _train(method, people, whiten, run, spec.seed, progress, interrupted):
                return None
            _finish(run, method.encoder, people.provenance)
        else:
            run.load_weights(method.encoder)
        if rank() > 0:
            return None
        scores = {name: judge(method.encoder, faces, pairs, whiten, device) for name, faces, pairs in judged}
        result = {"scores": scores, "random_start": start, "data": people.provenance}
        run.write_json("scores.json", result)
    return {"run": str(run.folder)} | result


def _train(
    method: Pretraining, people: IdentityData, whiten: Whitener, run: Run, seed: int, progress: Report,
    interrupted: Callable[[], bool],
) -> bool:  # fmt: skip
    device = next(method.parameters()).device

    def batches(stage: Stage, _: int, stream: int, first: int) -> Iterable[IdentityBatch]:
        return people.batches(stage.batch_size, whiten, stream, first, device)

    return train(method, batches, lambda: math.nan, run, seed=seed, report=progress, interrupted=interrupted)


def _finish(run: Run, encoder: ResNet, data: dict[str, Any]) -> None:
    """Write the weights of the encoder alone, with their source and licence in the file's header."""
    metadata = {
        "source": f"{run.folder.name}: {data['people']} people of {data['title']}",
        "licence": data["licence"], "overlap_audited": "false", "note": NOTE.format(title=data["title"]),
    }  # fmt: skip
    run.finish_training(encoder, metadata)


@torch.inference_mode()
def judge(
    encoder: nn.Module, faces: UInt8[Tensor, "faces 112 112"], pairs: Pairs, whiten: Whitener, device: torch.device
) -> dict[str, Any]:
    """Return verification scores of the codes; that of a face is the sum over the face and its mirror image."""
    encoder.eval()
    codes = []
    for batch in torch.split(faces, EVALUATION_BATCH):
        images = whiten(batch.to(device)[:, None].float() / 255)
        codes.append(sum(encoder(side).output.float().cpu() for side in (images, images.flip(3))))
    return verification(cosines(torch.cat(codes).numpy(), pairs), pairs)


def text(result: dict[str, Any]) -> str:
    """Return the scores as text, beside those of the random start."""
    lines = []
    for name, scores in result["scores"].items():
        start = result["random_start"][name]
        lines.append(
            f"{name}: {scores['same_pairs']} pairs of one person, {scores['other_pairs']} of two; 95 % over "
            f"{scores['people']} {scores['intervals_over']}"
        )
        rows = [(f"TAR at FAR {rate}", scores["tar"][rate], start["tar"][rate]) for rate in scores["tar"]]
        for metric, score, before in [(name, scores[name], start[name]) for name in ("accuracy", "auc")] + rows:
            low, high = score["interval"]
            lines.append(
                f"  {metric:<18} {score['value']:.4f}  {low:.4f} to {high:.4f}  at random {before['value']:.4f}"
            )
    return "\n".join(lines)
