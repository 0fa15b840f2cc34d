"""Catches a ResNet that is not torchvision's: other blocks, keys, first weights, or ImageNet weights put in wrongly."""

from urllib.error import URLError

import pytest
import torch
import torchvision.models as theirs

from trainer.methods.config import ConfigError
from trainer.methods.pretrained import weights
from trainer.methods.pretrained.imagenet import load_imagenet
from trainer.networks.resnet import ResNet

CHECKPOINTS = {"resnet18": "resnet18-f37072fd.pth", "resnet101": "resnet101-63fe2227.pth"}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_from_one_seed_it_is_torchvisions_to_the_bit(name):
    """First weights, by torchvision's names; then outputs, gradients and running statistics of a training step."""
    torch.manual_seed(0)
    reference, drawn = getattr(theirs, name)(num_classes=6), torch.rand(1)
    torch.manual_seed(0)
    net = ResNet(name, 3, 6)
    assert torch.equal(torch.rand(1), drawn)  # as many random numbers were drawn
    images = torch.randn(2, 3, 64, 64)
    expected, (_, features, logits) = reference(images), net(images)
    assert torch.equal(logits, expected) and features.shape == (2, net.num_features)
    expected.square().sum().backward()
    logits.square().sum().backward()
    ours, others = net.state_dict(), reference.state_dict()
    assert list(ours) == list(others) and all(torch.equal(ours[key], others[key]) for key in others)
    gradients = zip(net.parameters(), reference.parameters(), strict=True)
    assert all(torch.equal(one.grad, other.grad) for one, other in gradients)


def test_two_grey_channels_are_read_as_two_of_three_in_colour():
    reference, net = theirs.resnet18(num_classes=6).eval(), ResNet("resnet18", 2, 6).eval()
    reference.conv1.weight.data[:, 2] = 0
    net.load_state_dict(reference.state_dict() | {"conv1.weight": reference.conv1.weight[:, :2]})
    grey = torch.randn(1, 2, 64, 64)
    with torch.inference_mode():
        expected = reference(torch.cat([grey, torch.randn(1, 1, 64, 64)], dim=1))
        torch.testing.assert_close(net(grey).output, expected, atol=1e-4, rtol=1e-4)


# --- ImageNet's weights


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """A network whose weights are taken for ImageNet's."""
    net = theirs.resnet18().eval()
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr(weights, "_locate", lambda name: weights._Place(tmp_path / "weights.pth", name, "none"))
    return net


def test_the_weights_are_those_that_torchvision_names():
    published = theirs.ResNet18_Weights.IMAGENET1K_V1, theirs.ResNet101_Weights.IMAGENET1K_V1
    assert list(weights.IMAGENET.values()) == [one.url for one in published]
    assert {name: url.rpartition("/")[2] for name, url in weights.IMAGENET.items()} == CHECKPOINTS


@pytest.mark.parametrize("channels", [1, 2])
def test_imagenets_weights_answer_grey_channels_that_are_equal_as_the_same_grey_in_colour(channels, reference):
    net = ResNet("resnet18", channels, 6).eval()
    last = net.fc.weight.clone()
    load_imagenet(net, color=False)
    reference.fc = torch.nn.Identity()
    grey = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        found = net(grey.expand(-1, channels, -1, -1)).features
        torch.testing.assert_close(found, reference(grey.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)
    assert torch.equal(net.fc.weight, last)  # its 1,000 classes are not ours


@pytest.mark.parametrize("pictures", [1, 2])
def test_imagenets_weights_answer_equal_pictures_in_colour_as_one_of_them(pictures, reference):
    net = ResNet("resnet18", 3 * pictures, 6).eval()
    load_imagenet(net, color=True)
    reference.fc = torch.nn.Identity()
    faces = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        found = net(faces.repeat(1, pictures, 1, 1)).features
        torch.testing.assert_close(found, reference(faces), atol=1e-4, rtol=1e-4)


def test_weights_that_cannot_be_downloaded_are_told_with_where_to_put_them(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    words = r"torchvision's resnet18 \(.*no route to host.*\); bring https://.*resnet18-\w+.pth by other means"
    with pytest.raises(ConfigError, match=f"{words}.*or train from random weights: --set imagenet=false"):
        load_imagenet(ResNet("resnet18", 2, 6), color=False)
