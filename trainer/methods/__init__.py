"""Every method, by name. To add one: write its file, import it here."""

from typing import Any

import torch
from torch import nn

from trainer.methods.base import Method
from trainer.methods.config import ConfigError
from trainer.methods.cross_entropy import CrossEntropy
from trainer.methods.dicefer import DiceFer
from trainer.methods.ifgan import IfGan
from trainer.methods.independence import Independence
from trainer.methods.person_adversary import PersonAdversary
from trainer.methods.resnet import ResNet
from trainer.methods.resnet_island import ResNetIsland
from trainer.methods.supcon import SupCon

METHODS: dict[str, type[Method]] = {
    "dicefer": DiceFer, "ifgan": IfGan, "resnet": ResNet, "resnet_island": ResNetIsland,
    "cross_entropy": CrossEntropy, "supcon": SupCon, "person_adversary": PersonAdversary, "independence": Independence,
}  # fmt: skip


def find_method(name: str) -> type[Method]:
    """Return a method by name.

    Raises:
        ConfigError: there is none.
    """
    if name not in METHODS:
        raise ConfigError(f"no method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]


def build(name: str, settings: dict[str, Any], expressions: list[str], seed: int, device: torch.device) -> Method:
    """Return an untrained method, its weights drawn from the seed."""
    kind = find_method(name)
    torch.manual_seed(seed)
    constructor: Any = kind  # its arguments are every method's, but nn.Module does not say so
    method: Method = constructor(kind.Config(**settings), len(expressions))
    method.to(device).to(memory_format=torch.channels_last if _holds_channels_last(method) else torch.contiguous_format)
    return method


def _holds_channels_last(method: Method) -> bool:
    """Whether channels may come last, which is faster.

    In torch 2.15 on two CPU threads, the backward pass of a strided 1 x 1 convolution of fewer than 16 channels writes
    past its memory then, where a batch is odd. Networks of tests are that narrow, no preset is.
    """
    return not any(
        isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) != module.stride and module.in_channels < 16
        for module in method.modules()
    )
