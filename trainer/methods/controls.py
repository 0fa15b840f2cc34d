"""What the controls have in common: DICE-FER's encoder, its budget, and how its expression code is judged.

Equal budget: the encoder takes as many optimizer updates as DICE-FER's in its stage 1, each on as many faces, of the
same stream of batches: pairs of one expression, classes as even, in the same order and the same variants, by optimizer,
learning rate, weight decay and schedule of DICE-FER's preset of that name. Its last epoch is kept. Then, as there, a
classifier is trained on the frozen code, and its best validation epoch is kept. Only the objective differs.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from trainer.methods.base import SCHEDULES, Faces, Pairs, Stage
from trainer.methods.config import ConfigError
from trainer.methods.optimizers import adamw, minimise
from trainer.methods.settings.controls import ControlConfig
from trainer.networks.resnet import ResNet

Objective = Callable[[Faces], tuple[Tensor, dict[str, Tensor]]]  # faces of a batch -> loss, and what to log


def encoder_of(config: ControlConfig) -> ResNet:
    """Return an untrained encoder, the one that DICE-FER has."""
    return ResNet("resnet18", 1, config.code_size, config.width, config.standardise)


def expression_stage(config: ControlConfig, objective: Objective, modules: Iterable[nn.Module]) -> Stage:
    """Return the stage that trains an encoder, and what its objective needs beside it, on DICE-FER's batches."""
    optimizer = _adamw(config, modules)

    def step(batch: Pairs) -> dict[str, Tensor]:
        loss, logged = objective(batch.faces())
        minimise(loss, optimizer)
        return {"loss": loss} | logged

    return Stage(
        "expression", config.epochs_expression, config.batch_size, Pairs, step, (optimizer,),
        schedule=SCHEDULES[config.schedule], balanced=config.balanced,
    )  # fmt: skip


def classifier_stage(config: ControlConfig, encoder: nn.Module, classifier: nn.Module) -> Stage:
    """Return the stage that trains a classifier on the code of a frozen encoder, as DICE-FER's third."""
    optimizer = _adamw(config, [classifier])

    def step(batch: Faces) -> dict[str, Tensor]:
        with torch.no_grad():
            code = encoder.eval()(batch.image).output  # in evaluation, or its batch statistics would drift
        loss = F.cross_entropy(classifier(code).float(), batch.expression)
        minimise(loss, optimizer)
        return {"loss": loss}

    return Stage(
        "classifier", config.epochs_classifier, config.batch_size, Faces, step, (optimizer,),
        schedule=SCHEDULES[config.schedule], selects=True, trains_code=False,
    )  # fmt: skip


def named_people(faces: Faces, num_people: int) -> Int[Tensor, " batch"]:
    """Return who is on each face.

    Raises:
        ConfigError: nobody is named, or there are more people than the method has outputs for.
    """
    if faces.person is None:
        raise ConfigError(
            "nobody is named in this manifest, and the method learns from people: choose another method, such as "
            "supcon, or a dataset that names them, such as ckplus"
        )
    if (last := int(faces.person.max())) >= num_people:
        raise ConfigError(f"num_people={num_people}: the training part has {last + 1} or more; --set num_people=1024")
    return faces.person


def _adamw(config: ControlConfig, modules: Iterable[nn.Module]) -> torch.optim.AdamW:
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return adamw(parameters, config.learning_rate, config.weight_decay)
