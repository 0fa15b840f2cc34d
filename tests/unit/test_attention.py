import pytest
import torch

from trainer.networks.attention import SelfAttention


def opened(channels=16):
    attention = SelfAttention(channels)
    torch.nn.init.constant_(attention.gamma, 1.5)
    return attention


def test_it_starts_as_the_identity():
    feature_map = torch.randn(2, 16, 5, 7)
    assert torch.equal(SelfAttention(16)(feature_map), feature_map)


def test_its_share_can_be_learnt_from_the_start():
    attention = SelfAttention(16)
    attention(torch.randn(2, 16, 5, 7)).square().sum().backward()
    assert attention.gamma.grad != 0


def test_what_a_position_gathers_is_what_its_row_of_the_map_says():
    """The maps shown are those that were trained with: not scaled, over keys, positions in reading order."""
    attention, feature_map = opened(), torch.randn(2, 16, 5, 7)
    values = attention.value(feature_map).flatten(2)  # (batch, channels, positions)
    maps = attention.maps(feature_map)
    assert maps.shape == (2, 35, 35) and (maps >= 0).all()
    torch.testing.assert_close(maps.sum(2), torch.ones(2, 35))
    gathered = torch.stack([values @ maps[:, place].unsqueeze(2) for place in range(35)], dim=2).squeeze(3)
    torch.testing.assert_close(attention(feature_map), feature_map + 1.5 * gathered.view(2, 16, 5, 7))


def test_every_position_sees_every_other_and_no_other_face():
    attention, faces = opened(), torch.randn(2, 16, 5, 7, requires_grad=True)
    attention(faces)[0, :, 0, 0].sum().backward()
    assert (faces.grad[0].abs().sum(0) > 0).all() and not faces.grad[1].any()


def test_positions_are_treated_alike():
    attention, feature_map = opened(), torch.randn(1, 16, 5, 7)
    torch.testing.assert_close(attention(feature_map.flip(2, 3)), attention(feature_map).flip(2, 3))


@pytest.mark.parametrize(("channels", "parameters"), [(128, 20_641), (4, 31)])
def test_its_size_is_that_of_the_specification_and_a_narrow_one_still_has_a_query(channels, parameters):
    assert sum(parameter.numel() for parameter in SelfAttention(channels).parameters()) == parameters
