"""The island loss with its state, the class centres: `island_step` of losses.py, for methods to hold as a module."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trainer.methods.objectives.losses import island_step
from trainer.runs.distributed import all_gather


class IslandLoss(nn.Module):
    """The island loss (IF-GAN Eq. 5) of features, and the class centres that each call moves.

    Args:
        num_classes: number of classes.
        num_features: length of a feature vector.
        rate: of the centres, see `moved_centres`.
        pairwise_weight: alpha of Eq. 5.
        reduction: over the batch: sum, as printed, or mean.
    """

    centres: Tensor
    counts: Tensor

    def __init__(
        self, num_classes: int, num_features: int, rate: float, pairwise_weight: float, reduction: str
    ) -> None:
        super().__init__()
        self.rate, self.pairwise_weight, self.reduction = rate, pairwise_weight, reduction
        self.first_epoch = True  # in which centres are only initialised, as class means
        self.register_buffer("centres", torch.zeros(num_classes, num_features))
        self.register_buffer("counts", torch.zeros(num_classes))

    def begin(self, epoch: int) -> None:
        """Begin an epoch; they count from 0."""
        self.first_epoch = epoch == 0

    def forward(self, features: Float[Tensor, "batch features"], classes: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the loss of the features of all ranks, and move the centres."""
        loss, centres, counts = island_step(
            all_gather(features.float()), all_gather(classes), self.centres, self.counts, first_epoch=self.first_epoch,
            rate=self.rate, pairwise_weight=self.pairwise_weight, reduction=self.reduction,
        )  # fmt: skip
        self.centres.copy_(centres)
        self.counts.copy_(counts)
        return loss
