"""What DICE-FER's stages must do, and what each variant changes."""

import dataclasses
import math

import pytest
import torch
from small_runs import CPU, cut_short, run_spec, same_weights, silent, timeless, weights

from manifests.schema import ManifestError
from trainer.methods.base import Faces, Pairs
from trainer.methods.config import ConfigError
from trainer.methods.dicefer import DiceFer, DiceFerConfig
from trainer.methods.objectives.losses import code_distance
from trainer.runs.run import RunError
from trainer.training import fit as library


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    anchor, partner = torch.randn(2, 8, 1, 112, 112, generator=generator)
    return Pairs(anchor, partner, torch.arange(8) % 3)


def small(**settings):
    torch.manual_seed(0)
    config = DiceFerConfig(width=4, critic_width=16, code_size=8, negatives="all", learning_rate=1e-3, **settings)
    return DiceFer(config, 3)


def stages(method):
    return {stage.name: stage for stage in method.stages()}


def test_the_papers_preset_is_the_printed_recipe():
    paper = DiceFer.PRESETS["paper"]
    assert (paper.batch_size, paper.learning_rate, paper.code_size) == (32, 1e-4, 64)
    assert (paper.global_weight, paper.local_weight, paper.distance_weight) == (0.5, 1.0, 0.1)
    assert (paper.epochs_expression, paper.epochs_identity, paper.epochs_classifier) == (100, 100, 100)
    assert (paper.identity_global_weight, paper.identity_local_weight) == (0.5, 1.0)
    assert (paper.expression_estimator, paper.identity_estimator, paper.critic) == ("dv", "dv", "concat")
    assert (paper.negatives, paper.distance_warmup) == ("all", 0)


def test_the_paper_starts_from_encoders_that_know_faces_or_says_that_it_does_not(patterns, tmp_path):
    ask = run_spec(patterns, "dicefer", preset="paper")
    with pytest.raises(ConfigError, match="--encoder-weights FILE, .*trainer pretrain casia-webface.*--from-scratch"):
        library.fit(ask, tmp_path, CPU, silent)
    with pytest.raises(ConfigError, match="exclude each other"):
        dataclasses.replace(ask, from_scratch=True, encoder_weights="resnet18").refuse_random_start()
    run = library.fit(dataclasses.replace(ask, from_scratch=True), tmp_path, CPU, silent)
    assert "from-scratch" in run.folder.name and run.read_json("config.json")["from_scratch"] is True
    other = dataclasses.replace(run_spec(patterns, "dicefer"), from_scratch=True)  # demo asks for no weights
    other.refuse_random_start()
    assert "from-scratch" not in other.name()


def test_coefficients_of_the_two_stages_are_apart(batch):
    """Table 2 of the paper sets mu^exp or nu^exp to 0, and leaves stage 2 as it is."""
    for name, other in (("global_weight", "identity_global_weight"), ("local_weight", "identity_local_weight")):
        assert getattr(DiceFerConfig(**{name: 0.0}), other) == getattr(DiceFerConfig(), other)
    first = {}
    for weight in (0.0, 1.0):
        method = small(identity_global_weight=weight)
        walk = method.stages()
        first[weight] = next(walk).step(batch)["global"].item()
    assert first[0.0] == first[1.0]


def test_while_the_distance_warms_up_it_moves_nothing(batch):
    moved = []
    for weight in (0.0, 100.0):
        method = small(distance_weight=weight, distance_warmup=1)
        stage = next(method.stages())
        stage.begin(0)
        stage.step(batch)
        first = method.expression_encoder.state_dict()["sides.0.conv1.weight"].clone()
        stage.begin(1)
        stage.step(batch)
        moved.append((first, method.expression_encoder.state_dict()["sides.0.conv1.weight"]))
    assert torch.equal(moved[0][0], moved[1][0]) and not torch.equal(moved[0][1], moved[1][1])


@pytest.mark.parametrize("preset", DiceFer.PRESETS)
def test_a_step_of_stage_1_raises_its_objective(preset, batch):
    small = {"width": 4, "critic_width": 16, "code_size": 8, "learning_rate": 1e-3}
    torch.manual_seed(0)
    method = DiceFer(dataclasses.replace(DiceFer.PRESETS[preset], **small), 3)
    step = next(method.stages()).step
    first = step(batch)
    for _ in range(15):
        last = step(batch)
    assert last["global"] > first["global"] and last["local"] > first["local"]


def test_stage_2_leaves_the_expression_code_as_it_is_whatever_its_weight(batch):
    codes = []
    for weight in (0.0, 1.0):
        method = small(adversarial_weight=weight)
        walk = method.stages()
        next(walk)
        before = {key: value.clone() for key, value in method.expression_encoder.state_dict().items()}
        stage = next(walk)
        method.train()
        for _ in range(10):
            stage.step(batch)
        after = method.expression_encoder.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)  # batch statistics and their count too
        codes.append(method.eval().codes(batch.anchor)["expression"])
    assert torch.equal(*codes)


def test_the_swap_reads_the_partner_and_without_it_nothing_flows_between_faces(batch):
    for swap in (True, False):
        method = small(swap=swap, distance_weight=0.0).eval()
        maps, codes = method.expression_encoder(batch.anchor)
        partner = batch.partner.clone().requires_grad_()
        _, partner_codes = method.expression_encoder(partner)
        found = method.expression_critics(maps, partner_codes if swap else codes, "jsd", batch.expression)
        (found["global"] + found["local"]).backward()
        assert (partner.grad is not None and bool(partner.grad.any())) == swap


def test_a_step_against_a_discriminator_makes_codes_look_more_independent(batch):
    method = small(adversarial_weight=100.0, identity_global_weight=0.0, identity_local_weight=0.0)
    method._discriminate = lambda *_: 0 * method.discriminator.layers[0].weight.sum()  # it stays as it is
    walk = method.stages()
    next(walk)
    stage = next(walk)
    method.train()
    losses = [stage.step(batch)["independence"].item() for _ in range(5)]
    assert losses[-1] < losses[0]


def test_the_discriminator_learns_at_weight_zero(batch):
    method = small(adversarial_weight=0.0)
    walk = method.stages()
    next(walk)
    stage = next(walk)
    before = [parameter.clone() for parameter in method.discriminator.parameters()]
    first = stage.step(batch)["discriminator"]
    for _ in range(30):
        last = stage.step(batch)["discriminator"]
    assert last < first
    assert all(not torch.equal(old, new) for old, new in zip(before, method.discriminator.parameters(), strict=True))


def test_the_discriminator_shuffles_anchors_and_partners_apart():
    """Shuffled across the halves, a pair of one expression would stand for independence."""
    method = small(discriminator_shifts=3)
    seen = []
    method.discriminator.forward = lambda e, i: seen.append((e, i)) or e.sum(1)
    expression = torch.arange(8.0)[:, None].expand(8, 8)
    method._discriminate(expression, expression)
    ((rows, shown),) = ((e[:, 0].view(4, 8), i[:, 0].view(4, 8)) for e, i in seen)
    assert torch.equal(rows[0], shown[0])
    assert (rows[1:] != shown[1:]).all() and ((rows < 4) == (shown < 4)).all()
    assert len({tuple(shuffle.tolist()) for shuffle in shown}) == 4


def test_a_collapse_is_noted_and_does_not_end_the_run(patterns, tmp_path):
    dull = ("distance_weight=1000.0", "gated=false", "standardise=false", "learning_rate=0.01", "epochs_expression=30")
    run = library.fit(run_spec(patterns, "dicefer", *dull), tmp_path, CPU, silent)
    noted = [row for row in run.metrics() if "the code has collapsed" in row.get("note", "")]
    assert run.finished and noted and noted[0]["stage"] == "expression"


def test_a_classifier_step_moves_the_classifier_alone(batch):
    method = small()
    stage = stages(method)["classifier"]
    before = {key: value.clone() for key, value in method.state_dict().items()}
    method.train()
    stage.step(Faces(batch.anchor, batch.expression))
    moved = {key.split(".")[0] for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"classifier"}


@pytest.mark.parametrize(("trained", "untrained"), [("local", "global"), ("global", "local")])
def test_the_information_told_is_that_of_a_critic_that_is_trained(trained, untrained, batch):
    """An untrained critic finds nothing, which would pass for a collapse and shut the gate of the distance."""
    method = small(**{f"{untrained}_weight": 0.0}, expression_estimator="nce")
    logged = stages(method)["expression"].step(batch)
    assert logged["nats"].item() == pytest.approx(logged[trained].item())
    assert logged["nats"].item() != pytest.approx(logged[untrained].item())


# --- variants


def moved(method, stage, batch):
    """Return the submodules that one step of a stage moves, among those with weights."""
    before = {key: value.clone() for key, value in method.state_dict().items()}
    method.train()
    stage.step(batch)
    return {key.split(".")[0] for key, value in method.state_dict().items() if not torch.equal(value, before[key])}


def test_a_fine_tuned_classifier_moves_the_expression_encoder_too(batch):
    method = small(finetuned=True)
    assert moved(method, stages(method)["classifier"], Faces(batch.anchor, batch.expression)) == {
        "classifier", "expression_encoder"
    }  # fmt: skip


def test_joint_training_moves_the_expression_encoder_in_stage_2_and_not_after(batch):
    method = small(joint=True)
    walk = method.stages()
    next(walk)
    assert moved(method, next(walk), batch) >= {"expression_encoder", "expression_critics", "identity_encoder"}
    assert moved(method, next(walk), Faces(batch.anchor, batch.expression)) == {"classifier"}


def test_jointly_the_adversary_reaches_the_expression_encoder_and_the_identity_information_does_not(batch):
    """Information of [E, I] would draw the person into E (docs/papers.md)."""
    reached = {}
    for zeta in (0.0, 1.0):
        off = {"joint": True, "distance_weight": 0.0, "global_weight": 0.0, "local_weight": 0.0}
        off |= {"identity_global_weight": 0.0, "identity_local_weight": 0.0}
        method = small(**off, adversarial_weight=zeta)
        walk = method.stages()
        next(walk)
        stage = next(walk)
        stage.step(batch)
        gradients = [parameter.grad for parameter in method.expression_encoder.parameters()]
        reached[zeta] = any(g is not None and bool(g.any()) for g in gradients)
    assert reached == {0.0: False, 1.0: True}


def test_encoders_that_are_not_shared_learn_apart_and_both_codes_are_told(batch):
    method = small(shared=False)
    stages(method)["expression"].step(batch)
    one, other = (side.conv1.weight for side in method.expression_encoder.sides)
    assert not torch.equal(one, other)
    codes = method.eval().codes(batch.anchor)
    assert set(codes) == {"expression", "identity", "expression of partners"}
    assert not torch.equal(codes["expression"], codes["expression of partners"])


@pytest.mark.parametrize("estimator", ["dv", "jsd", "mine", "smile", "nwj"])
def test_leaving_out_pairs_of_one_class_is_refused_where_the_divergence_would_be_infinite(estimator):
    with pytest.raises(ConfigError, match=f"negatives=other with expression_estimator={estimator}: .* is infinite"):
        DiceFerConfig(negatives="other", expression_estimator=estimator, identity_estimator="nce")
    DiceFerConfig(negatives="other", expression_estimator="nce", identity_estimator="nce")


@pytest.mark.parametrize("estimator", ["dv", "jsd", "mine", "smile", "nwj", "nce"])
def test_every_estimator_trains_both_stages(estimator, batch):
    method = small(expression_estimator=estimator, identity_estimator=estimator)
    for stage in list(stages(method).values())[:2]:
        assert all(torch.isfinite(value).all() for value in stage.step(batch).values())


def test_the_average_of_mine_is_saved_and_a_resumed_run_is_the_same(patterns, tmp_path):
    settings = ("expression_estimator=mine", "identity_estimator=mine")
    whole = library.fit(run_spec(patterns, "dicefer", *settings), tmp_path / "whole", CPU, silent)
    cut_short(run_spec(patterns, "dicefer", *settings), tmp_path / "cut", epochs=1)
    cut = library.fit(run_spec(patterns, "dicefer", *settings), tmp_path / "cut", CPU, silent)
    assert timeless(cut) == timeless(whole)
    assert same_weights(cut, whole)
    assert torch.isfinite(weights(whole)["expression_critics.local_average"]).all()


def test_the_distance_is_a_mean_over_the_dimensions():
    """A sum would weigh as many times more as there are dimensions, and collapses the code."""
    wide = code_distance(torch.zeros(2, 64), torch.ones(2, 64))
    assert wide == code_distance(torch.zeros(2, 1), torch.ones(2, 1)) == 1


def test_what_does_not_stop_a_run_is_noted():
    method = small()
    assert method._concern({"nats": 1.0, "spread": 1.0, "discriminator": 1.3}, 100) is None
    assert "diverges" in method._concern({"nats": 100.0, "spread": 1.0, "discriminator": 1.3}, 100)
    assert "has won" in method._concern({"nats": 1.0, "spread": 1.0, "discriminator": 0.01}, 100)
    assert "leak" in method._concern({"nats": math.log(3) + 0.3, "spread": 1.0, "distance": 0.1}, 100)


def test_a_code_that_tells_nothing_is_noted_at_once_as_a_point_and_late_otherwise():
    method, nothing = small(), {"nats": 0.01, "discriminator": 1.3}
    assert "collapsed" in method._concern(nothing | {"spread": 0.001}, 100)
    assert method._concern(nothing | {"spread": 1.0}, 100) is None
    method._begin(50, warmup=0)
    assert "collapsed" in method._concern(nothing | {"spread": 1.0}, 100)


def test_a_note_stands_in_the_runs_metrics(patterns, tmp_path, monkeypatch):
    monkeypatch.setattr(DiceFer, "_concern", lambda _, means, **__: "odd" if "discriminator" in means else None)
    run = library.fit(run_spec(patterns, "dicefer"), tmp_path, CPU, silent)
    assert [row["stage"] for row in run.metrics() if row.get("note") == "odd"] == ["identity", "identity"]


# --- starting from another run


def test_a_run_that_starts_from_the_stages_of_another_is_the_run_it_would_have_been(patterns, tmp_path):
    base = library.fit(run_spec(patterns, "dicefer"), tmp_path, CPU, silent)
    ask = run_spec(patterns, "dicefer", "adversarial_weight=0.5")
    whole = library.fit(ask, tmp_path / "whole", CPU, silent)
    started = dataclasses.replace(ask, start=base.folder, stage="identity")
    cut_short(started, tmp_path / "started", epochs=1)
    branch = library.fit(started, tmp_path / "started", CPU, silent)
    assert same_weights(branch, whole)
    assert branch.read_json("scores.json") == whole.read_json("scores.json")
    assert {row["stage"] for row in branch.metrics()} == {"identity", "classifier"}
    about = branch.read_json("config.json")["start"]
    assert about["run"] == base.folder.name and about["stage"] == "identity" and len(about["weights_sha256"]) == 64


def test_a_start_of_another_fold_seed_or_stage_is_refused(patterns, tmp_path):
    base = library.fit(run_spec(patterns, "dicefer"), tmp_path, CPU, silent)
    for other, words in (({"fold": 2}, "fold(, .*)? differ"), ({"seed": 1}, "seed differ")):
        ask = dataclasses.replace(run_spec(patterns, "dicefer", **other), start=base.folder, stage="identity")
        with pytest.raises(RunError, match=f"is no start for this run: ({words})"):
            library.fit(ask, tmp_path / "other", CPU, silent)
    ask = dataclasses.replace(run_spec(patterns, "dicefer"), start=base.folder, stage="pretraining")
    with pytest.raises(ConfigError, match="no stage 'pretraining' of dicefer .* expression, identity, classifier"):
        library.fit(ask, tmp_path / "other", CPU, silent)


def test_a_run_of_some_expressions_sees_no_other(patterns, tmp_path):
    ask = dataclasses.replace(run_spec(patterns, "dicefer"), expressions=("anger", "fear"))
    run = library.fit(ask, tmp_path, CPU, silent)
    assert run.read_json("config.json")["expressions"] == ["anger", "fear"]
    assert run.read_json("scores.json")["classification"]["expressions"] == ["anger", "fear"]
    with pytest.raises(ManifestError, match="no face shows contempt"):
        library.fit(dataclasses.replace(ask, expressions=("anger", "contempt")), tmp_path, CPU, silent)
