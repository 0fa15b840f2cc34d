"""What holds for every method, and what DICE-FER's stages must do."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from trainer import fit as library
from trainer.data import FoldData
from trainer.evaluate import evaluate_run, predict
from trainer.loop import TrainingError
from trainer.method import Faces, Pairs
from trainer.methods import METHODS, build
from trainer.methods.dicefer import DiceFer, DiceFerConfig
from trainer.run import Run, RunError

CPU = torch.device("cpu")
SMALL = {
    "dicefer": ("critic_width=16", "epochs_expression=2", "epochs_identity=2", "epochs_classifier=2"),
    "resnet": ("epochs=3",),
}


def silent(*_):
    pass


def asked(manifest, method, *settings, fold=1, seed=0, preset="demo"):
    settings = ("width=4", "code_size=8", "batch_size=12", *SMALL[method], *settings)
    return library.Asked(
        manifest=manifest, method=method, preset=preset, settings=settings, epochs=None, fold=fold, seed=seed
    )


def weights(run):
    method = build(**built(run))
    run.load_weights(method)
    return method.state_dict()


def built(run):
    config = run.read_json("config.json")
    return {key: config[key] for key in ("settings", "expressions", "seed")} | {"name": config["method"], "device": CPU}


def timeless(run):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.metrics()]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_and_resumes_to_the_bit(name, patterns, tmp_path):
    whole = library.fit(asked(patterns, name), tmp_path / "whole", CPU, silent)
    untrained = build(**built(whole)).state_dict()
    assert any(not torch.equal(untrained[key], value) for key, value in weights(whole).items())
    assert all(np.isfinite(value) for row in whole.metrics() for key, value in row.items() if key != "stage")
    for stop in range(1, len(whole.metrics())):
        runs = tmp_path / f"stop{stop}"
        stopped = library.fit(asked(patterns, name), runs, CPU, silent, stop_after=stop)
        assert not stopped.trained and len(stopped.metrics()) == stop
        resumed = library.fit(asked(patterns, name), runs, CPU, silent)
        assert all(torch.equal(value, weights(whole)[key]) for key, value in weights(resumed).items())
        assert resumed.read_json("scores.json") == whole.read_json("scores.json")
        assert timeless(resumed) == timeless(whole)
        predictions = [(run.folder / "predictions.parquet").read_bytes() for run in (whole, resumed)]
        assert predictions[0] == predictions[1]


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_on_the_gpu_and_can_be_judged_on_the_cpu(name, patterns, tmp_path):
    run = library.fit(asked(patterns, name), tmp_path, torch.device("cuda"), silent)
    assert run.read_json("provenance.json")["device"].startswith("cuda")
    before = run.read_json("scores.json")["classification"]
    assert evaluate_run(run, patterns.parent, CPU)["classification"]["faces"] == before["faces"]


@pytest.mark.parametrize("name", METHODS)
def test_predictions_do_not_depend_on_the_batch(name, patterns):
    data = FoldData(patterns, 1, CPU)
    method = build(name, dataclasses.asdict(asked(patterns, name).config()), data.expressions, 0, CPU).eval()
    images = next(data.upright("validation"))[:6]
    with torch.inference_mode():
        together = method(images)
        torch.testing.assert_close(torch.cat([method(image[None]) for image in images]), together, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(method(images.flip(0)).flip(0), together, atol=1e-5, rtol=1e-4)
        assert together.shape == (6, len(data.expressions))


def test_a_finished_run_is_left_as_it_is(patterns, tmp_path):
    run = library.fit(asked(patterns, "resnet"), tmp_path, CPU, silent)
    before = {path.name: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    again = library.fit(asked(patterns, "resnet"), tmp_path, CPU, silent)
    assert {path.name: path.stat().st_mtime_ns for path in again.folder.iterdir()} == before
    assert len(run.read_json("provenance.json")["test_opened"]) == 1


def test_a_run_of_another_manifest_is_not_gone_on_with(patterns, tmp_path):
    run = library.fit(asked(patterns, "resnet"), tmp_path, CPU, silent, stop_after=1)
    provenance = run.read_json("provenance.json")
    provenance["data"]["manifest_sha256"] = "0"
    run.write_json("provenance.json", provenance)
    with pytest.raises(RunError, match="holds another run .*data was"):
        library.fit(asked(patterns, "resnet"), tmp_path, CPU, silent)


def test_the_seed_changes_the_weights(patterns, tmp_path):
    one, other = (library.fit(asked(patterns, "resnet", seed=seed), tmp_path, CPU, silent) for seed in (0, 1))
    assert not torch.equal(weights(one)["encoder.conv1.weight"], weights(other)["encoder.conv1.weight"])


def test_evaluating_again_gives_the_same_and_is_recorded(patterns, tmp_path):
    run = library.fit(asked(patterns, "dicefer"), tmp_path, CPU, silent)
    before = run.read_json("scores.json")
    assert json.loads(json.dumps(evaluate_run(run, patterns.parent, CPU))) == before
    assert len(run.read_json("provenance.json")["test_opened"]) == 2


# --- DICE-FER


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
    assert (paper.expression_estimator, paper.identity_estimator, paper.negatives) == ("dv", "dv", "shift")


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
        found = method.expression_critics(maps, partner_codes if swap else codes, "jsd")
        (found["global"] + found["local"]).backward()
        assert (partner.grad is not None and bool(partner.grad.any())) == swap


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
    for e, i in seen[1:]:
        rows, shuffled = e[:, 0], i[:, 0]
        assert (rows != shuffled).all() and ((rows < 4) == (shuffled < 4)).all()
    assert len(seen) == 4


def test_a_collapse_stops_the_run_and_says_so(patterns, tmp_path):
    dull = ("distance_weight=1000.0", "standardise=false", "learning_rate=0.01", "epochs_expression=30")
    with pytest.raises(TrainingError, match="stage expression, epoch .*the code has collapsed: its spread is 0.00"):
        library.fit(asked(patterns, "dicefer", *dull), tmp_path, CPU, silent)


def test_what_is_not_finite_stops_the_run_and_is_named(patterns, tmp_path):
    with pytest.raises(TrainingError, match="stage classifier, epoch 1: loss is nan"):
        library.fit(asked(patterns, "resnet", "learning_rate=1e18"), tmp_path, CPU, silent)


def test_a_classifier_step_moves_the_classifier_alone(batch):
    method = small()
    stage = stages(method)["classifier"]
    before = {key: value.clone() for key, value in method.state_dict().items()}
    method.train()
    stage.step(Faces(batch.anchor, batch.expression))
    moved = {key.split(".")[0] for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"classifier"}


def test_stages_are_the_runs_and_the_best_validation_epoch_is_kept(patterns, tmp_path):
    run = library.fit(asked(patterns, "resnet", "epochs=6"), tmp_path, CPU, silent)
    accuracies = [row["validation_accuracy"] for row in run.metrics()]
    data = FoldData(patterns, 1, CPU)
    method = build(**built(run))
    run.load_weights(method)
    logits, _ = predict(method, data, "validation")
    assert (logits.argmax(1) == data.classes("validation").numpy()).mean() == max(accuracies)
    assert isinstance(run, Run)
