"""Fused optimizers: the weights that torch's loops give, and to the bit their own after a checkpoint."""

import pytest
import torch
from small_runs import CPU
from torch import nn

from trainer.methods import build
from trainer.methods.base import Faces
from trainer.methods.optimizers import adam, adamw, minimise
from trainer.runs.run import Run

LOOPS = {
    "adamw": lambda module: torch.optim.AdamW(module.parameters(), 1e-2, weight_decay=0.1, foreach=False),
    "adam": lambda module: torch.optim.Adam(module.parameters(), 1e-2, (0.9, 0.99), weight_decay=0.1, foreach=False),
}
OURS = {
    "adamw": lambda module: adamw(module.parameters(), 1e-2, 0.1),
    "adam": lambda module: adam(module.parameters(), 1e-2, 0.1, (0.9, 0.99)),
}


def network():
    """A convolution whose channels come last, as those of all presets do."""
    torch.manual_seed(0)
    return nn.Conv2d(8, 16, 3).to(memory_format=torch.channels_last)


def train(module, optimizer, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        minimise(module(torch.randn(4, 8, 6, 6, generator=generator)).square().sum(), optimizer)


def as_saved(optimizer):
    """Return its state as a checkpoint holds it: every tensor contiguous."""
    saved = optimizer.state_dict()
    state = {
        number: {name: value.clone(memory_format=torch.contiguous_format) for name, value in values.items()}
        for number, values in saved["state"].items()
    }
    return {"state": state, "param_groups": saved["param_groups"]}


@pytest.mark.parametrize("kind", OURS)
def test_weights_are_those_of_torchs_loops_but_for_rounding(kind):
    modules = []
    for make in (OURS[kind], LOOPS[kind]):
        modules.append(network())
        train(modules[-1], make(modules[-1]), 20)
    torch.testing.assert_close(modules[0].weight, modules[1].weight, atol=1e-6, rtol=1e-5)
    assert (modules[0].weight - network().weight).abs().max() > 0.05


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("begun_by", [OURS, LOOPS], ids=["ours", "loops"])
def test_what_is_loaded_goes_on_to_the_bit_as_it_began(begun_by, kind):
    """A fused kernel would read a contiguous average beside weights whose channels come last, and say nothing."""
    whole = network()
    optimizer = begun_by[kind](whole)
    train(whole, optimizer, 3)
    cut = network()
    cut.load_state_dict(whole.state_dict())
    later = OURS[kind](cut)
    later.load_state_dict(as_saved(optimizer))
    for module, mine in ((whole, optimizer), (cut, later)):
        train(module, mine, 3, seed=1)
    assert torch.equal(whole.weight, cut.weight)
    assert later.param_groups[0]["fused"] == optimizer.param_groups[0]["fused"]


def test_what_a_loss_passes_through_keeps_no_gradient():
    first, second = nn.Linear(3, 3), nn.Linear(3, 1)
    frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    optimizer = adamw([*first.parameters(), frozen], 1e-2, 0.0)
    before = [parameter.clone() for parameter in (*first.parameters(), *second.parameters())]
    minimise(second(first(torch.randn(4, 3))).sum() * frozen.sum(), optimizer)
    moved = [not torch.equal(a, b) for a, b in zip(before, (*first.parameters(), *second.parameters()), strict=True)]
    assert moved == [True, True, False, False]
    assert all(parameter.grad is None for parameter in second.parameters())


def test_a_checkpoint_of_a_network_whose_channels_come_last_goes_on_to_the_bit(tmp_path):
    batch = Faces(torch.randn(6, 1, 112, 112), torch.arange(6) % 3)

    def begun():
        method = build("resnet", {"width": 16}, ["a", "b", "c"], 0, CPU)
        return method, next(method.stages())

    whole, stage = begun()
    kernel = whole.get_parameter("encoder.layer1.0.conv1.weight")
    assert kernel.is_contiguous(memory_format=torch.channels_last) and not kernel.is_contiguous()
    stage.step(batch)
    Run(tmp_path).save(whole, stage.optimizers, {}, {})
    cut, later = begun()
    Run(tmp_path).checkpoint().restore(cut, later.optimizers)
    for step in (stage.step, later.step):
        step(batch)
        step(batch)
    assert all(torch.equal(value, cut.state_dict()[key]) for key, value in whole.state_dict().items())
