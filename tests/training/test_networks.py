import math

import pytest
import torch

from trainer.methods.objectives.mutual_information import donsker_varadhan
from trainer.networks import critics
from trainer.networks.critics import CRITICS, BilinearCritic, ConcatCritic, flatten_map, joint_and_marginal, positions
from trainer.networks.resnet import ResNet


def test_a_standardised_code_has_unit_spread_whatever_the_weights():
    encoder = ResNet("resnet18", 1, 16, width=8, standardise=True)
    with torch.no_grad():
        encoder.fc.weight.mul_(10)
    code = encoder(torch.randn(32, 1, 112, 112)).output
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


@pytest.mark.parametrize("critic", CRITICS)
def test_negatives_of_other_classes_leave_out_pairs_of_one_class(critic):
    features, codes, classes = torch.randn(5, 4, 6), torch.randn(5, 3), torch.tensor([0, 1, 0, 2, 1])
    torch.manual_seed(0)
    score = CRITICS[critic](6, 3, 16, "other")
    torch.manual_seed(0)
    among_all = CRITICS[critic](6, 3, 16, "all")(features, codes)
    joint, marginal = score(features, codes, classes)
    torch.testing.assert_close(joint, among_all[0])
    left_out = torch.tensor([classes[i] == classes[j] for i in range(5) for j in range(5) if i != j])
    assert left_out.sum() == 4
    assert (marginal[left_out] == -torch.inf).all()
    torch.testing.assert_close(marginal[~left_out], among_all[1][~left_out])
    with pytest.raises(ValueError, match="negatives=other: expected the classes of the batch"):
        score(features, codes)


@pytest.mark.parametrize("negatives", ["all", "other"])
def test_pairs_a_few_rows_at_a_time_give_the_same_scores_and_gradients_in_less_memory(negatives, monkeypatch):
    classes, seen, found = torch.arange(9) % 4, [], []
    for most in (critics.MOST_HIDDEN, 2 * 9 * 4 * 16):
        monkeypatch.setattr(critics, "MOST_HIDDEN", most)
        torch.manual_seed(0)
        score = ConcatCritic(6, 3, 16, negatives)
        score.score[1].register_forward_hook(lambda *given: seen.append(given[2].numel()))
        features, codes = torch.randn(9, 4, 6, requires_grad=True), torch.randn(9, 3, requires_grad=True)
        joint, marginal = score(features, codes, classes)
        (joint.sum() - marginal.exp().sum()).backward()
        gradients = [features.grad, codes.grad, *(parameter.grad for parameter in score.parameters())]
        found.append([joint, marginal, *gradients])
    for whole_batch, in_parts in zip(*found, strict=True):
        torch.testing.assert_close(in_parts, whole_batch)
    assert seen[0] == 9 * 9 * 4 * 16 and max(seen[1:]) == 2 * 9 * 4 * 16 and len(seen[1:]) == 2 * 5  # there and back


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("negatives", ["all", "shift"])
def test_a_face_alone_is_no_negative_of_itself(critic, negatives):
    with pytest.raises(ValueError, match="a batch of 1: expected two or more"):
        CRITICS[critic](6, 3, 16, negatives)(torch.randn(1, 4, 6), torch.randn(1, 3))


@pytest.mark.parametrize("num", range(2, 65))
def test_a_shift_has_no_fixed_point(num):
    scores = torch.eye(num).unsqueeze(-1)
    joint, marginal = joint_and_marginal(scores, "shift")
    assert (joint == 1).all() and (marginal == 0).all() and len(marginal) == num


def test_an_aligned_critic_starts_as_the_inner_product_of_codes():
    encoder = ResNet("resnet18", 1, 8, width=4).eval()
    feature_map, _, codes = encoder(torch.randn(5, 1, 112, 112))
    wanted = codes @ codes.T / 8**0.5
    for features in (flatten_map(feature_map), positions(feature_map)):
        critic = BilinearCritic(features.shape[2], 8, 8, "all")
        critic.align(encoder.fc)
        joint, marginal = critic(features, codes)
        torch.testing.assert_close(joint.mean(1), wanted.diagonal())  # a code is the mean of its positions'
        torch.testing.assert_close(marginal.mean(1), wanted[~torch.eye(5, dtype=torch.bool)])


def test_positions_keep_a_places_channels_together():
    feature_map = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    torch.testing.assert_close(positions(feature_map)[1, 6], feature_map[1, :, 1, 2])
    assert flatten_map(feature_map).shape == (2, 1, 48)


# --- trained critics
def shared_class(num, generator):
    """Two faces of one class of seven, and of nothing else in common: noisy one-hot vectors and noise."""
    classes = torch.eye(7)[torch.randint(7, (num,), generator=generator)]

    def face():
        noisy = classes + 0.1 * torch.randn(num, 7, generator=generator)
        return torch.cat([noisy, torch.randn(num, 8, generator=generator)], dim=1)

    return face(), face()


def independent(num, generator):
    return torch.randn(2, num, 15, generator=generator).unbind()


def eight_nats(num, generator):
    """Fifteen pairs of Gaussian variables that share 8 nats in all."""
    rho = math.sqrt(1 - math.exp(-2 * 8 / 15))
    x, noise = torch.randn(2, num, 15, generator=generator)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def size(num, generator):
    """A number and its size: no inner product of linear maps can tell that they belong together."""
    x = torch.randn(num, 15, generator=generator)
    return x, x.abs()


def size_and_number(num, generator):
    return size(num, generator)[::-1]


def trained(draw, critic, negatives, steps):
    """Donsker-Varadhan's value in the last 100 batches of 32 in training, and on 2000 new pairs."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    score = CRITICS[critic](15, 15, 64, negatives)
    optimizer, values = torch.optim.Adam(score.parameters(), lr=1e-3), []
    for _ in range(steps):
        x, y = draw(32, generator)
        value = donsker_varadhan(*score(x.unsqueeze(1), y)).sum()
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
        values.append(value.item())
    with torch.no_grad():
        batches = [score(x.unsqueeze(1), y) for x, y in (draw(50, generator) for _ in range(40))]
    new = donsker_varadhan(*(torch.cat(side) for side in zip(*batches, strict=True))).item()
    return sum(values[-100:]) / 100, new


def test_what_a_shared_class_tells_is_found_and_is_its_entropy():
    """With all negatives, those of the same class among them: they are what bounds it."""
    training, new = trained(shared_class, "concat", "all", 2000)
    assert training == pytest.approx(math.log(7), abs=0.08) and 1.88 < new < math.log(7) + 0.05


@pytest.mark.parametrize("critic", CRITICS)
def test_training_finds_nothing_where_there_is_nothing(critic):
    assert abs(trained(independent, critic, "all", 400)[1]) < 0.05


@pytest.mark.parametrize("draw", [size, size_and_number])
def test_a_separable_critic_learns_what_a_bilinear_one_cannot(draw):
    """On either side."""
    assert trained(draw, "separable", "all", 400)[1] > 0.3 > 0.1 > trained(draw, "bilinear", "all", 400)[1]


def test_donsker_varadhan_with_one_shift_diverges():
    """At 8 nats in batches of 32: it leaves all that 32 pairs can bear witness to."""
    assert trained(eight_nats, "concat", "shift", 1200)[0] > 3 * math.log(32)
