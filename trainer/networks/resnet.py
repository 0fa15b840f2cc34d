"""ResNets of a chosen depth and width for some pictures (He et al. 2016, arXiv:1512.03385), named as torchvision's."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet101_Weights
from torchvision.models.resnet import BasicBlock, Bottleneck

DEPTHS: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}
IMAGENET = {"resnet18": ResNet18_Weights.IMAGENET1K_V1, "resnet101": ResNet101_Weights.IMAGENET1K_V1}
IMAGENET_WIDTH = 64


class ResidualNet(nn.Module):
    """Images to their pooled features and logits.

    Args:
        name: a key of `DEPTHS`.
        channels: of an image: one a grey picture, three a picture in colour.
        num_classes: how many logits.
        width: channels of the stem; 64 is torchvision's.
    """

    def __init__(self, name: str, channels: int, num_classes: int, width: int = IMAGENET_WIDTH) -> None:
        super().__init__()
        block, depths = DEPTHS[name]
        self.name = name
        self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        widths = [width * 2**level for level in range(len(depths))]
        inputs = [width, *(block.expansion * outputs for outputs in widths)]
        self.layer1, self.layer2, self.layer3, self.layer4 = map(
            _layer, [block] * 4, inputs, widths, depths, (1, 2, 2, 2)
        )
        self.num_features = inputs[-1]
        self.fc = nn.Linear(self.num_features, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch classes"]]:
        """Return the features, which are the mean of the last map, and the logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))
        return features, self.fc(features)

    def load_imagenet(self, color: bool = False) -> None:
        """Take torchvision's weights, but for the last layer; they are downloaded once.

        Args:
            color: the channels are pictures in colour, not grey ones.

        Raises:
            OSError: they cannot be had; the message says from where, and where to put them.
        """
        weights = IMAGENET[self.name]
        try:
            found = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"no ImageNet weights of {self.name} ({error}); bring {weights.url} by other "
                f"means to {torch.hub.get_dir()}/checkpoints/, or train from random ones: --set imagenet=false"
            ) from error
        mine = self.state_dict()
        stem = (color_weights if color else grey_weights)(found["conv1.weight"], self.conv1.in_channels)
        self.load_state_dict(mine | found | {"conv1.weight": stem} | {key: mine[key] for key in mine if "fc." in key})


def grey_weights(rgb: Float[Tensor, "width 3 7 7"], channels: int) -> Float[Tensor, "width channels 7 7"]:
    """Return a stem for grey channels that answers equal ones as the given stem answers the same grey in colour."""
    return rgb.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


def color_weights(rgb: Float[Tensor, "width 3 7 7"], channels: int) -> Float[Tensor, "width channels 7 7"]:
    """Return a stem for pictures in colour that answers equal ones as the given stem answers one of them."""
    pictures = channels // 3
    return rgb.repeat(1, pictures, 1, 1) / pictures


def _layer(block: type[BasicBlock | Bottleneck], inputs: int, width: int, depth: int, stride: int) -> nn.Sequential:
    outputs = block.expansion * width
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    first = block(inputs, width, stride, shortcut)
    return nn.Sequential(first, *(block(outputs, width) for _ in range(depth - 1)))
