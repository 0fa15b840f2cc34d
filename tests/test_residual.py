from urllib.error import URLError

import pytest
import torch
from torchvision.models import resnet18, resnet101

from trainer.networks.resnet import ResidualNet


@pytest.mark.parametrize(
    ("name", "reference", "features"), [("resnet18", resnet18, 512), ("resnet101", resnet101, 2048)]
)
def test_it_is_torchvisions_for_grey_channels(name, reference, features):
    theirs, net = reference(num_classes=6).eval(), ResidualNet(name, 2, 6).eval()
    weights = theirs.state_dict()
    one, other = torch.randn(2, 64, 1, 7, 7)
    net.load_state_dict(weights | {"conv1.weight": torch.cat([one, other], dim=1)})
    theirs.conv1.weight.data = torch.cat([one, other, torch.zeros_like(one)], dim=1)
    grey = torch.randn(1, 2, 64, 64)
    with torch.inference_mode():
        found, logits = net(grey)
        expected = theirs(torch.cat([grey, torch.randn(1, 1, 64, 64)], dim=1))
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
    assert found.shape == (1, features) == (1, net.num_features)


@pytest.mark.parametrize("channels", [1, 2])
def test_imagenets_weights_answer_grey_channels_that_are_equal_as_the_same_grey_in_colour(channels, monkeypatch):
    theirs = resnet18().eval()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: theirs.state_dict())
    net = ResidualNet("resnet18", channels, 6).eval()
    last = net.fc.weight.clone()
    net.load_imagenet()
    theirs.fc = torch.nn.Identity()
    grey = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        found, _ = net(grey.expand(-1, channels, -1, -1))
        torch.testing.assert_close(found, theirs(grey.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)
    assert torch.equal(net.fc.weight, last)  # its 1,000 classes are not ours


@pytest.mark.parametrize("pictures", [1, 2])
def test_imagenets_weights_answer_equal_pictures_in_colour_as_one_of_them(pictures, monkeypatch):
    theirs = resnet18().eval()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: theirs.state_dict())
    net = ResidualNet("resnet18", 3 * pictures, 6).eval()
    net.load_imagenet(color=True)
    theirs.fc = torch.nn.Identity()
    faces = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(net(faces.repeat(1, pictures, 1, 1))[0], theirs(faces), atol=1e-4, rtol=1e-4)


def test_weights_that_cannot_be_downloaded_are_told_with_where_to_put_them(monkeypatch):
    def fail(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    words = r"no ImageNet weights of resnet18 \(.*no route to host.*\); bring https://.*resnet18-\w+.pth by other means"
    with pytest.raises(OSError, match=words):
        ResidualNet("resnet18", 2, 6).load_imagenet()
