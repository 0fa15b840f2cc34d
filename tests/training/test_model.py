import json
import shutil

import numpy as np
import pytest
import torch
from manifest_files import copy_manifest
from safetensors.torch import load_file, save_file
from small_runs import CPU, run_spec, silent

from fertools.folds.make_folds import make_folds
from manifests import files
from trainer import load
from trainer.data.fold_data import FoldData
from trainer.errors import TrainerError
from trainer.evaluation import evaluate
from trainer.evaluation.metrics.temperature import calibrate, fit_temperature
from trainer.inference.export import write_model
from trainer.inference.model import CONFIG, WEIGHTS, Network, Whitening, of_run
from trainer.runs.run import RunError
from trainer.training import fit


@pytest.fixture(scope="module")
def trained(patterns, tmp_path_factory):
    """A run on faces whitened by ZCA, and its manifest."""
    manifest = tmp_path_factory.mktemp("zca") / "set.parquet"
    copy_manifest(patterns, manifest)
    make_folds(manifest, 4, "zca", seed=0)
    return fit.fit(run_spec(manifest, "resnet", "epochs=6"), tmp_path_factory.mktemp("runs"), CPU, silent), manifest


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    """That run as an exported folder."""
    run, manifest = trained
    out = tmp_path_factory.mktemp("exported")
    model = of_run(run, *evaluate.load(run, manifest.parent, CPU))
    write_model(out, model.network, model.config)
    return out


@pytest.fixture
def faces(trained):
    """Its stored validation crops, (faces, 144, 144)."""
    data = FoldData(trained[1], 1, CPU)
    return files.read_images(trained[1], data.rows["validation"])


def changed(folder, tmp_path, **values):
    shutil.copytree(folder, tmp_path / "changed")
    path = tmp_path / "changed" / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return path.parent


def test_a_folder_reads_faces_as_its_run_does_to_the_bit(trained, folder, faces):
    run, manifest = trained
    of_folder, of_its_run = load(folder, "cpu"), load(run.folder, "cpu", manifest.parent)
    found = of_folder.predict(faces)
    assert np.array_equal(found.probabilities, of_its_run.predict(faces).probabilities)
    method, data = evaluate.load(run, manifest.parent, CPU)
    logits = torch.from_numpy(evaluate.predict(method, data.upright("validation"))[0])
    expected = torch.softmax(logits / of_folder.config["temperature"], 1)
    assert np.array_equal(found.probabilities, expected.numpy())
    assert found.labels.tolist() == [data.expressions[place] for place in logits.argmax(1)]
    assert found.expressions == tuple(data.expressions)


def test_faces_are_taken_with_their_margin_or_without_in_any_number(folder, faces):
    model = load(folder, "cpu")
    whole = model.predict(faces).probabilities
    cut = faces[:, 16:-16, 16:-16]
    for images in (cut, list(faces), [faces[0], *cut[1:]]):
        assert np.array_equal(model.predict(images).probabilities, whole)
    np.testing.assert_allclose(model.predict(faces[3]).probabilities, whole[3:4], atol=1e-6)
    many = model.predict(np.concatenate([cut] * 25)).probabilities
    np.testing.assert_allclose(many, np.concatenate([whole] * 25), atol=1e-6)
    assert model.predict([]).probabilities.shape == (0, 3)


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 112, 112)), np.zeros((2, 100, 100), np.uint8), [np.zeros((112, 112, 3), np.uint8)]],
    ids=["float", "size", "colour"],
)
def test_other_pixels_are_refused(folder, images):
    with pytest.raises(TrainerError, match=r"image 0 is \w+ of shape .*expected an aligned face, uint8 of .*112, 112"):
        load(folder, "cpu").predict(images)


def test_a_run_without_its_manifest_and_a_folder_of_nothing_are_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="not prepared in"):
        load(trained[0].folder, "cpu", tmp_path)
    with pytest.raises(RunError, match=r"has no config.json: it is not a run"):
        load(tmp_path, "cpu")


def test_loading_draws_no_random_number(folder):
    state = torch.get_rng_state()
    load(folder, "cpu")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["none", "standardize"])
def test_whitening_is_that_of_training_to_the_bit(kind, patterns):
    data = FoldData(patterns, 1, CPU, plain=kind == "none")
    faces = torch.from_numpy(data.pictures("validation")[:])[:, None].float() / 255
    assert torch.equal(Whitening(kind, 0, 112 * 112)(faces), torch.cat(list(data.upright("validation"))))


# --- what is refused


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"expressions": ["fear", "anger", "happiness"]}, "was changed after it was exported"),
        ({"temperature": 2.5}, "was changed after it was exported"),
        ({"temperature": 1e9}, "expected a number from"),
        ({"temperature": None}, "expected a number from"),
        ({"method": "vgg"}, "no method 'vgg'"),
        ({"settings": {"width": 10**7, "code_size": 8}}, "does not fit config.json: method"),
        ({"settings": {"depth": 3}}, "describes no model of this version"),
        ({"expressions": ["anger"]}, "does not fit config.json: method.classifier.2.bias is .*3.*expected .*1"),
        ({"crop": {"size": 256}}, "does not fit config.json: whitening"),
        ({"whitening": {"kind": "pca", "rank": 0}}, "whitening=pca: expected one of"),
        ({"model_version": 2}, "is of model version 2, this code reads 1"),
    ],
)
def test_a_changed_configuration_is_refused(values, told, folder, tmp_path):
    with pytest.raises(TrainerError, match=told) as refused:
        load(changed(folder, tmp_path, **values), "cpu")
    assert "\n" not in str(refused.value)


def test_a_configuration_that_is_none_or_of_another_model_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    for text, told in (
        ('{"model_type": "vit"}', "has no method, settings"),
        ("{", "cannot be read"),
        ("[]", "version None"),
    ):
        (tmp_path / "other" / CONFIG).write_text(text)
        with pytest.raises(TrainerError, match=told):
            load(tmp_path / "other", "cpu")


@pytest.mark.parametrize("change", ["type", "missing", "more", "cut"])
def test_changed_tensors_are_refused(change, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    path = tmp_path / "other" / WEIGHTS
    tensors, name = load_file(path), "method.classifier.2.bias"
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        tensors |= {"type": {name: tensors[name].half()}, "more": {"x": torch.zeros(1)}}.get(change, {})
        save_file({key: value for key, value in tensors.items() if change != "missing" or key != name}, path)
    told = "is refused" if change == "cut" else f"does not fit config.json: {'x' if change == 'more' else name} is"
    with pytest.raises(TrainerError, match=told):
        load(path.parent, "cpu")


# --- huggingface_hub


def test_huggingface_hubs_mixin_reads_the_folder_and_writes_one_that_is_read(folder, faces, tmp_path):
    hub = pytest.importorskip("huggingface_hub")

    class Hub(Network, hub.PyTorchModelHubMixin):
        pass

    network = Hub.from_pretrained(folder, strict=True)
    expected = load(folder, "cpu").predict(faces).probabilities
    with torch.inference_mode():
        assert np.array_equal(network(torch.from_numpy(faces[:, 16:-16, 16:-16])).numpy(), expected)
    network.save_pretrained(tmp_path / "again")
    assert np.array_equal(load(tmp_path / "again", "cpu").predict(faces).probabilities, expected)


# --- temperature


def test_the_temperature_of_two_classes_is_known():
    """Odds of 3 to 1 that are said to be 9 to 1: the logits' difference, log 9, is to be log 3."""
    logits = np.tile([np.log(9), 0.0], (4, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(2, rel=1e-5)


def test_the_temperature_undoes_a_factor_and_leaves_honest_logits():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 5))
    classes = (logits + generator.gumbel(size=logits.shape)).argmax(1)  # drawn as the softmax says
    honest = fit_temperature(logits, classes)
    assert honest == pytest.approx(1, abs=0.05)
    assert fit_temperature(4 * logits + 7, classes) == pytest.approx(4 * honest, rel=1e-5)
    found = calibrate(4 * logits, np.array(list("abcde"))[classes], list("abcde"))
    assert found["after"]["calibration_error"] < 0.02 < 0.2 < found["before"]["calibration_error"]
    assert found["after"]["negative_log_likelihood"] < found["before"]["negative_log_likelihood"]


def test_where_all_is_right_or_nothing_is_the_temperature_has_bounds():
    assert fit_temperature(np.eye(3), np.arange(3)) == 1
    assert fit_temperature(np.eye(3), np.array([1, 2, 0])) == pytest.approx(20, rel=1e-4)
