from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from small_runs import CPU, cut_short, run_spec, silent
from small_runs import weights as weights_of
from torch import nn
from torchvision.models import resnet18, resnet34, resnet50
from typer.testing import CliRunner

from trainer.cli import main
from trainer.methods.dicefer import DiceFer, DiceFerConfig
from trainer.methods.ifgan import IfGan, IfGanConfig
from trainer.methods.pretrained import key_layouts
from trainer.methods.pretrained.key_layouts import LayoutError
from trainer.methods.pretrained.weights import Weights
from trainer.methods.resnet import ResNet, ResNetConfig
from trainer.networks import resnet
from trainer.training.fit import fit


def encoder_of(code_size, width=64, standardise=False):
    return resnet.ResNet("resnet18", 1, code_size, width, standardise)


def trained(network):
    """Give normalisations something to be wrong by."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture
def theirs():
    return trained(resnet18())


def features(network, images):
    network.fc = nn.Identity()
    with torch.inference_mode():
        return network(images)


def ours(tensors, images):
    encoder = encoder_of(8).eval()
    encoder.load_state_dict(encoder.state_dict() | key_layouts.fit(tensors, encoder.state_dict()).tensors)
    with torch.inference_mode():
        return encoder(images).features


def numbered(network):
    return nn.Sequential(*list(network.children())[:-2]).state_dict()


def renamed(tensors, prefix):
    return {prefix + name: tensor for name, tensor in tensors.items()}


LAYOUTS = {
    "torchvision's": lambda net: net.state_dict(),
    "in parallel": lambda net: renamed(net.state_dict(), "module."),
    "a backbone, and a head": lambda net: renamed(net.state_dict(), "model.backbone.") | {"head.weight": torch.ones(3)},
    "by number": lambda net: renamed(numbered(net), "features."),
    "as old as torch 0.4": lambda net: {
        name: value for name, value in net.state_dict().items() if "num_batches" not in name
    },
    "in double": lambda net: {name: value.double() for name, value in net.state_dict().items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_grey_gives_the_features_of_grey_in_three_colours(layout, theirs):
    found = LAYOUTS[layout](theirs)
    grey = torch.randn(2, 1, 112, 112)
    mine, expected = ours(found, grey), features(theirs, grey.expand(-1, 3, -1, -1))
    assert (mine - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_folded_stem_answers_as_the_coloured_one(theirs):
    folded = key_layouts.fit(theirs.state_dict(), encoder_of(8).state_dict()).tensors["conv1.weight"]
    grey = torch.randn(2, 1, 112, 112)
    expected = theirs.conv1(grey.expand(-1, 3, -1, -1))
    answered = torch.nn.functional.conv2d(grey, folded, stride=2, padding=3)
    torch.testing.assert_close(answered, expected, atol=1e-5, rtol=0)


def test_one_channel_is_taken_as_it_is():
    encoder = trained(encoder_of(8))
    found = key_layouts.fit(encoder.state_dict(), encoder_of(16).state_dict())
    assert torch.equal(found.tensors["conv1.weight"], encoder.conv1.weight) and found.about["stem"] == "as it was"
    assert found.about["left_out"] == found.about["kept"] == ["fc.weight", "fc.bias"]


def test_every_name_that_does_not_match_is_told(theirs):
    found = renamed(theirs.state_dict(), "module.") | {"module.feature.weight": torch.ones(2), "alpha": torch.ones(1)}
    del found["module.bn1.num_batches_tracked"]
    about = key_layouts.fit(found, encoder_of(8, standardise=True).state_dict()).about
    assert about["prefix"] == "module."
    assert set(about["left_out"]) == {"module.fc.weight", "module.fc.bias", "module.feature.weight", "alpha"}
    norm = {f"norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert set(about["kept"]) == {"bn1.num_batches_tracked", "fc.weight", "fc.bias"} | norm
    assert about["matched"] + len(about["left_out"]) == len(found)


def test_a_shape_that_does_not_fit_is_an_error(theirs):
    found = theirs.state_dict() | {"layer3.0.conv2.weight": torch.ones(256, 256, 1, 1)}
    with pytest.raises(
        LayoutError, match=r"layer3.0.conv2.weight is 256 x 256 x 1 x 1 in the weights, 256 x 256 x 3 x 3"
    ):
        key_layouts.fit(found, encoder_of(8).state_dict())
    with pytest.raises(LayoutError, match="weights are of width 64, the network is of 16: --set width=64"):
        key_layouts.fit(theirs.state_dict(), encoder_of(8, width=16).state_dict())


@pytest.mark.parametrize("stem", [(64, 3, 3, 3), (64, 4, 7, 7), (64, 3), (), (64,)])
def test_another_stem_is_an_error(stem, theirs):
    with pytest.raises(LayoutError, match="conv1.weight is .* in the weights, 64 x 1 x 7 x 7 in the network"):
        key_layouts.fit(theirs.state_dict() | {"conv1.weight": torch.ones(stem)}, encoder_of(8).state_dict())


def test_numbers_that_are_none_are_an_error(theirs):
    network = encoder_of(8).state_dict()
    with pytest.raises(LayoutError, match=r"bn1.weight is of torch.int8; expected floating point"):
        key_layouts.fit(theirs.state_dict() | {"bn1.weight": torch.ones(64, dtype=torch.int8)}, network)
    with pytest.raises(LayoutError, match="bn1.bias holds numbers that are not finite"):
        key_layouts.fit(theirs.state_dict() | {"bn1.bias": torch.full((64,), torch.nan)}, network)
    with pytest.raises(LayoutError, match="bn1.bias holds numbers that are not finite"):  # in single precision
        key_layouts.fit(theirs.state_dict() | {"bn1.bias": torch.full((64,), 1e300, dtype=torch.float64)}, network)


def test_a_tensor_too_many_or_too_few_is_an_error(theirs):
    network = encoder_of(8).state_dict()
    found = theirs.state_dict()
    with pytest.raises(LayoutError, match=r"it has what ours has not: layer2.0.attention.weight$"):
        key_layouts.fit(found | {"layer2.0.attention.weight": torch.ones(1)}, network)
    del found["layer2.1.bn2.running_var"]
    with pytest.raises(LayoutError, match=r"it lacks: layer2.1.bn2.running_var$"):
        key_layouts.fit(found, network)


@pytest.mark.parametrize("deeper", [resnet34, resnet50])
def test_deeper_networks_are_an_error(deeper):
    with pytest.raises(LayoutError, match=r"it has what ours has not: layer1\.\d.* and \d+ more"):
        key_layouts.fit(deeper().state_dict(), encoder_of(8).state_dict())


def test_residual_nets_of_one_picture_take_them_too():
    stems = {1: "3 colours summed to grey", 3: "as it was"}
    for channels, told in stems.items():
        found = key_layouts.fit(resnet18().state_dict(), resnet.ResNet("resnet18", channels, 6).state_dict())
        assert found.about["stem"] == told and found.tensors["conv1.weight"].shape == (64, channels, 7, 7)
    with pytest.raises(LayoutError, match="conv1.weight is 64 x 3 x 7 x 7 in the weights, 64 x 2 x 7 x 7"):
        key_layouts.fit(resnet18().state_dict(), resnet.ResNet("resnet18", 2, 6).state_dict())
    with pytest.raises(LayoutError, match="it lacks: layer1.0.conv3.weight"):
        key_layouts.fit(resnet18().state_dict(), resnet.ResNet("resnet101", 1, 6).state_dict())


@pytest.mark.parametrize(  # names that public checkpoints of these networks hold
    ("name", "told"),
    [
        ("layer1.0.prelu.weight", "ArcFace's IResNet"),
        ("module.layer1.0.bn0.weight", "InsightFace-v2's ResNet"),
        ("model.body.0.res_layer.0.weight", "an IR network"),
        ("conv2d_1a.conv.weight", "an InceptionResnetV1"),
        ("layer1.0.se.fc1.weight", "squeeze-and-excitation"),
        ("conv1.0.weight", "a stem of several convolutions"),
    ],
)
def test_other_networks_are_refused_by_name(name, told, theirs):
    with pytest.raises(LayoutError, match=f"the weights are those of .*{told}"):
        key_layouts.fit(theirs.state_dict() | {name: torch.ones(1)}, encoder_of(8).state_dict())


def test_no_network_or_two_are_refused(theirs):
    network = encoder_of(8).state_dict()
    with pytest.raises(LayoutError, match=r"no ResNet, but patch_embed.weight; expected one, named as torchvision's"):
        key_layouts.fit({"patch_embed.weight": torch.ones(1)}, network)
    two = renamed(theirs.state_dict(), "encoder_q.") | renamed(theirs.state_dict(), "encoder_k.")
    with pytest.raises(LayoutError, match=r"2 networks, encoder_q\., encoder_k\.; expected one"):
        key_layouts.fit(two, network)


# --- into a method


def from_elsewhere(tensors):
    about = {
        "name": "some",
        "source": "some.pth",
        "sha256": "0" * 64,
        "format": "torch",
        "licence": "MIT",
        "note": "seen",
    }
    return Weights(tensors, ("epoch",), about)


@pytest.mark.parametrize("shared", [True, False])
def test_every_encoder_of_dicefer_starts_from_them(shared):
    method = DiceFer(DiceFerConfig(width=8, code_size=4, critic_width=8, shared=shared), 3)
    source = trained(encoder_of(16, width=8))
    about = key_layouts.take(from_elsewhere(source.state_dict()), method)
    encoders = [module for module in method.modules() if isinstance(module, resnet.ResNet)]
    assert len(encoders) == len(about["into"]) == (2 if shared else 4)
    for encoder in encoders:
        assert all(
            torch.equal(value, source.layer4.state_dict()[key]) for key, value in encoder.layer4.state_dict().items()
        )
    assert "expression_encoder.sides.0" in about["into"] and about["beside"] == ["epoch"]
    text = key_layouts.text(about)
    assert (
        "left out: fc.weight, fc.bias, epoch" in text
        and "some.pth (sha256 000000000000; MIT)" in text
        and "; seen" in text
    )


def test_what_does_not_fit_changes_nothing():
    method = ResNet(ResNetConfig(width=8, code_size=4), 3)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    with pytest.raises(LayoutError):
        key_layouts.take(from_elsewhere(encoder_of(4, width=16).state_dict()), method)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_a_method_without_such_an_encoder_says_so():
    narrow = IfGanConfig(
        size=32, width=4, discriminator_width=4, classifier="resnet18", classifier_width=4, imagenet=False
    )
    with pytest.raises(LayoutError, match="IfGan has no encoder that starts from weights"):
        key_layouts.take(from_elsewhere(encoder_of(4).state_dict()), IfGan(narrow, 3))


# --- into a run


def command(manifest, folder):
    where = ["--manifests", str(manifest.parent), "--runs", str(folder / "runs")]
    return ["fit", *where, "--method", "resnet", "--preset", "demo"]


def test_a_run_starts_from_them_says_so_and_goes_on_with_no_others(patterns, tmp_path):
    torch.manual_seed(1)
    source = encoder_of(16, width=4)
    save_file(source.state_dict(), path := tmp_path / "faces.safetensors", {"licence": "CC0"})
    ask = replace(run_spec(patterns, "resnet", "epochs=2", "learning_rate=0"), encoder_weights=str(path))
    assert "-faces-fold01-seed0" in ask.name()
    run = cut_short(ask, tmp_path / "runs", epochs=1)
    written = run.read_json("provenance.json")["encoder_weights"]
    assert written["source"] == str(path) and written["licence"] == "CC0" and written["into"] == ["encoder"]
    assert set(written["left_out"]) == {"fc.weight", "fc.bias"}
    assert run.read_json("config.json")["encoder_weights"] == {"name": "faces", "sha256": written["sha256"]}
    run = fit(ask, tmp_path / "runs", CPU, silent)
    assert run.finished
    kept = weights_of(run)  # with no learning rate, they are still there
    assert torch.equal(kept["encoder.layer4.1.conv2.weight"], source.layer4[1].conv2.weight)
    assert not torch.equal(kept["encoder.fc.weight"], source.fc.weight[:8])
    settings = [word for setting in ask.settings for word in ("--set", setting)]
    result = CliRunner().invoke(main.app, [*command(patterns, tmp_path), *settings, "--encoder-weights", str(path)])
    assert "was finished already" in result.stdout and f"encoder from {path} (sha256 " in result.stdout
    save_file(encoder_of(16, width=4).state_dict(), path)
    with pytest.raises(ValueError, match="holds another run .encoder_weights was"):
        fit(ask, tmp_path / "runs", CPU, silent)


def test_weights_that_do_not_fit_leave_no_run_behind(patterns, tmp_path):
    torch.save({"state_dict": resnet18().state_dict()}, path := tmp_path / "r18.pth")
    result = CliRunner().invoke(main.app, [*command(patterns, tmp_path), "--encoder-weights", str(path)])
    assert result.exit_code == 1
    assert "error: the weights are of width 64, the network is of 16: --set width=64" in result.stderr
    assert not (tmp_path / "runs").exists()
