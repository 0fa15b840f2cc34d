"""Every method, by name. To add one: write its file, import it here."""

from trainer.method import Method
from trainer.methods.dicefer import DiceFer
from trainer.methods.resnet import ResNet

METHODS: dict[str, type[Method]] = {"dicefer": DiceFer, "resnet": ResNet}
