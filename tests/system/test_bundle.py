import ast
import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fertools.faces import align
from fertools.faces.detector import Detector, choose, weight_files
from manifests.schema import DEFAULT_CROP, Crop
from trainer.inference import bundle, photos
from trainer.inference.bundled import read_expressions as script
from trainer.methods.pretrained import weights

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
EXAMPLE = Path(script.__file__).with_name("example.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The detector, and a model that tells the mean level of the eyes' rows and of the mouth's."""
    out = tmp_path_factory.mktemp("bundle")
    for name, path in zip(bundle.NETWORKS, weight_files(), strict=True):
        tensors = {key: tensor.numpy() for key, tensor in weights.read(str(path)).tensors.items()}
        (out / name).write_bytes(bundle.network(name, tensors))
    nodes = [
        onnx.helper.make_node("Cast", ["faces"], ["levels"], to=1),
        onnx.helper.make_node("ReduceMean", ["levels"], ["rows"], axes=[2], keepdims=0),
        onnx.helper.make_node("Constant", [], ["at"], value_ints=[52, 92]),
        onnx.helper.make_node("Gather", ["rows", "at"], ["both"], axis=1),
        onnx.helper.make_node("Softmax", ["both"], ["probabilities"], axis=1),
    ]
    graph = onnx.helper.make_graph(
        nodes, "rows", [onnx.helper.make_tensor_value_info("faces", 2, ["faces", 112, 112])],
        [onnx.helper.make_tensor_value_info("probabilities", 1, ["faces", 2])],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.helper.set_model_props(
        model,
        {"expressions": '["anger", "fear"]', "crop": '{"size": 128, "align": "five-points", "color": "grey"}'},
    )
    onnx.save(model, out / "model.onnx")
    return out


@pytest.fixture(scope="module")
def reader(folder):
    return script.Reader(folder, threads=1)


@pytest.fixture(scope="module")
def picture():
    """The picture of every bundle: two drawn faces."""
    return photos.decode(EXAMPLE.read_bytes())


def sizes(picture):
    """The picture larger, smaller, of odd sides, cut through a face, turned and in grey."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return {
        "as it is": picture,
        "large": cv2.resize(picture, None, fx=2.3, fy=2.3),
        "small": cv2.resize(picture, (201, 101), interpolation=cv2.INTER_AREA),
        "cut": np.ascontiguousarray(picture[30:, 45:300]),
        "turned": np.ascontiguousarray(cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE)),
        "grey": np.repeat(grey[..., None], 3, axis=2),
        "none": np.full((60, 90, 3), 128, np.uint8),
        "tiny": picture[:15, :15],
    }


@pytest.mark.parametrize("name", ["as it is", "large", "small", "cut", "turned", "grey", "none", "tiny"])
def test_the_script_finds_the_faces_that_we_find(name, reader, picture):
    image = sizes(picture)[name]
    found, ours = reader.detect(image), Detector("cpu")(image)
    assert len(found.boxes) == len(ours) and (len(ours) == 2 or name in ("cut", "turned", "none", "tiny"))
    for box, score, landmarks, face in zip(*found, ours, strict=True):
        assert np.abs(box - face.box).max() < 0.01 and np.abs(landmarks - face.landmarks).max() < 0.01  # px
        assert score == pytest.approx(face.score, abs=1e-4)
    if ours:
        meant = choose(ours, image.shape)
        np.testing.assert_allclose(reader.read(image)[0]["box"], meant.box, atol=0.01)


@pytest.mark.parametrize("crop", [DEFAULT_CROP, Crop(256, "eyes-nose", "rgb")], ids=str)
@pytest.mark.parametrize("factor", [0.6, 1, 2.3, 9])
def test_the_script_cuts_faces_as_we_do(factor, crop, picture):
    image = cv2.resize(picture, None, fx=factor, fy=factor)
    landmarks = Detector("cpu")(picture)[0].landmarks * factor
    grey = crop.color == "grey"
    ours = align.crop(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if grey else image, align.crop_matrix(landmarks, crop), crop
    )[crop.margin : -crop.margin, crop.margin : -crop.margin]
    matrix = script._matrix(landmarks, crop.size, crop.align, crop.color)
    found = script._cut(script._grey(image) if grey else image, matrix, crop.size)
    apart = np.abs(found.astype(int) - ours)
    assert found.shape == ours.shape and apart.max() <= 1 and apart.mean() < 0.2  # of 256 levels


def test_a_photograph_is_read_as_its_camera_says_and_others_are_refused(reader, picture, tmp_path):
    upright = reader.read(picture)
    stored, exif = Image.fromarray(np.ascontiguousarray(np.rot90(picture))), Image.Exif()
    exif[0x0112] = 6  # turn it clockwise
    stored.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert reader.read(image) == upright
    assert [face["expression"] for face in upright] and sum(upright[0]["probabilities"].values()) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"uint8 of shape \(3, 3\); expected uint8 of shape \(height, width, 3\)"):
        reader.read(np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match="10000 x 10000 pixels; at most 50,000,000 are read"):
        reader.read(Image.new("1", (10_000, 10_000)))


def test_differences_are_those_that_check_tells_of():
    face = {"box": [0, 0, 9, 9], "landmarks": [[1, 1]], "expression": "fear", "probabilities": {"fear": 0.9}}
    assert script.agrees(script.differences([face], [face]))
    for change in (
        {"box": [0, 0, 9, 10.1]}, {"landmarks": [[1, 1.6]]}, {"expression": "anger"}, {"probabilities": {"fear": 0.8}},
    ):  # fmt: skip
        assert not script.agrees(script.differences([face | change], [face]))
    assert script.differences([face, face], [face])["faces"] == 1


def test_the_command_tells_a_line_a_face_and_fails_where_a_file_does(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "script").mkdir()
    for path in folder.iterdir():
        (tmp_path / "script" / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(script, "__file__", str(tmp_path / "script" / "read_expressions.py"))
    (tmp_path / "text.jpg").write_text("no picture")
    monkeypatch.setattr(sys, "argv", ["read_expressions.py", str(EXAMPLE), str(tmp_path / "text.jpg")])
    assert script.main() == 1
    told = capsys.readouterr()
    rows = [json.loads(line) for line in io.StringIO(told.out)]
    assert [row["face"] for row in rows] == [1, 2] and "text.jpg: cannot be read" in told.err


def test_the_script_needs_what_its_readme_says():
    tree = ast.parse(Path(script.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"numpy", "onnxruntime", "PIL"}
