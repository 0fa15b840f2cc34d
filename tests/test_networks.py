import pytest
import torch
from torchvision.models import resnet18

from trainer.networks.critics import CRITICS, BilinearCritic, ConcatCritic, positions, whole
from trainer.networks.encoder import Encoder


def test_the_encoder_is_torchvisions_resnet18_with_one_channel():
    reference = resnet18(num_classes=64).eval()
    encoder = Encoder(64).eval()
    weights = reference.state_dict()
    weights["conv1.weight"] = weights["conv1.weight"].sum(1, keepdim=True)
    encoder.load_state_dict(weights)
    grey = torch.randn(2, 1, 112, 112)
    with torch.inference_mode():
        feature_map, code = encoder(grey)
        torch.testing.assert_close(code, reference(grey.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)
    assert feature_map.shape == (2, 512, 4, 4)


def test_a_standardised_code_has_unit_spread_whatever_the_weights():
    encoder = Encoder(16, width=8, standardise=True)
    with torch.no_grad():
        encoder.fc.weight.mul_(10)
    _, code = encoder(torch.randn(32, 1, 112, 112))
    torch.testing.assert_close(code.std(0, correction=0), torch.ones(16), atol=0.15, rtol=0)


def test_critic_sizes_are_those_of_the_specification():
    local, whole_map = ConcatCritic(512, 64, 512, "all"), ConcatCritic(512 * 16, 64, 512, "all")
    count = [sum(parameter.numel() for parameter in critic.parameters()) for critic in (local, whole_map)]
    assert count == [558_593, 4_490_753]


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("negatives", ["all", "shift"])
def test_a_critic_scores_joint_pairs_and_never_one_of_them_as_marginal(critic, negatives):
    features, codes = torch.randn(5, 4, 6), torch.randn(5, 3)
    score = CRITICS[critic](6, 3, 16, negatives)
    joint, marginal = score(features, codes)
    assert joint.shape == (5, 4)
    apart = [(i, (i - 1) % 5) for i in range(5)]
    if negatives == "all":
        apart = [(i, j) for i in range(5) for j in range(5) if i != j]
    for row, (i, j) in enumerate(apart):  # two faces alone: what is joint is (features i, code j)
        alone, _ = score(features[[i, i]], codes[[j, j]])
        torch.testing.assert_close(marginal[row], alone[0])
    for i in range(5):
        torch.testing.assert_close(joint[i], score(features[[i, i]], codes[[i, i]])[0][0])


def test_an_aligned_critic_starts_as_the_inner_product_of_codes():
    encoder = Encoder(8, width=4).eval()
    feature_map, codes = encoder(torch.randn(5, 1, 112, 112))
    wanted = codes @ codes.T / 8**0.5
    for features in (whole(feature_map), positions(feature_map)):
        critic = BilinearCritic(features.shape[2], 8, 8, "all")
        critic.align(encoder.fc)
        joint, marginal = critic(features, codes)
        torch.testing.assert_close(joint.mean(1), wanted.diagonal())  # a code is the mean of its positions'
        torch.testing.assert_close(marginal.mean(1), wanted[~torch.eye(5, dtype=torch.bool)])


def test_positions_keep_a_places_channels_together():
    feature_map = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    torch.testing.assert_close(positions(feature_map)[1, 6], feature_map[1, :, 1, 2])
    assert whole(feature_map).shape == (2, 1, 48)
