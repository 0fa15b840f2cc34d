import pytest
import torch

from trainer.networks.unet import UNet


def counted(module):
    return sum(parameter.numel() for parameter in module.parameters())


def shapes(module, images):
    """The shape of what each convolution block returns, by its place."""
    seen = {}
    for side in ("encoders", "ups", "decoders"):
        for level, block in enumerate(getattr(module, side)):
            block.register_forward_hook(lambda _, __, out, key=(side, level): seen.update({key: tuple(out.shape[1:])}))
    picture = module(images)
    return seen, tuple(picture.shape[1:])


def test_its_maps_are_those_of_the_papers_figure():
    seen, picture = shapes(UNet().eval(), torch.zeros(1, 1, 224, 224))
    sizes, widths = (224, 112, 56, 28, 14), (32, 64, 128, 256, 512)
    for level, (size, width) in enumerate(zip(sizes, widths, strict=True)):
        assert seen["encoders", level] == (width, size, size)
        if level < 4:
            assert seen["ups", level] == seen["decoders", level] == (width, size, size)
    assert picture == (1, 224, 224)


def test_its_size_is_that_of_the_specification():
    """8.64 million, and 20.6 thousand for each of three attentions."""
    assert counted(UNet(attention=False)) == 8_636_769
    assert counted(UNet()) == 8_636_769 + 3 * 20_641


@pytest.mark.parametrize("size", [16, 48, 112])
def test_pictures_have_the_faces_size_and_range(size):
    pictures = UNet(width=2)(100 * torch.randn(2, 1, size, size))
    assert pictures.shape == (2, 1, size, size) and pictures.abs().max() <= 1


def test_attention_changes_nothing_before_it_is_trained():
    torch.manual_seed(0)
    net, images = UNet(width=4).eval(), torch.randn(1, 1, 32, 32)
    without = UNet(width=4, attention=False).eval()
    without.load_state_dict({key: value for key, value in net.state_dict().items() if "attentions" not in key})
    assert torch.equal(net(images), without(images))


def test_the_skip_carries_what_the_bottom_has_lost():
    """A change of one pixel moves that pixel's place most."""
    net, images = UNet(width=4).eval(), torch.zeros(2, 1, 64, 64)
    images[1, 0, 20, 41] = 5
    one, other = net(images)
    moved = (one - other).abs()[0]
    assert divmod(int(moved.argmax()), 64) in {(y, x) for y in range(17, 24) for x in range(38, 45)}


def test_attention_is_on_the_way_down_on_the_skip_and_on_the_way_up_at_quarter_size():
    net, images = UNet(width=8).eval(), torch.randn(2, 1, 32, 32)
    before = net(images)
    maps = net.attention_maps(images)
    assert list(maps) == ["skip", "encoding", "decoding"]
    for rows in maps.values():
        assert rows.shape == (2, 64, 64)
        torch.testing.assert_close(rows.sum(2), torch.ones(2, 64))
    for place in maps:  # each of them is on a path to the picture
        torch.nn.init.constant_(net.attentions[place].gamma, 1.0)
        after = net(images)
        assert not torch.equal(before, after)
        before = after


def test_looking_at_attention_leaves_nothing_behind():
    net, images = UNet(width=4).eval(), torch.randn(1, 1, 32, 32)
    before = net(images)
    net.attention_maps(images)
    assert torch.equal(net(images), before)
    assert not any(module._forward_pre_hooks for module in net.modules())
    assert UNet(width=4, attention=False).eval().attention_maps(images) == {}
