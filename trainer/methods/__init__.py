"""Every method, by name. To add one: write its file, import it here."""

from typing import Any

import torch

from trainer.config import ConfigError
from trainer.method import Method
from trainer.methods.dicefer import DiceFer
from trainer.methods.ifgan import IfGan
from trainer.methods.resnet import ResNet
from trainer.methods.resnet_island import ResNetIsland

METHODS: dict[str, type[Method]] = {
    "dicefer": DiceFer, "ifgan": IfGan, "resnet": ResNet, "resnet_island": ResNetIsland
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
    method.to(device).to(memory_format=torch.channels_last)
    return method
