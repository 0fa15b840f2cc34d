"""The optimizers of all methods, in torch's fused kernels: on the CPU half of the time of its loops."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer


def adam(parameters: Iterable[Tensor], lr: float, weight_decay: float, betas: tuple[float, float]) -> Adam:
    """Return Adam with coupled weight decay."""
    optimizer = Adam(parameters, lr, betas, weight_decay=weight_decay, fused=True)
    optimizer.register_load_state_dict_post_hook(_lay_out)
    return optimizer


def adamw(parameters: Iterable[Tensor], lr: float, weight_decay: float) -> AdamW:
    """Return AdamW: Adam with decoupled weight decay."""
    optimizer = AdamW(parameters, lr, weight_decay=weight_decay, fused=True)
    optimizer.register_load_state_dict_post_hook(_lay_out)
    return optimizer


def minimise(loss: Tensor, optimizer: Optimizer) -> None:
    """Move the optimizer's own weights, and leave no gradient on others that the loss passed through."""
    optimizer.zero_grad(set_to_none=True)
    own = (parameter for group in optimizer.param_groups for parameter in group["params"])
    torch.autograd.backward(loss, inputs=[parameter for parameter in own if parameter.requires_grad])
    optimizer.step()


def _lay_out(loaded: Optimizer) -> None:
    """Give what was loaded the memory layout of its parameters: fused kernels read both in one order, and do not ask.

    A state saved by torch's loops says so, and goes on in loops, to the bit.
    """
    for parameter, state in loaded.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter).copy_(value)
