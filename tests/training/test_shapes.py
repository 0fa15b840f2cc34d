"""The coloured-shapes problem: its factors are what they say, and DICE-FER's swap decides what a code keeps of them."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from trainer.methods.dicefer import DiceFer
from trainer.methods.settings.dicefer import DEFAULT

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # scripts, no package
from coloured import NUM_HUES, SHAPES, Factors, ShapeEncoder, chance, draw, pairs


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def at(generator, shapes, foregrounds=0, backgrounds=4, place=(15.5, 15.5, 9.0)):
    """Images of one place and size, noise taken off as far as the mean of many takes it."""
    num = len(shapes)
    colours = [torch.as_tensor(hues).expand(num) for hues in (foregrounds, backgrounds)]
    factors = Factors(torch.as_tensor(shapes), *colours, torch.tensor(place).expand(num, 3))
    return torch.stack([draw(factors, generator) for _ in range(20)]).mean(0)


def test_factors_of_one_image_say_nothing_of_each_other(generator):
    factors = chance(20_000, generator)
    for one, num_one in (("shape", len(SHAPES)), ("foreground", NUM_HUES)):
        for other, num_other in (("foreground", NUM_HUES), ("background", NUM_HUES)):
            if one != other:
                cells = getattr(factors, one) * num_other + getattr(factors, other)
                counts = torch.bincount(cells, minlength=num_one * num_other).float()
                assert counts.max() / counts.mean() < 1.25 and counts.min() / counts.mean() > 0.75
    columns = torch.stack([*factors[:3], *factors.place.T]).double()
    assert (torch.corrcoef(columns) - torch.eye(6)).abs().max() < 0.03


def test_a_pair_shares_its_shape_and_nothing_else(generator, monkeypatch):
    drawn = []
    monkeypatch.setattr("coloured.draw", lambda factors, _: drawn.append(factors))
    batch = pairs(5000, generator)
    anchor, partner = drawn
    assert torch.equal(anchor.shape, partner.shape) and torch.equal(batch.expression, anchor.shape)
    for name in ("foreground", "background"):
        assert (getattr(anchor, name) == getattr(partner, name)).float().mean() == pytest.approx(1 / NUM_HUES, abs=0.02)
    both = torch.cat([anchor.place, partner.place], dim=1).T
    assert torch.corrcoef(both)[:3, 3:].abs().max() < 0.05


def test_pairs_alike_differ_by_noise_alone(generator):
    batch = pairs(100, generator, alike=True)
    apart = batch.anchor - batch.partner
    assert not torch.equal(batch.anchor, batch.partner)
    assert apart.std() == pytest.approx(0.05 * 2**0.5, rel=0.05)


def test_every_hue_is_seen_on_every_ground_and_only_where_it_belongs(generator):
    shape = [SHAPES.index("square")] * NUM_HUES
    shown = at(generator, shape, torch.arange(NUM_HUES), torch.arange(NUM_HUES))
    middle, corner = shown[:, :, 15, 15], shown[:, :, 0, 0]
    assert (middle - corner).abs().amax(1).min() > 0.5  # equal hues too: the shape is bright, the ground is dark
    for colours in (middle, corner):
        assert torch.pdist(colours).min() > 0.2  # no two hues look the same
    other = at(generator, shape, torch.arange(NUM_HUES), torch.arange(NUM_HUES).flip(0))
    assert (other[:, :, 15, 15] - middle).abs().max() < 0.1


def test_shapes_cover_what_their_names_say(generator):
    red = {name: image[0] > 0 for name, image in zip(SHAPES, at(generator, range(len(SHAPES))), strict=True)}
    assert [name for name in SHAPES if not red[name][15, 15]] == ["ring"]
    for seen_as, odd in ((lambda image: image.flip(1), []), (lambda image: image.flip(0), ["triangle"])):
        assert [name for name in SHAPES if (red[name] != seen_as(red[name])).float().mean() > 0.02] == odd
    reached = {"diagonal": (9, 9), "top": (7, 15)}  # 9 and 8.5 px from the middle, the radius is 9
    found = {where: [name for name in SHAPES if red[name][pixel]] for where, pixel in reached.items()}
    assert found == {"diagonal": ["square"], "top": ["diamond", "cross", "ring"]}


def test_place_moves_and_sizes_the_shape(generator):
    columns, rows = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy")
    for x, y, radius in ((12.0, 18.0, 8.0), (19.0, 14.0, 10.0)):
        covered = at(generator, [0], place=(x, y, radius))[0, 0] > 0
        assert (columns[covered].mean(), rows[covered].mean()) == pytest.approx((x, y), abs=0.3)
        assert float(covered.sum()) == pytest.approx(torch.pi * (0.85 * radius) ** 2, rel=0.05)


def built(**settings):
    config = dataclasses.replace(DEFAULT, batch_size=32, weight_decay=0.0, **settings)
    return DiceFer(config, len(SHAPES), lambda: ShapeEncoder(flat=False, standardise=True))


def test_the_swap_keeps_the_shape_and_without_it_all_else_is_kept(generator):
    factors = chance(1500, generator)
    images, found = draw(factors, generator), {}
    for swap in (True, False):
        method = built(swap=swap)
        stage = next(method.train().stages())
        for _ in range(400):
            stage.step(pairs(32, generator))
        with torch.no_grad():
            codes = method.eval().codes(images)["expression"].numpy()
        for name in ("shape", "foreground", "background"):
            truth = getattr(factors, name).numpy()
            probe = LogisticRegression(max_iter=300).fit(codes[:750], truth[:750])
            found[name, swap] = probe.score(codes[750:], truth[750:])
    assert found["shape", True] > 0.9 and found["shape", False] < 0.75
    assert min(found["foreground", False], found["background", False]) > 0.95
    assert max(found["foreground", True], found["background", True]) < 0.93


def test_a_step_of_stage_2_betters_the_discriminator_then_hides_i_from_it(generator):
    method = built(adversarial_weight=100.0, learning_rate=1e-4, discriminator_steps=1)
    walk, batch = method.stages(), pairs(32, generator)
    next(walk)
    stage = next(walk)
    method.train()

    def codes(encoder):
        with torch.no_grad():
            return encoder.both(batch.anchor, batch.partner)[1]

    expression, before = codes(method.expression_encoder), codes(method.identity_encoder)
    told = method._discriminate(expression, before)
    stage.step(batch)
    assert method._discriminate(expression, before) < told
    logit = [method.discriminator(expression, side).mean() for side in (before, codes(method.identity_encoder))]
    assert logit[1] > logit[0]  # the logit says how independent the codes look
