import dataclasses
import math

import pytest
import torch
from small_runs import CPU, cut_short, run_spec

from trainer.methods import build
from trainer.methods.objectives.losses import centre_likeness, island_loss, moved_centres, running_means


def test_orthogonal_centres_are_alike_by_one_a_pair_and_opposite_ones_not_at_all():
    for num in (2, 6, 7):
        assert centre_likeness(3 * torch.eye(num)).item() == pytest.approx(num * (num - 1))
    assert centre_likeness(torch.tensor([[2.0, 1], [-4, -2]])).item() == pytest.approx(0, abs=1e-6)
    assert centre_likeness(torch.ones(3, 5)).item() == pytest.approx(2 * 3 * 2)


def test_a_case_by_hand():
    """Two classes in the plane; distances 5 and 1, centres at 60 degrees."""
    centres = torch.tensor([[1.0, 0], [0.5, math.sqrt(3) / 2]])
    features = torch.tensor([[4.0, 4], [0.5, math.sqrt(3) / 2 + 1]])
    classes = torch.tensor([0, 1])
    mean = (25 + 1) / (2 * 2) + 0.03 * 2 * 1.5
    assert island_loss(features, classes, centres, 0.03, "mean").item() == pytest.approx(mean)
    assert island_loss(features, classes, centres, 0.03, "sum").item() == pytest.approx(26 + 0.03 * 2 * 1.5)


def test_a_feature_is_pulled_to_its_own_centre_and_by_nothing_else():
    centres = torch.randn(3, 4).requires_grad_()
    features = torch.randn(5, 4).requires_grad_()
    classes = torch.tensor([0, 0, 1, 1, 1])
    with torch.no_grad():
        features[0] = centres[0]  # there already
    island_loss(features, classes, centres, 10.0, "mean").backward()
    assert not features.grad[0].any()
    torch.testing.assert_close(features.grad[1:], (features - centres[classes])[1:].detach() / 5)
    apart = torch.zeros(5, 4).requires_grad_()
    island_loss(apart, classes, torch.zeros(3, 4), 10.0, "mean").backward()
    assert not apart.grad.any()  # how alike the centres are moves no feature


def test_a_step_brings_centres_nearer_to_their_class_and_leaves_absent_ones():
    centres, features = torch.randn(3, 4), torch.randn(6, 4)
    classes = torch.tensor([0, 0, 0, 1, 1, 1])
    moved = moved_centres(centres, features, classes, rate=0.5, pairwise_weight=0.0)
    for place in (0, 1):
        mean = features[classes == place].mean(0)
        torch.testing.assert_close(moved[place], centres[place] + 0.375 * (mean - centres[place]))  # 0.5 * 3 / (1 + 3)
    assert torch.equal(moved[2], centres[2])


def test_a_step_makes_centres_less_alike_as_their_gradient_says():
    centres = torch.randn(4, 6, dtype=torch.float64)
    none = torch.zeros(0, 6), torch.zeros(0, dtype=torch.long)
    moved = moved_centres(centres, *none, rate=1e-3, pairwise_weight=1.0)
    assert centre_likeness(moved) < centre_likeness(centres)
    step, slope = 1e-6, (centres - moved) / 1e-3 * 3
    shifted = centres.clone()
    shifted[1, 2] += step
    assert ((centre_likeness(shifted) - centre_likeness(centres)) / step).item() == pytest.approx(
        slope[1, 2].item(), rel=1e-3
    )


def test_zero_centres_stay_finite():
    centres = torch.zeros(3, 4)
    centres[2] = 1
    moved = moved_centres(centres, torch.randn(2, 4), torch.tensor([0, 2]), rate=0.5, pairwise_weight=0.03)
    assert moved.isfinite().all() and moved.abs().max() < 5
    assert centre_likeness(centres).item() == pytest.approx(6)


def test_means_of_batches_are_the_mean_of_all():
    features, classes = torch.randn(20, 4), torch.arange(20) % 3
    means, counts = torch.zeros(4, 4), torch.zeros(4)
    for batch in (slice(0, 7), slice(7, 8), slice(8, 20)):
        means, counts = running_means(means, counts, features[batch], classes[batch])
    assert counts.tolist() == [7, 7, 6, 0] and not means[3].any()
    torch.testing.assert_close(means[1], features[classes == 1].mean(0))


# --- in training


@pytest.mark.parametrize(("name", "counted"), [("ifgan", 16), ("resnet_island", 8)])
def test_centres_are_class_means_after_the_first_epoch_then_move_and_are_kept(name, counted, patterns, tmp_path):
    """Where the rate is 0, they stay what the first epoch's features were on average: IF-GAN sees each face twice."""
    found = {}
    for rate in ("0.0", "0.5"):
        for epochs in (1, 2):
            ask = run_spec(patterns, name, f"centre_rate={rate}")
            run = cut_short(ask, tmp_path, epochs=1)
            kept = run.checkpoint().weights
            found[rate, epochs] = kept["island_loss.centres"]
        assert [row["island"] > 0 for row in run.metrics()] == [False, True]
        assert kept["island_loss.counts"].tolist() == [counted] * 3
    assert torch.equal(found["0.0", 1], found["0.0", 2]) and torch.equal(found["0.0", 1], found["0.5", 1])
    assert found["0.0", 1].any(1).all() and not torch.equal(found["0.5", 1], found["0.5", 2])


@pytest.mark.parametrize("name", ["ifgan", "resnet_island"])
def test_only_training_faces_move_the_centres(name, patterns):
    method = build(name, dataclasses.asdict(run_spec(patterns, name).config()), ["anger", "fear"], 0, CPU)
    list(method.stages())
    before = method.island_loss.centres.clone()
    for mode in (True, False):
        method.train(mode)
        method(torch.randn(2, 1, 112, 112))
        method.codes(torch.randn(2, 1, 112, 112))
    assert torch.equal(method.island_loss.centres, before)
    optimised = [p for stage in method.stages() for o in stage.optimizers for g in o.param_groups for p in g["params"]]
    assert all(parameter is not method.island_loss.centres for parameter in optimised)
