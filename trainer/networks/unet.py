"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with self-attention, as IF-GAN's Fig. 3 draws it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainer.networks.attention import SelfAttention

LEVELS = 5  # four poolings
ATTENDED = 2  # the level, from 0, whose maps attend: 56 x 56 of 224 px; one level up, a map of all pairs takes 0.6 GB
PLACES = ("encoding", "skip", "decoding")


class UNet(nn.Module):
    """A face to a picture of the same size, with values from -1 to 1.

    Args:
        channels: of the face and of the picture; 1 is grey.
        width: channels of the first level; every further level has twice as many.
        attention: attend at quarter size on the path down, on the skip and on the path up.
    """

    def __init__(self, channels: int = 1, width: int = 32, attention: bool = True) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.encoders = nn.ModuleList(map(_block, [channels, *widths], widths))
        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleList(map(_up, widths[1:], widths))
        self.decoders = nn.ModuleList(_block(2 * inner, inner) for inner in widths[:-1])
        self.attentions = nn.ModuleDict(
            {name: SelfAttention(widths[ATTENDED]) if attention else nn.Identity() for name in PLACES}
        )
        self.paint = nn.Sequential(nn.Conv2d(width, channels, 1), nn.Tanh())

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the pictures. Height and width are multiples of 16."""
        x, skips = images, []
        for level, encode in enumerate(self.encoders):
            x = encode(self.pool(x) if level else x)
            skips.append(self._attend(level, "skip", x))
            x = self._attend(level, "encoding", x)
        for level in reversed(range(LEVELS - 1)):
            x = self.decoders[level](torch.cat([skips[level], self.ups[level](x)], dim=1))
            x = self._attend(level, "decoding", x)
        pictures: Tensor = self.paint(x)
        return pictures

    def attention_maps(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> dict[str, Float[Tensor, "batch positions positions"]]:
        """Return the attention maps by module name (see `SelfAttention.maps`); none without attention."""
        found: dict[str, Tensor] = {}
        watched = {name: module for name, module in self.attentions.items() if isinstance(module, SelfAttention)}

        def watch(name: str, module: SelfAttention) -> torch.utils.hooks.RemovableHandle:
            return module.register_forward_pre_hook(lambda _, inputs: found.update({name: module.maps(*inputs)}))

        handles = [watch(name, module) for name, module in watched.items()]
        try:
            self(images)
        finally:
            for handle in handles:
                handle.remove()
        return found

    def _attend(self, level: int, name: str, feature_map: Tensor) -> Tensor:
        if level != ATTENDED:
            return feature_map
        attended: Tensor = self.attentions[name](feature_map)
        return attended


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_layer(inputs, outputs), *_layer(outputs, outputs))


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2), *_layer(inputs, outputs))


def _layer(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
