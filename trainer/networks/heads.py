"""Small networks on codes: the classifier and the discriminator."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Classifier(nn.Module):
    """Two hidden layers on a standardised code (DICE-FER section 4.3 gives their number, not their sizes)."""

    def __init__(self, code_size: int, num_expressions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(code_size, affine=False),
            nn.Linear(code_size, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, num_expressions),
        )  # fmt: skip

    def forward(self, codes: Float[Tensor, "batch code"]) -> Float[Tensor, "batch expressions"]:
        """Return one logit an expression."""
        logits: Tensor = self.layers(codes)
        return logits


class Discriminator(nn.Module):
    """Tells codes of one face from codes of two: 2 code_size -> 1000 -> 200 -> 1 (DICE-FER section 5.3).

    Args:
        code_size: length of each code.
        standardise: divide out each code's mean and spread in the batch first, which makes it sensitive.
    """

    def __init__(self, code_size: int, standardise: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * code_size, 1000), nn.ReLU(), nn.Linear(1000, 200), nn.ReLU(), nn.Linear(200, 1)
        )
        self.standardise = standardise

    def forward(
        self, expression: Float[Tensor, "batch code"], identity: Float[Tensor, "batch code"]
    ) -> Float[Tensor, " batch"]:
        """Return a logit a row: high where the codes look independent."""
        codes = [expression, identity]
        if self.standardise:
            codes = [_standard(code) for code in codes]
        logits: Tensor = self.layers(torch.cat(codes, dim=1)).squeeze(1)
        return logits


def _standard(codes: Float[Tensor, "batch code"]) -> Float[Tensor, "batch code"]:
    """Standardise by the batch's statistics, through which no gradient flows: they are no way to fool anybody."""
    fixed = codes.detach()
    return (codes - fixed.mean(0)) / (fixed.std(0) + 1e-4)
