"""The controls differ from DICE-FER in their objective alone: encoder, batches, steps, faces and selection are its."""

import dataclasses

import pytest
import torch
from manifest_files import official_of_nobody
from small_runs import CPU, run_spec, silent

from trainer.data.fold_data import FoldData
from trainer.methods import build, find_method, find_presets
from trainer.methods.base import Faces, Pairs
from trainer.methods.config import ConfigError
from trainer.training import fit as library

CONTROLS = ("cross_entropy", "supcon", "person_adversary", "independence")
SHARED = ("batch_size", "epochs_expression", "epochs_classifier", "learning_rate", "weight_decay", "schedule", "width",
          "code_size", "standardise", "balanced")  # fmt: skip


@pytest.fixture
def batch():
    anchor, partner = torch.randn(2, 8, 1, 112, 112)
    return Pairs(anchor, partner, torch.arange(8) % 3, torch.stack([torch.arange(8), torch.arange(8).roll(1)], dim=1))


def small(name, **settings):
    torch.manual_seed(0)
    config = dataclasses.replace(find_presets(name)["default"], width=4, code_size=8, **settings)
    return find_method(name)(config, 3)


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("preset", ["paper", "default", "demo"])
def test_a_controls_preset_is_dice_fers_in_all_that_both_have(name, preset):
    ours, theirs = find_presets(name)[preset], find_presets("dicefer")[preset]
    assert all(getattr(ours, setting) == getattr(theirs, setting) for setting in SHARED)


def test_all_train_the_same_encoder_with_as_many_steps_and_faces(patterns, tmp_path):
    budgets, encoders = [], []
    for name in ("dicefer", *CONTROLS):
        run = library.fit(run_spec(patterns, name), tmp_path, CPU, silent)
        budgets.append({key: run.read_json("scores.json")["budget"][key] for key in ("steps", "faces", "updates")})
        method = build(name, run.read_json("config.json")["settings"], ["a", "b"], 0, CPU)
        encoder = method.expression_encoder.sides[0] if name == "dicefer" else method.encoder
        encoders.append(encoder.state_dict())
    assert all(budget == budgets[0] for budget in budgets) and budgets[0]["steps"] > 0
    assert all(torch.equal(encoders[0][key], other[key]) for other in encoders for key in encoders[0])


@pytest.mark.parametrize("name", CONTROLS)
def test_a_step_lowers_the_loss_and_the_classifier_leaves_the_encoder_as_it_is(name, batch):
    method = small(name)
    walk = method.stages()
    stage = next(walk)
    method.train()
    losses = [stage.step(batch)["loss"].item() for _ in range(15)]
    assert losses[-1] < losses[0]
    before = {key: value.clone() for key, value in method.state_dict().items()}
    next(walk).step(Faces(batch.anchor, batch.expression))
    moved = {key.split(".")[0] for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"classifier"}


def test_the_adversary_learns_the_person_and_the_encoder_the_opposite(batch):
    """One step at a time: of the same loss, the gradients at encoder and adversary have opposite signs."""
    method = small("person_adversary", adversarial_weight=2.0)
    faces = batch.faces()
    gradients = []
    for weight in (2.0, -1.0):
        method._weight = weight
        told = method._objective(faces)[1]["adversary"]
        gradients.append(torch.autograd.grad(told, [method.encoder.fc.weight, method.adversary[0].weight]))
    torch.testing.assert_close(gradients[0][0], -2 * gradients[1][0])
    torch.testing.assert_close(gradients[0][1], gradients[1][1])


def test_the_adversarys_weight_rises_from_nothing():
    method = small("person_adversary", adversarial_weight=3.0)
    weights = []
    for epoch in (0, 10, 99):
        method._begin(epoch)
        weights.append(method._weight)
    assert weights[0] == 0 and weights == sorted(weights) and weights[-1] == pytest.approx(3, abs=0.01)


def test_the_penalty_makes_the_codes_less_dependent(batch):
    found = []
    for weight in (0.0, 1000.0):
        method = small("independence", independence_weight=weight)
        stage = next(method.stages())
        method.train()
        found.append([stage.step(batch)["hsic"].item() for _ in range(25)][-1])
    assert found[1] < found[0]


@pytest.mark.parametrize("name", ["person_adversary", "independence"])
def test_where_nobody_is_named_or_too_many_are_it_is_said(name, batch):
    method = small(name, num_people=8)
    stage = next(method.stages())
    stage.step(batch)
    with pytest.raises(ConfigError, match="nobody is named in this manifest.*choose another method, such as supcon"):
        stage.step(batch._replace(person=None))
    with pytest.raises(ConfigError, match="num_people=8: the training part has 9 or more"):
        stage.step(batch._replace(person=batch.person + 1))


def test_batches_say_who_is_on_them_within_the_training_part(patterns):
    data = FoldData(patterns, 1, CPU)
    people = sorted(set(data.column("train", "subject")))
    for reads in (Faces, Pairs):
        for batch in data.batches(reads, 12, 0, 0):
            assert batch.person.max() < len(people) and batch.person.min() >= 0
            if reads is Pairs:
                assert (batch.person[:, 0] != batch.person[:, 1]).all()  # partners are other people
    faces = batch.faces()
    assert torch.equal(faces.person[: len(batch.anchor)], batch.person[:, 0])
    assert torch.equal(faces.image[len(batch.anchor) :], batch.partner)


def test_batches_of_faces_that_nobody_has_named_have_no_person(patterns, tmp_path):
    manifest = official_of_nobody(patterns, tmp_path / "set.parquet")
    assert next(FoldData(manifest, 1, CPU).batches(Faces, 12, 0, 0)).person is None
