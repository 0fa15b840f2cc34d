"""ResNets of a chosen depth and width (He et al. 2016, arXiv:1512.03385): torchvision's blocks, keys and first weights.

They are written out here because the import of torchvision costs as much as that of torch.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

STANDARD_WIDTH = 64  # channels of the stem in the paper and in public weights


class ResNetOutput(NamedTuple):
    """What a ResNet computes of images."""

    feature_map: Float[Tensor, "batch features rows columns"]  # of the last stage: 4 x 4 at 112 px
    features: Float[Tensor, "batch features"]  # the mean of the map
    output: Float[Tensor, "batch outputs"]  # logits, or a code: a linear map of the features


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, `downsample` where the shape changes."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, images: Tensor) -> Tensor:
        """Return the block's map."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.bn2(self.conv2(x))
        x += images if self.downsample is None else self.downsample(images)
        activated: Tensor = self.relu(x)
        return activated


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1 ones, and a shortcut; the stride is that of the middle one."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, self.expansion * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.expansion * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, images: Tensor) -> Tensor:
        """Return the block's map."""
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        x += images if self.downsample is None else self.downsample(images)
        activated: Tensor = self.relu(x)
        return activated


Block = BasicBlock | Bottleneck
DEPTHS: dict[str, tuple[type[Block], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(nn.Module):
    """Images to their last feature map, its mean, and a linear map of that.

    Args:
        name: a key of `DEPTHS`.
        channels: of an image: one a grey picture, three a picture in colour.
        num_outputs: how many logits, or the length of the code.
        width: channels of the stem; with 64, resnet18's map at 112 px is 512 x 4 x 4.
        standardise: give each output mean 0 and spread 1 in a batch: a code cannot collapse then, nor can a change of
            scale pass for a change of content.
    """

    def __init__(
        self, name: str, channels: int, num_outputs: int, width: int = STANDARD_WIDTH, standardise: bool = False
    ) -> None:
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
        self.fc = nn.Linear(self.num_features, num_outputs)
        self.norm = nn.BatchNorm1d(num_outputs, affine=False) if standardise else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> ResNetOutput:
        """Return the last feature map, its mean and the output."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        feature_map = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        features = feature_map.mean((2, 3))
        return ResNetOutput(feature_map, features, self.norm(self.fc(features)))


def grey_weights(rgb: Float[Tensor, "width 3 7 7"], channels: int) -> Float[Tensor, "width channels 7 7"]:
    """Return a stem for grey channels that answers equal ones as the given stem answers the same grey in colour."""
    return rgb.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


def color_weights(rgb: Float[Tensor, "width 3 7 7"], channels: int) -> Float[Tensor, "width channels 7 7"]:
    """Return a stem for pictures in colour that answers equal ones as the given stem answers one of them."""
    pictures = channels // 3
    return rgb.repeat(1, pictures, 1, 1) / pictures


def _layer(block: type[Block], inputs: int, width: int, depth: int, stride: int) -> nn.Sequential:
    outputs = block.expansion * width
    shortcut = None
    if stride != 1 or inputs != outputs:  # made before the block: random numbers are drawn in torchvision's order
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    first = block(inputs, width, stride, shortcut)
    return nn.Sequential(first, *(block(outputs, width) for _ in range(depth - 1)))
