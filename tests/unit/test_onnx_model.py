import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from manifests.schema import Crop
from trainer.cli.main import app
from trainer.inference import onnx_model
from trainer.inference.model import ModelError
from trainer.inference.model_card import card_of, read_card

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs/models.md"
CARD = {
    "labels": ["anger", "fear", "happiness"], "size": 16, "color": "rgb", "layout": "NCHW", "range": [0, 1],
    "output": "logits",
}  # fmt: skip
COLOUR = np.zeros((2, 112, 112, 3), np.uint8)
COLOUR[0, ..., 0], COLOUR[1, ..., 1], COLOUR[..., 2] = 255, 255, 51  # red and green, with a fifth of blue


def write(path, *nodes, shape=("faces", 3, 16, 16), outputs=3, domain="", kind=TensorProto.FLOAT):
    """Write a graph of input x and output y; without nodes, of a face's three channels the mean of each."""
    axes = [index for index, side in enumerate(shape) if side == 16]
    nodes = nodes or (helper.make_node("ReduceMean", ["x"], ["y"], axes=axes, keepdims=0),)
    graph = helper.make_graph(
        list(nodes), "graph", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], outputs])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def write_card(path, **changes):
    path.write_text(json.dumps({name: value for name, value in (CARD | changes).items() if value != "none"}))
    return path


@pytest.fixture
def load(tmp_path):
    def load(path=None, **changes):
        return onnx_model.load(path or write(tmp_path / "mean.onnx"), write_card(tmp_path / "card.json", **changes))

    return load


def softmax(*logits):
    return np.exp(logits) / np.exp(logits).sum()


def test_the_card_of_the_documentation_is_accepted(tmp_path):
    (snippet,) = re.findall(r"```json\n(.*?)```", DOCS.read_text(), re.S)
    (tmp_path / "card.json").write_text(snippet)
    assert read_card(tmp_path / "card.json").labels[0] == "neutral"


@pytest.mark.parametrize(
    ("changes", "red"),
    [
        ({}, (1, 0, 0.2)),
        ({"color": "bgr"}, (0.2, 0, 1)),
        ({"range": [-1, 1]}, (1, -1, -0.6)),
        ({"range": "none", "mean": [0.5, 0, 0.2], "std": [0.25, 1, 1]}, (2, 0, 0)),
    ],
)
def test_a_model_is_shown_what_its_card_says(changes, red, load):
    """The model's logits are the means of its three channels."""
    found = load(**changes).predict(COLOUR)
    np.testing.assert_allclose(found.probabilities[0], softmax(*red), atol=1e-6)
    assert found.probabilities.dtype == np.float32 and found.expressions == ("anger", "fear", "happiness")


def test_channels_may_come_last_in_the_input(load, tmp_path):
    last = load(write(tmp_path / "last.onnx", shape=("faces", 16, 16, 3)), layout="NHWC").predict(COLOUR)
    np.testing.assert_allclose(last.probabilities, load().predict(COLOUR).probabilities, atol=1e-6)
    assert last.labels.tolist() == ["anger", "fear"]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_graph_of_a_fixed_batch_reads_any_number_of_faces(batch, load, tmp_path):
    faces = np.random.default_rng(0).integers(0, 256, (70, 112, 112, 3), np.uint8)
    fixed = load(write(tmp_path / "fixed.onnx", shape=(batch, 3, 16, 16))).predict(faces)
    np.testing.assert_allclose(fixed.probabilities, load().predict(faces).probabilities, atol=1e-6)


def test_a_graph_of_bytes_is_shown_bytes(load, tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["y"], axes=[2, 3], keepdims=0),
    ]
    path = write(tmp_path / "bytes.onnx", *nodes, kind=TensorProto.UINT8)
    np.testing.assert_allclose(load(path, range=[0, 255]).predict(COLOUR).probabilities[0], (1, 0, 0), atol=1e-6)
    with pytest.raises(ModelError, match=r"takes uint8, so that its card must have the range \[0, 255\]"):
        load(path)


def test_an_output_that_is_no_expression_is_left_out(load, tmp_path):
    assert load(labels=["anger", None, "fear"]).predict(COLOUR).probabilities[0] == pytest.approx(softmax(1, 0.2))
    path = write(tmp_path / "shares.onnx", *mean_then("Softmax", axis=1))
    shares = load(path, labels=["anger", None, "fear"], output="probabilities").predict(COLOUR)
    assert shares.probabilities[0] == pytest.approx(softmax(1, 0.2))


def mean_then(operator, **how):
    return (
        helper.make_node("ReduceMean", ["x"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node(operator, ["means"], ["y"], **how),
    )


def test_grey_faces_are_shown_in_equal_channels(load):
    grey = np.full((1, 112, 112), 51, np.uint8)
    model = load(range="none", mean=[0.1, 0, 0.2], std=[1, 1, 1])
    assert model.crop == Crop(color="rgb") and model.as_shown(Crop(256, "eyes-nose")) == Crop(128, "eyes-nose")
    np.testing.assert_allclose(model.predict(grey, Crop(128)).probabilities[0], softmax(0.1, 0.2, 0), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": 3}, "'pixels' is unknown; expected labels, size, color, layout, output, range"),
        ({"size": "none"}, "size is missing"),
        ({"size": 0}, "size is 0, expected a whole number from 8 to 1024"),
        ({"labels": ["angry", "fear"]}, "labels is .*expected one an output, each once: anger, contempt"),
        ({"labels": ["fear", "fear", "anger"]}, "labels is"),
        ({"labels": [["fear"], "anger"]}, "labels is"),
        ({"labels": "fear"}, "labels is 'fear'"),
        ({"color": "gray"}, "color is 'gray', expected grey or rgb or bgr"),
        ({"color": ["rgb"]}, "color is"),
        ({"output": "softmax"}, "output is 'softmax', expected logits or probabilities"),
        ({"range": "none"}, "has none of range, mean and std"),
        ({"mean": [0], "std": [1]}, "has mean and range and std of range, mean and std; expected range, or mean"),
        ({"range": "none", "mean": [0, 0, 0], "std": [1, 0, 1]}, "std is .*expected a number above 0 a channel"),
        ({"range": "none", "mean": [0], "std": [1]}, "mean has 1 numbers for 3 channels"),
        ({"range": [1, 1]}, r"range is \[1, 1\], expected what black and white become"),
        ({"range": [0, float("nan")]}, "range is"),
    ],
)
def test_a_card_that_says_too_little_or_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ModelError, match=message):
        card_of({name: value for name, value in (CARD | changes).items() if value != "none"}, "card.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["anger", "fear"]}, "mean.onnx has 3 outputs, its card 2 labels"),
        ({"size": 32}, r"takes \(faces, 3, 16, 16\), its card .*card.json says \(faces, 3, 32, 32\): rgb, 32 px, NCHW"),
        ({"color": "grey"}, r"says \(faces, 1, 16, 16\)"),
        ({"layout": "NHWC"}, r"says \(faces, 16, 16, 3\)"),
        ({"output": "probabilities"}, "gives no probabilities, as its card says: .* the sum 0; expected 1; logits"),
        ({"output_name": "z"}, "has the outputs y; say in its card which one: output_name"),
    ],
)
def test_a_card_of_another_model_is_refused(changes, message, load):
    with pytest.raises(ModelError, match=message):
        load(**changes)


def test_files_that_cannot_be_run_are_refused(load, tmp_path, monkeypatch):
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="text.onnx is no ONNX model"):
        load(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match="none.onnx cannot be read: No such file"):
        load(tmp_path / "none.onnx")
    custom = write(tmp_path / "custom.onnx", helper.make_node("Magic", ["x"], ["y"], domain="own"), domain="own")
    with pytest.raises(ModelError, match=r"onnxruntime cannot run .*Magic.*; custom operators are not loaded"):
        load(custom)
    with pytest.raises(ModelError, match="answers what is no number"):
        load(write(tmp_path / "nan.onnx", *mean_then("Log")))
    with pytest.raises(ModelError, match="does not say how it takes faces, as one of trainer export does; say so"):
        onnx_model.load(write(tmp_path / "mean.onnx"))
    monkeypatch.setattr(onnx_model, "MAX_BYTES", 10)
    with pytest.raises(ModelError, match="a model of at most 10 is read"):
        load()


def test_weights_in_other_files_are_refused(load, tmp_path):
    path = write(tmp_path / "beside.onnx", helper.make_node("Add", ["x", "w"], ["y"]))
    model = onnx.load(path)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((3, 16, 16), np.float32), "w"))
    onnx.save(model, path, save_as_external_data=True, location="beside.data", size_threshold=0)
    with pytest.raises(ModelError, match="keeps weights in other files; save it as one file"):
        load(path)


def test_one_of_several_outputs_is_named_in_the_card(load, tmp_path):
    path = write(tmp_path / "two.onnx", *mean_then("Softmax", axis=1))
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("means", TensorProto.FLOAT, ["faces", 3]))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="has the outputs y, means; say in its card which one"):
        load(path)
    assert load(path, output_name="means").predict(COLOUR).probabilities[0] == pytest.approx(softmax(1, 0, 0.2))


def test_a_model_of_others_is_judged_on_a_manifest(patterns, tmp_path):
    """The expression of a pattern is where its square lies: in which of three columns it is brightest."""
    path = write(
        tmp_path / "columns.onnx",
        helper.make_node("ReduceMean", ["x"], ["columns"], axes=[1, 2], keepdims=0),
        helper.make_node("Constant", [], ["at"], value_ints=[3, 7, 11]),
        helper.make_node("Gather", ["columns", "at"], ["y"], axis=1),
        shape=("faces", 1, 16, 16),
    )
    card = write_card(tmp_path / "card.json", color="grey", range=[0, 255])
    asked = ["judge", str(path), "--model-card", str(card), "--manifests", str(patterns.parent), "--dataset", "set"]
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert found["classification"]["faces"] == 48 and found["classification"]["accuracy"] == 1
    assert found["calibration"] and found["notes"] == [
        "the model was shown grey crops of 128 px aligned by five-points, without their margin"
    ]


def test_a_card_is_for_onnx_alone(tmp_path):
    for command in (["predict", "run", "photo.jpg"], ["judge", "table.csv"]):
        (tmp_path / "set.parquet").touch()
        refused = CliRunner().invoke(app, [*command, "--model-card", "card.json", "--manifests", str(tmp_path)])
        assert refused.exit_code == 1
