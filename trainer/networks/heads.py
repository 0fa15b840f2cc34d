"""Small networks on codes: the classifier and the discriminator."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Classifier(nn.Module):
    """Two hidden layers on a code (DICE-FER section 4.3 gives their number, not their sizes)."""

    def __init__(self, code_size: int, num_expressions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(code_size, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, num_expressions)
        )

    def forward(self, codes: Float[Tensor, "batch code"]) -> Float[Tensor, "batch expressions"]:
        """Return one logit an expression."""
        logits: Tensor = self.layers(codes)
        return logits


class Discriminator(nn.Module):
    """Tells codes of one face from codes of two: 2 code_size -> 1000 -> 200 -> 1 (DICE-FER section 5.3)."""

    def __init__(self, code_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * code_size, 1000), nn.ReLU(), nn.Linear(1000, 200), nn.ReLU(), nn.Linear(200, 1)
        )

    def forward(
        self, expression: Float[Tensor, "batch code"], identity: Float[Tensor, "batch code"]
    ) -> Float[Tensor, " batch"]:
        """Return a logit a row: high where the codes look independent."""
        logits: Tensor = self.layers(torch.cat([expression, identity], dim=1)).squeeze(1)
        return logits
