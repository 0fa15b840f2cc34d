import pytest
import torch

from trainer.networks.patchgan import RECEPTIVE, PatchGan


@pytest.mark.parametrize(("size", "patches"), [(224, 26), (112, 12), (48, 4), (32, 2)])
def test_there_are_as_many_verdicts_as_documented(size, patches):
    faces = torch.zeros(1, 1, size, size)
    assert PatchGan(width=2).eval()(faces, faces).shape == (1, patches, patches)


def test_a_verdict_sees_70_pixels_of_both_pictures():
    """Measured: where the gradient of one logit is not zero."""
    net = PatchGan(width=4).eval()
    faces, pictures = (torch.randn(1, 1, 224, 224, requires_grad=True) for _ in range(2))
    net(faces, pictures)[0, 13, 13].backward()
    for seen in (faces.grad, pictures.grad):
        rows, columns = (seen[0, 0].abs().sum(side).nonzero() for side in (1, 0))
        assert [int(side.max() - side.min()) + 1 for side in (rows, columns)] == [RECEPTIVE, RECEPTIVE]


def test_neighbouring_verdicts_are_8_pixels_apart():
    net = PatchGan(width=4).eval()
    tops = []
    for row in (12, 13):
        faces = torch.randn(1, 1, 224, 224, requires_grad=True)
        net(faces, faces.detach())[0, row, 13].backward()
        tops.append(int(faces.grad[0, 0].abs().sum(1).nonzero().min()))
    assert tops[1] - tops[0] == 8


def test_its_size_is_pix2pixs():
    """2.76 million for the 6 channels of two colour pictures, as published implementations count."""
    assert sum(parameter.numel() for parameter in PatchGan(6).parameters()) == 2_768_705


def test_the_first_layer_has_no_norm():
    """A batch norm on pixels would tell brightness by the company it keeps."""
    layers = list(PatchGan(width=4).layers)
    assert isinstance(layers[0], torch.nn.Conv2d) and isinstance(layers[1], torch.nn.LeakyReLU)
