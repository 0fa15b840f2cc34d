import base64
import zlib

import numpy as np
import pytest

from fertools.folds.identities import embed
from fertools.folds.identities.embed import EmbedderError

# ONNX models without weights, written by hand: AveragePool over quarters, then Flatten, of 1 x 16 x 16 and 3 x 16 x 16.
GREY, COLOUR = (
    zlib.decompress(base64.b64decode(text))
    for text in (
        "eNrj4LBqY+Sy4WKsEGIsUOJ2LEstSkxPDcjPz9ES5eLJTi3KS82JL85ILEh14HDgWMDIriXAxV5cUpSZkloMFeHi52IsEGKsVGJ3y0ksKUnNE2IsjJIBmSjOJcrBKCTIxSzEmMfFxMEIxAIgnCTCxVgpxM/FC5TlhMmyOLFwMQjwAgBuYRr7",
        "eNrj4LBqY+Sy4WKsEGIsUOJ2LEstSkxPDcjPz9ES5eLJTi3KS82JL85ILEh14HDgWMDIriXAxV5cUpSZkloMFeHi52IsEGKsVGJ3y0ksKUnNE2IsjJIBmSjOJcrBKCTIxSzEmMfFxMEMxAIgnCTCxVgpxM/FC5TlhMnyOLFwMQjwAgBu4xsF",
    )
)


@pytest.fixture
def crops():
    """A face whose quarters are of four grey levels, within a margin that is black; and another one."""
    crop = np.zeros((2, 144, 144), np.uint8)
    crop[0, 16:72, 16:72], crop[0, 16:72, 72:128], crop[0, 72:128, 16:72], crop[0, 72:128, 72:128] = 255, 0, 0, 0
    crop[1, 16:128, 16:128] = 255
    return crop


def model(path, content):
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(("content", "channels"), [(GREY, 1), (COLOUR, 3)])
def test_an_onnx_model_sees_the_face_without_its_margin(content, channels, crops, tmp_path):
    embedder = embed.load(model(tmp_path / "quarters.onnx", content), "cpu")
    vectors = embedder(crops)
    assert vectors.shape == (2, 4 * channels)
    assert np.allclose(vectors[0].reshape(channels, 4), np.array([1, -1, -1, -1]) / np.sqrt(4 * channels), atol=1e-6)
    assert np.allclose(vectors[1], 1 / np.sqrt(4 * channels), atol=1e-6)
    assert embedder.name == "quarters.onnx" and len(embedder.sha256) == 64 and "not known" in embedder.licence


def test_the_size_of_a_model_is_read_from_it_and_what_is_open_is_arcface_s():
    assert embed._input_shape('"x" // <Input> CV_32FC1 [sym(1) x 1 x 16 x 16]') == (1, 16, 16)
    assert embed._input_shape('"x" // <Input> CV_32FC1 [sym(1) x 3 x sym(2) x sym(3)]') == (3, 112, 112)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("arcface", ["no embedder 'arcface'", "vggface2, casia-webface", ".onnx"]),
        ("weights.pt", ["a torch file is not opened", ".safetensors"]),
        ("none.onnx", ["none.onnx: no such file"]),
        ("page.onnx", ["page.onnx is no ONNX model that OpenCV runs"]),
        ("page.safetensors", ["page.safetensors is no safetensors file"]),
        ("other.safetensors", ["does not hold the weights of InceptionResnetV1", "conv2d_1a"]),
    ],
)
def test_what_is_no_embedder_is_refused_in_words(name, words, tmp_path, monkeypatch):
    import torch
    from safetensors.torch import save_file

    monkeypatch.chdir(tmp_path)
    for page in ("page.onnx", "page.safetensors"):
        (tmp_path / page).write_text("<!doctype html><title>Sign in</title>" * 20)
    save_file({"weight": torch.zeros(3)}, "other.safetensors")
    with pytest.raises(EmbedderError) as refused:
        embed.load(name, "cpu")
    assert [word for word in words if word not in str(refused.value)] == [], refused.value


def test_without_a_network_it_is_said_where_the_weights_go(tmp_path, monkeypatch):
    from urllib.error import URLError

    def no_network(**_):
        raise URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("facenet_pytorch.InceptionResnetV1", no_network)
    with pytest.raises(EmbedderError) as refused:
        embed.load("vggface2", "cpu")
    message = str(refused.value)
    assert "20180402-114759-vggface2.pt" in message and str(tmp_path / "checkpoints") in message and ".onnx" in message


def test_weights_of_facenet_pytorch_give_its_vectors(crops, tmp_path):
    import torch
    from facenet_pytorch import InceptionResnetV1
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = InceptionResnetV1().eval()
    with_logits = network.state_dict() | {"logits.weight": torch.zeros(3, 512)}
    save_file(with_logits, tmp_path / "w.safetensors")
    vectors = embed.load(str(tmp_path / "w.safetensors"), "cpu")(crops)
    assert vectors.shape == (2, 512) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    white = torch.full((1, 3, 160, 160), 127.5 / 128)  # the second crop's middle is white: facenet-pytorch's scaling
    white[:, :, 149:] = -127.5 / 128  # and its cut reaches 8 of 113 px into the black margin
    with torch.inference_mode():
        assert float(network(white)[0] @ torch.from_numpy(vectors[1])) > 0.98
