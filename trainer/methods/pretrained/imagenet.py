"""ImageNet's weights as a ResNet's start: all but its last layer, the stem folded to the channels of its images."""

from trainer.methods.config import ConfigError
from trainer.methods.pretrained import weights
from trainer.networks.resnet import ResNet, color_weights, grey_weights


def load_imagenet(network: ResNet, color: bool) -> None:
    """Give a network torchvision's weights, but for the last layer; they are downloaded once.

    Args:
        network: of the standard width.
        color: its channels are pictures in colour, not grey ones.

    Raises:
        ConfigError: they cannot be had; the message says from where, and where to put them.
    """
    try:
        imagenet = weights.read(network.name).tensors
    except weights.WeightsError as error:
        raise ConfigError(f"{error}; or train from random weights: --set imagenet=false") from error
    own = network.state_dict()
    stem = (color_weights if color else grey_weights)(imagenet["conv1.weight"], network.conv1.in_channels)
    own_head = {key: own[key] for key in own if key.startswith("fc.")}
    network.load_state_dict(own | imagenet | {"conv1.weight": stem} | own_head)
