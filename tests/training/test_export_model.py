import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small_runs import CPU, run_spec, silent
from typer.testing import CliRunner

from trainer import load
from trainer.cli.main import app
from trainer.evaluation import evaluate
from trainer.inference import bundle, onnx_model
from trainer.inference import export as library
from trainer.inference.export import export
from trainer.inference.model import CONFIG, WEIGHTS, ModelError, Network, of_run
from trainer.inference.onnx import GRAPHS, ExportError, graph
from trainer.methods import METHODS, find_method
from trainer.runs.run import Run
from trainer.training import fit


@pytest.fixture(scope="module")
def run(patterns, tmp_path_factory):
    return fit.fit(run_spec(patterns, "resnet", "epochs=6"), tmp_path_factory.mktemp("runs"), CPU, silent)


def network_of(name, *settings):
    """A method whose normalisations have seen faces, as one with everything that a graph is made of."""
    config = dataclasses.asdict(run_spec(Path("set.parquet"), name, *settings).config())
    kind = "none" if find_method(name).INPUT == "plain" else "zca"
    network = Network(name, config, ["anger", "fear", "joy"], {}, {"kind": kind, "rank": 4}, 0.5)
    for tensor in network.whitening.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) * 0.1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 0:
                parameter.fill_(0.5)  # the share of attention, which is none in the beginning
        network.train()
        for _ in range(3):
            network(torch.from_numpy(faces(16)))
    return network.eval()


def faces(num):
    return np.random.default_rng(num).integers(0, 256, (num, 112, 112), np.uint8)


TRAINED_OTHERWISE = {"supcon", "person_adversary", "independence"}  # their graph is cross_entropy's


@pytest.mark.parametrize("name", sorted(METHODS.keys() - TRAINED_OTHERWISE))
def test_an_onnx_graph_reads_any_number_of_faces_as_the_network_does(name, tmp_path):
    pytest.importorskip("onnxruntime")
    network = network_of(name)
    answer = graph(tmp_path, network, "onnx", "fp32", faces(2))
    for num in (1, 3, 40):
        with torch.inference_mode():
            expected = network(torch.from_numpy(faces(num))).numpy()
        found = answer(faces(num))
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert np.array_equal(found.argmax(1), expected.argmax(1)) and found.dtype == np.float32
    assert np.ptp(expected, axis=0).max() > 0.001  # it does tell these faces apart


def test_a_run_comes_back_from_its_folder_to_the_bit(run, patterns, tmp_path):
    written = export(run, patterns.parent, "safetensors", tmp_path / "out")
    model = load(tmp_path / "out", "cpu")
    again = Run(tmp_path / "again")
    again.start(run.read_json("config.json"), run.read_json("provenance.json"))
    again.finish_training(model.network.method)
    assert again.weights_sha256() == run.weights_sha256() == model.config["trained"]["weights_sha256"]
    assert written.agreement["largest_difference"] == written.agreement["largest_difference_on_test"] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", CONFIG, WEIGHTS]


def test_a_folder_needs_neither_run_nor_manifest_and_predicts_what_was_recorded(run, patterns, tmp_path):
    runs, manifests = tmp_path / "runs" / run.folder.name, tmp_path / "manifests"
    shutil.copytree(run.folder, runs)
    shutil.copytree(patterns.parent, manifests)
    data = evaluate.load(run, patterns.parent, CPU)[1]
    data.open_test()
    export(Run(runs), manifests, "safetensors", tmp_path / "out")
    shutil.rmtree(manifests)
    shutil.rmtree(runs.parent)
    recorded = pq.read_table(run.folder / "predictions.parquet")
    found = load(tmp_path / "out", "cpu").predict(data.pictures("test")[:])
    assert data.column("test", "face_id").tolist() == recorded["face_id"].to_pylist()
    assert found.labels.tolist() == recorded["predicted"].to_pylist()


def test_the_test_part_is_opened_on_record_and_fits_nothing(run, patterns, tmp_path):
    before = len(run.read_json("provenance.json")["test_opened"])
    written = export(run, patterns.parent, "safetensors", tmp_path / "out")
    assert len(run.read_json("provenance.json")["test_opened"]) == before + 1
    method, data = evaluate.load(run, patterns.parent, CPU)  # without its test faces
    assert of_run(run, method, data).config["temperature"] == written.calibration["temperature"]
    assert written.calibration["faces"] == len(data.rows["validation"])


def test_torchs_graph_reads_any_number_of_faces(tmp_path):
    network = network_of("resnet", "width=16")  # wide enough that channels come last
    graph(tmp_path, network, "torch-export", "fp32", faces(2))
    program = torch.export.load(tmp_path / GRAPHS["torch-export"]).module()
    for num in (1, 3, 300):
        with torch.inference_mode():
            expected = network(torch.from_numpy(faces(num)))
        torch.testing.assert_close(program(torch.from_numpy(faces(num))), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_smaller_graph_tells_what_it_costs(precision, run, patterns, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    written = export(run, patterns.parent, "onnx", tmp_path, precision)
    agreed = written.agreement
    assert 0 < agreed["largest_difference"] < 0.1 and agreed["test_faces"] == 12
    assert 0 <= agreed["accuracy"] <= 1 and agreed["recorded_accuracy"] == run.value(
        "scores.json", "classification", "accuracy"
    )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (entry,), (result,) = session.get_inputs(), session.get_outputs()
    assert (entry.type, result.type) == ("tensor(uint8)", "tensor(float)")
    assert json.loads(session.get_modelmeta().custom_metadata_map["expressions"]) == ["anger", "fear", "happiness"]
    kind = {"fp16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}[precision]
    assert kind in {tensor.data_type for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert "the cost stands below" in (tmp_path / "README.md").read_text()


def test_a_graph_that_computes_something_else_is_not_written(run, patterns, tmp_path, monkeypatch):
    monkeypatch.setattr(library, "graph", lambda *_: lambda batch: np.full((len(batch), 3), 0.34, np.float32))
    with pytest.raises(ExportError, match=r"model.onnx gives other probabilities than .* by up to"):
        export(run, patterns.parent, "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_export_replaces_an_export_and_nothing_else(run, patterns, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.onnx").write_text("an earlier export's")
    export(run, patterns.parent, "safetensors", out)
    assert not (out / "model.onnx").exists()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"out holds notes.txt, no export; remove it, or name another --out"):
        export(run, patterns.parent, "safetensors", out)
    assert (out / "notes.txt").read_text() == "mine"


def test_what_cannot_be_exported_is_refused_in_one_line(run, patterns, tmp_path):
    for form, precision, told in (
        ("tflite", "fp32", "no format 'tflite'; known: safetensors, onnx, torch-export"),
        ("onnx", "fp8", "no precision 'fp8'; known: fp32, fp16, int8"),
        ("safetensors", "int8", "--precision int8 is of --format onnx; safetensors is written in fp32"),
    ):
        with pytest.raises(ExportError, match=told):
            export(run, patterns.parent, form, tmp_path / "out", precision)
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run" / "scores.json").unlink()
    with pytest.raises(ExportError, match="is not finished; trainer fit goes on with it"):
        export(Run(tmp_path / "run"), patterns.parent, "safetensors")


def test_the_command_writes_a_card_that_the_hub_reads(run, patterns, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    asked_for = ["export", str(run.folder), "--out", str(tmp_path), "--manifests", str(patterns.parent), "--json"]
    told = json.loads(CliRunner().invoke(app, asked_for).stdout)
    card = hub.ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "fertools" and "synthetic" in card.data.tags
    accuracy = run.value("scores.json", "classification", "accuracy")
    assert card.data.eval_results[0].metric_value == pytest.approx(accuracy, abs=1e-4)
    words = " ".join(card.text.split())
    assert "drawn by code" in words and "An expression is not an emotion" in words
    assert "Nobody has measured whether it is worse for people of some gender, age or race" in words
    assert "must not be used to tell a person's gender" in words
    assert "of the 12 for which it is known" in words and told["files"][WEIGHTS]["sha256"] in words
    provenance = run.read_json("provenance.json")
    assert provenance["data"]["read"]["faces"] in words
    refused = CliRunner().invoke(app, [*asked_for, "--format", "gguf"])
    assert refused.exit_code == 1 and refused.stderr.startswith("error: no format 'gguf'")


def test_an_onnx_of_ours_needs_no_card(run, patterns, tmp_path):
    pytest.importorskip("onnxruntime")
    export(run, patterns.parent, "onnx", tmp_path / "out")
    model, path = load(tmp_path / "out", "cpu"), tmp_path / "out" / GRAPHS["onnx"]
    found = onnx_model.load(path).predict(faces(70))
    assert found.expressions == model.expressions
    np.testing.assert_allclose(found.probabilities, model.predict(faces(70)).probabilities, atol=1e-4)
    asked = ["judge", str(path), "--manifests", str(patterns.parent), "--dataset", "set", "--fold", "1", "--json"]
    scores = json.loads(CliRunner().invoke(app, asked).stdout)
    assert scores["classification"]["confusion"] == run.read_json("scores.json")["classification"]["confusion"]
    (tmp_path / "card.json").write_text(
        '{"labels": ["anger", "fear"], "size": 112, "color": "grey", "layout": "NCHW", "range": [0, 1], '
        '"output": "probabilities"}'
    )
    with pytest.raises(ModelError, match="says itself how it takes faces; leave out --model-card"):
        onnx_model.load(path, tmp_path / "card.json")


def test_a_bundle_finds_by_itself_what_the_run_finds_or_is_not_written(run, patterns, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "out"
    written = export(run, patterns.parent, "bundle", out)
    assert sorted(path.name for path in out.iterdir()) == sorted(["README.md", "model.onnx", *bundle.FILES])
    largest = written.bundle["differences"]
    assert written.bundle["faces"] == 2 and largest["box"] < 0.01 and largest["landmarks"] < 0.01  # px
    assert largest["probability"] < 0.02 and written.agreement["largest_difference"] < 1e-4
    card = (out / "README.md").read_text()
    assert "python read_expressions.py photo.jpg" in card and "of `example.png`, drawn by code" in card
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    moved = [{**face, "box": [edge + 2 for edge in face["box"]]} for face in json.loads(before["example.json"])]
    monkeypatch.setattr(bundle, "found_by_us", lambda *_: moved)
    with pytest.raises(ExportError, match=r'does not find in example.png what we do; it says: .*"agrees": false'):
        export(run, patterns.parent, "bundle", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before  # what was there stays
