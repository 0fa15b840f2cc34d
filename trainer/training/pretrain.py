"""An encoder learns people before it learns expressions: margin softmax on identities, judged on people it never saw.

Its run's weights.safetensors is what `trainer fit --encoder-weights` takes. Under torchrun, every process sees a share
of each batch and holds a share of the people; the first one writes.
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

from manifests import files
from manifests.schema import DEFAULT_CROP
from trainer.data import lfw_pairs
from trainer.data.crops import EVALUATION_BATCH
from trainer.data.fold_data import Whitener, whitener
from trainer.data.identities import IdentityBatch, IdentityData, read_people
from trainer.errors import TrainerError
from trainer.evaluation.metrics.verification import Pairs, cosines, pairs_of_people, published_pairs, verification
from trainer.methods.base import Faces, Method, Stage
from trainer.methods.config import ConfigError, one_of, override
from trainer.networks.margin import MARGINS, MarginHead, add_gradients
from trainer.networks.resnet import ResNet
from trainer.runs.checkpoint import Checkpoint
from trainer.runs.distributed import any_rank, rank, world_size
from trainer.runs.run import Run, environment
from trainer.runs.signals import deferred_signals
from trainer.training.data_parallel import SharedRun
from trainer.training.loop import Report, train

MOMENTUM = 0.9
DROPS = (20 / 34, 28 / 34, 32 / 34)  # shares of the training after which the learning rate is a tenth
NOTE = (
    "its encoder learnt the people of {title} first; whether any of them, or of these photographs, is among the faces "
    "it is judged on was not audited"
)


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """CosFace as InsightFace trains on CASIA-WebFace; 512 faces a step in all processes together."""

    head: str = "cosface"
    margin: float = 0.35  # Wang et al. 2018, section 4.2
    scale: float = 64.0
    warmup: int = 2  # epochs in which the margin grows from 0, so that small networks start at all; ours
    epochs: int = 34
    batch_size: int = 512
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    width: int = 64  # ResNet-18
    code_size: int = 512
    whitening: str = "standardize"  # what the expressions' faces will be given as; or none: from -1 to 1
    one_in: int = 10  # people are held out


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
    """What a user asks to be trained."""

    manifest: Path
    preset: str
    settings: tuple[str, ...]  # name=value
    epochs: int | None
    seed: int
    pairs: tuple[Path, ...] = ()  # files like lfw.bin, to judge it on too

    def config(self) -> PretrainConfig:
        """Return the settings.

        Raises:
            ConfigError: no such preset or setting.
        """
        if self.preset not in PRESETS:
            raise ConfigError(f"no preset {self.preset!r} of pretrain; known: {', '.join(PRESETS)}")
        epochs = [] if self.epochs is None else [f"epochs={self.epochs}"]
        config: PretrainConfig = override(PRESETS[self.preset], [*epochs, *self.settings])
        one_of("head", config.head, MARGINS)
        one_of("whitening", config.whitening, ("standardize", "none"))
        if config.one_in < 2:
            raise ConfigError(f"one_in={config.one_in}: expected 2 or more, or nobody is left to learn")
        return config

    def name(self) -> str:
        """Return the name of the run's folder: all that is asked, in words."""
        epochs = [] if self.epochs is None else [f"epochs={self.epochs}"]
        return "-".join([self.manifest.stem, "pretrain", self.preset, *self.settings, *epochs, f"seed{self.seed}"])


class Pretraining(Method):
    """An encoder, and a direction a person."""

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
        """Return codes, which are alike by their cosine."""
        codes: Tensor = self.encoder(images).output
        return codes

    def codes(self, images: Tensor) -> dict[str, Tensor]:
        """Return the same by name."""
        return {"identity": self(images)}

    def stages(self) -> Iterator[Stage]:
        """Learn people."""

        def step(batch: IdentityBatch) -> dict[str, Tensor]:
            loss = self.head(self(batch.image), batch.person)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            add_gradients(self.encoder)
            for optimizer in self.optimizers:
                optimizer.step()
            return {"loss": loss}

        yield Stage(
            "people", self.config.epochs, self.config.batch_size, Faces, step, self.optimizers,
            schedule=lambda done: 0.1 ** sum(done >= drop for drop in DROPS), begin=self._begin,
        )  # fmt: skip

    def _begin(self, epoch: int) -> None:
        self.head.margin = self.config.margin * min(1.0, epoch / max(self.config.warmup, 1e-9))


class HeadRun(SharedRun):
    """The run of several processes, of which each holds a part of a head: its weights, and its optimizer's state."""

    def __init__(self, folder: Path, head: MarginHead) -> None:
        """Make or find a run's folder.

        Args:
            folder: as of any run.
            head: the module `head` of what is trained, whose optimizer is the second.
        """
        super().__init__(folder)
        self._head = head

    def checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint, of what this process holds."""
        saved = super().checkpoint()
        if saved:
            saved.weights["head.weight"] = self._head.part(saved.weights["head.weight"])
            for state in saved.optimizers[1]["state"].values():
                state |= {name: self._head.part(tensor) for name, tensor in state.items()}
        return saved

    def _save(self, tensors: dict[str, Tensor], name: str, about: dict[str, str]) -> None:
        parts = {key for key in tensors if key == "weights.head.weight" or key.startswith("optimizer.1.")}
        super()._save(
            {key: self._head.whole(value) if key in parts else value for key, value in tensors.items()}, name, about
        )


def pretrain(
    spec: PretrainSpec,
    runs: Path,
    device: torch.device,
    progress: Report,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Train from where an earlier call stopped, and judge on people held out; a trained run is judged anew.

    Returns:
        The scores, with the run's folder; of processes but the first, and where interrupted, none.
    """
    config = spec.config()
    people = read_people(spec.manifest, config.one_in)
    if spec.pairs and people.about["align"] != DEFAULT_CROP.align:
        raise TrainerError(
            f"{spec.manifest} is aligned by {people.about['align']}, {spec.pairs[0]} is not: leave it out"
        )
    published = {path.name: lfw_pairs.read(path) for path in spec.pairs}
    if people.num_people < world_size():
        raise TrainerError(f"{people.num_people} people cannot be shared by {world_size()} processes; start fewer")
    whiten = whitener(spec.manifest, 0, config.whitening, device)
    torch.manual_seed(spec.seed)
    method = Pretraining(config, people.num_people).to(device)
    run = HeadRun(runs / spec.name(), method.head)
    provenance = environment(device) | {"commit": files.commit(), "data": people.about, "overlap_audited": False}
    run.start(
        {"method": "pretrain", "preset": spec.preset, "settings": asdict(config), "dataset": spec.manifest.stem,
         "seed": spec.seed}, provenance,
    )  # fmt: skip
    judged = [("people", people.held_out, pairs_of_people(people.held_out_names))]
    judged += [(name, torch.from_numpy(faces), published_pairs(same)) for name, (faces, same) in published.items()]
    if rank() == 0:
        start = {name: judge(method.encoder, faces, pairs, whiten, device) for name, faces, pairs in judged}
    if not run.trained:
        if not _train(method, people, whiten, run, spec.seed, progress if rank() == 0 else _silent, interrupted):
            return None
        if rank() == 0:
            _finish(run, method.encoder, people.about)
    elif rank() == 0:
        run.load_weights(method.encoder)
    if rank() > 0:
        return None
    scores = {name: judge(method.encoder, faces, pairs, whiten, device) for name, faces, pairs in judged}
    found = {"scores": scores, "random_start": start, "data": people.about}
    run.write_json("scores.json", found)
    return {"run": str(run.folder)} | found


def _train(
    method: Pretraining, people: IdentityData, whiten: Whitener, run: Run, seed: int, progress: Report,
    interrupted: Callable[[], bool],
) -> bool:  # fmt: skip
    device = next(method.parameters()).device

    def batches(stage: Stage, _: int, stream: int, first: int) -> Iterable[IdentityBatch]:
        return people.batches(stage.batch_size, whiten, stream, first, device)

    with deferred_signals() as signalled:
        done = train(
            method, batches, lambda: math.nan, run, seed=seed, report=progress,
            interrupted=lambda: interrupted() or signalled(), any_rank=any_rank,
        )  # fmt: skip
    if not done and world_size() > 1 and not interrupted():
        raise KeyboardInterrupt  # a signal to another process, for one to this one is raised by now
    return done


def _silent(*_: Any) -> None:
    """Report nothing, from processes but the first."""


def _finish(run: Run, encoder: ResNet, data: dict[str, Any]) -> None:
    """Write the encoder alone, with what is to be known of it, and drop what only training needs."""
    about = {
        "source": f"{run.folder.name}: {data['people']} people of {data['title']}",
        "licence": data["licence"], "overlap_audited": "false", "note": NOTE.format(title=data["title"]),
    }  # fmt: skip
    run.finish_training(encoder, about)


@torch.inference_mode()
def judge(
    encoder: nn.Module, faces: UInt8[Tensor, "faces 112 112"], pairs: Pairs, whiten: Whitener, device: torch.device
) -> dict[str, Any]:
    """Return how well codes tell people: those of a face and of its mirror image, added."""
    encoder.eval()
    codes = []
    for batch in torch.split(faces, EVALUATION_BATCH):
        images = whiten(batch.to(device)[:, None].float() / 255)
        codes.append(sum(encoder(side).output.float().cpu() for side in (images, images.flip(3))))
    return verification(cosines(torch.cat(codes).numpy(), pairs), pairs)


def text(found: dict[str, Any]) -> str:
    """Return the scores as lines to read, those of the random start beside them."""
    lines = []
    for name, scores in found["scores"].items():
        start = found["random_start"][name]
        lines.append(
            f"{name}: {scores['same_pairs']} pairs of one person, {scores['other_pairs']} of two; 95 % over "
            f"{scores['people']} {scores['intervals_over']}"
        )
        rows = [(f"TAR at FAR {rate}", scores["tar"][rate], start["tar"][rate]) for rate in scores["tar"]]
        for what, mine, before in [(one, scores[one], start[one]) for one in ("accuracy", "auc")] + rows:
            low, high = mine["interval"]
            lines.append(f"  {what:<18} {mine['value']:.4f}  {low:.4f} to {high:.4f}  at random {before['value']:.4f}")
    return "\n".join(lines)
