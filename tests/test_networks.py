import pytest
import torch
from torchvision.models import resnet18

from trainer.networks.critics import Critic, positions, whole
from trainer.networks.encoder import Encoder
from trainer.networks.heads import Classifier, Discriminator


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
    local, whole_map = Critic(512, 64, 512, "all"), Critic(512 * 16, 64, 512, "all")
    count = [sum(parameter.numel() for parameter in critic.parameters()) for critic in (local, whole_map)]
    assert count == [558_593, 4_490_753]


@pytest.mark.parametrize("negatives", ["all", "shift"])
def test_a_critic_scores_joint_pairs_and_never_one_of_them_as_marginal(negatives):
    critic = Critic(6, 3, 16, negatives)
    features, codes = torch.randn(5, 4, 6), torch.randn(5, 3)

    def score(i, j):
        joined = critic.of_features(features[i]) + critic.of_code(codes[j])
        return critic.score(joined).squeeze(-1)

    joint, marginal = critic(features, codes)
    torch.testing.assert_close(joint, torch.stack([score(i, i) for i in range(5)]))
    apart = [(i, (i - 1) % 5) for i in range(5)]
    if negatives == "all":
        apart = [(i, j) for i in range(5) for j in range(5) if i != j]
    torch.testing.assert_close(marginal, torch.stack([score(i, j) for i, j in apart]))


def test_positions_keep_a_places_channels_together():
    feature_map = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    torch.testing.assert_close(positions(feature_map)[1, 6], feature_map[1, :, 1, 2])
    assert whole(feature_map).shape == (2, 1, 48)


def test_a_standardising_discriminator_does_not_see_scale_or_shift():
    discriminator = Discriminator(4, standardise=True)
    expression, identity = torch.randn(64, 4), torch.randn(64, 4)
    torch.testing.assert_close(
        discriminator(expression, identity), discriminator(3 * expression - 1, 0.1 * identity + 5), atol=1e-2, rtol=1e-2
    )


def test_the_classifier_standardises_its_code():
    classifier = Classifier(8, 3)
    codes = torch.randn(256, 8)
    torch.testing.assert_close(classifier(codes), classifier(100 * codes + 7), atol=1e-3, rtol=1e-3)
