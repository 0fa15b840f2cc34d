"""What IF-GAN's step must do, what it must never see, and where its average faces come from."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch
from manifest_files import copy_manifest
from small_runs import CPU, cut_short, run_spec, silent

from manifests import files
from manifests.schema import DEFAULT_CROP, Crop, ManifestError
from trainer.data.augment import jittered_grids, random_affine
from trainer.data.extra_datasets import sha256
from trainer.data.fold_data import FoldData
from trainer.methods.base import Faces, resized
from trainer.methods.config import ConfigError
from trainer.methods.ifgan import IfGan
from trainer.methods.resnet_island import ResNetIsland
from trainer.training import fit as library
from trainer.training.loop import TrainingError

TINY = {"width": 4, "discriminator_width": 4, "classifier_width": 4, "size": 32}


def small(**settings):
    torch.manual_seed(0)
    method = IfGan(dataclasses.replace(IfGan.PRESETS["demo"], **(TINY | settings)), 3)
    method.averages.copy_(torch.rand_like(method.averages) * 2 - 1)
    return method.train()


@pytest.fixture
def batch():
    return Faces(torch.rand(8, 1, 112, 112) * 2 - 1, torch.arange(8) % 3)


def parameters(method):
    return {name: parameter.detach().clone() for name, parameter in method.named_parameters()}


def moved(method, before):
    return {name.split(".")[0] for name, value in method.named_parameters() if not torch.equal(value, before[name])}


def watched(method, name):
    """What is shown to one of the networks, call by call."""
    seen = []
    getattr(method, name).register_forward_pre_hook(lambda _, given: seen.append([each.detach() for each in given]))
    return seen


def test_the_papers_preset_is_the_printed_recipe():
    paper = IfGan.PRESETS["paper"]
    assert (paper.batch_size, paper.epochs, paper.learning_rate, paper.weight_decay) == (50, 100, 1e-4, 1e-4)
    weights = (paper.adversarial_weight, paper.reconstruction_weight, paper.classification_weight, paper.island_weight)
    assert weights == (1, 20, 10, 1) and paper.island_pairwise == 0.03
    assert (paper.beta1, paper.beta2, paper.classifier, paper.imagenet) == (0.9, 0.99, "resnet101", True)
    assert (paper.size, paper.color) == (224, False)  # section 4.3 and Fig. 3


@pytest.mark.parametrize("kind", [IfGan, ResNetIsland])
def test_the_rate_falls_by_a_tenth_every_ten_epochs(kind):
    config = dataclasses.replace(kind.PRESETS["demo"], epochs=100)
    stage = next(kind(config, 3).stages())
    rates = [stage.schedule(epoch / 100) for epoch in range(100)]
    assert rates[:10] == [1.0] * 10 and rates[10:20] == [0.9] * 10
    assert rates[99] == pytest.approx(0.387, abs=1e-3)  # 3.9e-5 of 1e-4


# --- one step


def test_a_step_moves_all_three_networks_and_lowers_what_each_is_to_lower(batch):
    method = small()
    step, before = next(method.stages()).step, parameters(method)
    first = step(batch)
    assert moved(method, before) == {"generator", "discriminator", "classifier"}
    for _ in range(25):
        last = step(batch)
    assert all(last[name] < first[name] for name in ("reconstruction", "classification"))


def test_each_networks_turn_leaves_the_others_as_they_are(batch):
    method = small()
    faces, averages = method._sized(batch.image), method.averages[batch.expression]
    before = parameters(method)
    method._generate(faces, method.generator(faces), averages, batch.expression, method._adam(method.generator))
    assert moved(method, before) == {"generator"}
    assert all(parameter.grad is None for parameter in method.discriminator.parameters())
    before = parameters(method)
    pictures = method.generator(faces).detach()
    method._classify(faces, pictures, averages, batch.expression, method._adam(method.classifier))
    assert moved(method, before) == {"classifier"}


def test_the_discriminator_sees_averages_and_pictures_apart_with_their_faces(batch):
    method = small()
    seen = watched(method, "discriminator")
    next(method.stages()).step(batch)
    faces, averages = method._sized(batch.image), method.averages[batch.expression]
    (real, told, fooled) = seen
    assert all(torch.equal(given[0], faces) for given in seen)
    assert torch.equal(real[1], averages) and torch.equal(told[1], fooled[1]) and not torch.equal(told[1], averages)


def test_the_classifier_sees_averages_and_pictures_in_batches_of_their_own(batch):
    """In one batch, the statistics of the averages would tell the classes of the others."""
    for settings, with_averages in (({}, 1), ({"ce_real": False}, 0)):
        method = small(**settings)
        seen = watched(method, "classifier")
        next(method.stages()).step(batch)
        averages = method.averages[batch.expression]
        assert all(given.shape == (8, 2, 32, 32) for (given,) in seen)
        assert sum(torch.equal(given[:, 1:], averages) for (given,) in seen) == with_averages


@pytest.mark.parametrize("ce_to_g", [True, False])
def test_the_cross_entropy_reaches_the_generator_only_where_it_is_to(ce_to_g, batch):
    method = small(ce_to_g=ce_to_g, adversarial_weight=0.0, reconstruction_weight=0.0, weight_decay=0.0)
    step, before = next(method.stages()).step, parameters(method)
    step(batch)
    assert ("generator" in moved(method, before)) == ce_to_g


def test_what_it_says_of_a_face_never_saw_an_average(batch):
    method = small().eval()
    with torch.inference_mode():
        before = method(batch.image), *method.codes(batch.image).values(), method.transfer(batch.image)
        method.averages.fill_(torch.nan)
        after = method(batch.image), *method.codes(batch.image).values(), method.transfer(batch.image)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_accuracy_on_averages_is_not_told(batch):
    """Their second picture gives the answer away."""
    logged = next(small().stages()).step(batch)
    assert set(logged) == {
        "discriminator", "adversarial", "reconstruction", "classification", "island", "spread", "spread of averages"
    }  # fmt: skip


def test_a_classifier_of_pictures_alone_does_not_see_the_face(batch):
    method = small(gen_only=True)
    seen = watched(method, "classifier")
    next(method.stages()).step(batch)
    faces = method._sized(batch.image)
    assert all(given.shape == (8, 1, 32, 32) and not torch.equal(given, faces) for (given,) in seen)


def test_codes_pictures_and_attention_are_those_of_the_generator(batch):
    method = small(size=48).eval()
    with torch.inference_mode():
        pictures, codes = method.transfer(batch.image), method.codes(batch.image)
        maps = method.attention_maps(batch.image)
    assert pictures.shape == (8, 1, 48, 48)
    assert codes["expression"].shape == (8, 32) and codes["generated"].shape == (8, 144)
    torch.testing.assert_close(codes["generated"].mean(1), pictures.mean((1, 2, 3)))
    assert {rows.shape for rows in maps.values()} == {(8, 144, 144)} and len(maps) == 3
    assert small(attention=False).attention_maps(batch.image) == {}


# --- what is refused and what is told


def test_a_batch_of_one_face_is_refused(batch):
    with pytest.raises(ConfigError, match="a batch of one face has no batch statistics .* another batch_size"):
        next(small().stages()).step(Faces(batch.image[:1], batch.expression[:1]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 40}, "size=40: expected a multiple of 16 px from 32 on"),
        ({"size": 16}, "size=16: expected a multiple of 16 px from 32 on"),
        ({"imagenet": True}, "classifier_width=4: ImageNet's weights are of width 64; .* --set imagenet=false"),
    ],
)
def test_what_no_network_can_be_built_from_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        small(**settings)


@pytest.mark.parametrize(("kind", "width"), [(IfGan, "classifier_width"), (ResNetIsland, "width")])
def test_imagenets_weights_are_asked_for_when_training_begins_and_not_before(kind, width, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("offline")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    method = kind(dataclasses.replace(kind.PRESETS["demo"], imagenet=True, **{width: 64}), 3)  # to be judged, say
    with pytest.raises(ConfigError, match=r"no weights of torchvision's resnet18 \(offline\)"):
        next(method.stages())


def test_one_picture_for_all_faces_stops_the_run_and_is_named():
    stage = next(small().stages())
    means = {"spread": 0.01, "spread of averages": 0.3}
    assert stage.stop_reason(means, 10, 60) is None  # it may still learn
    assert stage.stop_reason(means | {"spread": 0.2}, 59, 60) is None
    assert "the generator has collapsed to one picture" in stage.stop_reason(means, 30, 60)


def test_a_won_game_and_a_loss_that_outweighs_are_noted():
    stage = next(small().stages())
    fine = {"discriminator": 1.2, "classification": 0.5, "island": 2.0}
    assert stage.warning(fine) is None
    assert "the discriminator has won" in stage.warning(fine | {"discriminator": 0.01})
    assert "the island loss outweighs the cross-entropy" in stage.warning(fine | {"island": 500.0})


def test_what_is_not_finite_is_named(patterns, tmp_path):
    with pytest.raises(TrainingError, match="stage joint, epoch 1: .* is nan"):
        library.fit(run_spec(patterns, "ifgan", "learning_rate=1e18"), tmp_path, CPU, silent)


# --- average faces, and faces as it sees them


def with_images(manifest, folder, rows):
    """A copy of a manifest whose rows show something else."""
    faces = files.read(manifest, images=True)
    pixels = DEFAULT_CROP.decode(faces["image"].combine_chunks())
    pixels[rows] = 255 - pixels[rows]
    images = [{"bytes": DEFAULT_CROP.encode(image), "path": "x.pgm"} for image in pixels]
    place = faces.schema.get_field_index("image")
    other = faces.set_column(place, faces.schema.field("image"), pa.array(images, faces.schema.field("image").type))
    copy = copy_manifest(manifest, folder / manifest.name)
    files.write([other], copy, files.read_metadata(manifest))
    return FoldData(copy, 1, CPU, plain=True)


@pytest.mark.parametrize(("part", "changes"), [("train", True), ("validation", False), ("test", False)])
def test_average_faces_are_of_the_training_part_alone(part, changes, patterns, tmp_path):
    data = FoldData(patterns, 1, CPU, plain=True)
    other = with_images(patterns, tmp_path, data.rows[part][:1])
    assert torch.equal(other.averages(), data.averages()) != changes


def test_an_average_face_is_the_mean_of_its_expressions_faces_and_their_mirror_images(patterns):
    data = FoldData(patterns, 1, CPU, plain=True)
    averages = data.averages()
    crops = files.read_images(patterns, data.rows["train"])[:, 16:-16, 16:-16] / 127.5 - 1
    for place in range(3):
        mine = crops[data.classes("train").numpy() == place]
        np.testing.assert_allclose(averages[place, 0], np.mean([*mine, *mine[:, :, ::-1]], axis=0), atol=1e-6)
    assert torch.equal(averages, averages.flip(3))


def test_folds_have_averages_of_their_own(patterns):
    hashes = {sha256(FoldData(patterns, fold, CPU, plain=True).averages()) for fold in range(1, 5)}
    assert len(hashes) == 4


def test_a_fold_without_an_expression_is_refused(patterns):
    data = FoldData(patterns, 1, CPU, plain=True)
    shown = pa.array(["fear" if name == "anger" else name for name in data.table["expression"].to_pylist()])
    data.table = data.table.set_column(data.table.schema.get_field_index("expression"), "expression", shown)
    with pytest.raises(ManifestError, match="no training face of fold 1 shows anger: it has no average face; choose"):
        data.averages()


def test_a_run_keeps_its_averages(patterns, tmp_path):
    run = cut_short(run_spec(patterns, "ifgan"), tmp_path, epochs=1)
    data = FoldData(patterns, 1, CPU, plain=True)
    assert torch.equal(run.checkpoint().weights["averages"], resized(data.averages(), 32))
    assert run.read_json("config.json")["averages"] == {"of": [], "sha256": sha256(data.averages())}
    assert run.read_json("provenance.json")["data"]["whitening"] == "none"


def test_plain_faces_are_grey_levels_whatever_the_whitening(patterns):
    plain, white = (next(FoldData(patterns, 1, CPU, plain=plain).upright("validation")) for plain in (True, False))
    crops = files.read_images(patterns, FoldData(patterns, 1, CPU).rows["validation"])
    centre = torch.from_numpy(crops[:, None, 16:-16, 16:-16]).float()
    torch.testing.assert_close(plain, centre / 127.5 - 1)
    assert not torch.equal(plain, white)


@pytest.mark.parametrize(("crop", "side", "half", "most"), [(DEFAULT_CROP, 112, 72, 8), (Crop(256), 224, 144, 16)])
def test_no_jittered_face_invents_a_corner_and_every_kind_of_jitter_is_there(crop, side, half, most):
    generator = torch.Generator().manual_seed(0)
    grids = jittered_grids(crop, random_affine(crop, 1000, generator)) * half  # px from the centre of the crop
    assert grids.abs().max() < half - 0.5  # the middle of the outermost pixel
    middle, last = side // 2, side - 1
    right, down = grids[:, middle, last] - grids[:, middle, 0], grids[:, last, middle] - grids[:, 0, middle]
    for line in (right, down):
        assert (line.norm(dim=1) - last).abs().max() < 1e-2  # same scale
    assert 0.45 < (right[:, 0] < 0).float().mean() < 0.55  # mirrored
    turned = torch.rad2deg(torch.atan2(-down[:, 0], down[:, 1]))
    assert -5 <= turned.min() < -4.9 and 4.9 < turned.max() <= 5
    offset = grids.mean((1, 2))
    assert offset.norm(dim=1).max() <= most * 2**0.5 + 1e-3 and offset.abs().max() > most - 0.1
    upright = turned.abs() < 0.05  # whole pixels, before they are turned
    assert (offset[upright] - offset[upright].round()).abs().max() < 0.02


# --- in colour


def test_a_step_in_colour_has_pictures_averages_and_both_to_read_in_colour():
    method = small(color=True)
    seen, judged = watched(method, "classifier"), watched(method, "discriminator")
    next(method.stages()).step(Faces(torch.rand(8, 3, 112, 112) * 2 - 1, torch.arange(8) % 3))
    assert {given.shape for (given,) in seen} == {(8, 6, 32, 32)}
    assert {each.shape for given in judged for each in given} == {(8, 3, 32, 32)}
    with torch.inference_mode():
        assert method.eval().transfer(torch.rand(2, 3, 112, 112)).shape == (2, 3, 32, 32)
