import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from processes import in_two_processes, joined
from safetensors import safe_open
from safetensors.torch import load_file
from small_runs import Stop
from test_lfw_bin import by_python_2, encoded
from typer.testing import CliRunner

from manifests import files, schema
from manifests.crop import DEFAULT_CROP
from trainer.cli.main import app
from trainer.data.identities import read_people
from trainer.errors import TrainerError
from trainer.methods.config import ConfigError
from trainer.methods.pretrained import key_layouts, weights
from trainer.networks.resnet import ResNet
from trainer.runs.run import Run
from trainer.training import pretrain
from trainer.training.pretrain import PretrainSpec

CPU = torch.device("cpu")
SMALL = ("width=4", "code_size=8", "batch_size=16", "scale=16", "learning_rate=0.1", "warmup=1")


def silent(*_):
    pass


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr("trainer.evaluation.metrics.verification.DRAWS", 20)


def make(path, num_people=24, num_faces=4, named=True, align="five-points"):
    """People as bright squares, each at a place of their own, on noise."""
    generator, rows, side = np.random.default_rng(0), [], schema.DEFAULT_CROP.stored
    for person in range(num_people):
        for take in range(num_faces):
            image = generator.normal(90, 20, (side, side))
            top, left = 24 + 20 * (person // 5), 24 + 20 * (person % 5)
            image[top : top + 16, left : left + 16] += 120
            rows.append(
                dict.fromkeys(schema.FACES.names)
                | {
                    "face_id": f"{person}/{take}", "dataset": "set", "usable": True, "source": "drawn",
                    "subject": f"set/{person:02d}" if named else None,
                    "image": {"bytes": DEFAULT_CROP.encode(image.clip(0, 255).astype(np.uint8)), "path": "x.pgm"},
                }
            )  # fmt: skip
    about = {"commit": None, "summary": {"protocol": "all", "drawn": True}, "title": "Squares", "licence": "none"}
    files.write([pa.Table.from_pylist(rows, schema=schema.FACES)], path, about | {"crop": {"align": align}})
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make(tmp_path_factory.mktemp("manifests") / "set.parquet")


def run_spec(manifest, *settings, epochs=3, **others):
    return PretrainSpec(
        manifest=manifest, preset="demo", settings=(*SMALL, *settings), epochs=epochs, **{"seed": 0} | others
    )


@pytest.fixture(scope="module")
def trained(manifest, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.evaluation.metrics.verification.DRAWS", 20)
        found = pretrain.pretrain(run_spec(manifest, epochs=12), runs, CPU, silent)
    return found, Path(found["run"])


def test_nobody_is_on_both_sides_and_everybody_is_on_one(manifest):
    people = read_people(manifest, one_in=4)
    assert sorted(set(people.held_out_names)) == [f"set/{number:02d}" for number in range(3, 24, 4)]
    assert len(people.faces) + len(people.held_out) == 96 and len(people.held_out) == 24
    assert torch.equal(torch.bincount(people.person), torch.full((18,), 4))


def test_an_epoch_shows_each_face_once_as_it_is_or_mirrored(manifest):
    people = read_people(manifest, one_in=4)
    batches = list(people.batches(16, lambda images: images, seed=3, first=0, device=CPU))
    seen = torch.cat([batch.image for batch in batches])[:, 0] * 255
    known = {face.numpy().tobytes(): person for face, person in zip(people.faces, people.person.tolist(), strict=True)}
    mirrored = {
        face.flip(1).numpy().tobytes(): who for face, who in zip(people.faces, people.person.tolist(), strict=True)
    }
    drawn = [face.round().to(torch.uint8).numpy().tobytes() for face in seen]
    assert len(set(drawn)) == len(drawn) == len(known)
    assert 20 < sum(face in mirrored for face in drawn) < 52
    assert [(known | mirrored)[face] for face in drawn] == torch.cat([batch.person for batch in batches]).tolist()
    later = list(people.batches(16, lambda images: images, seed=3, first=2, device=CPU))
    assert torch.equal(later[0].image, batches[2].image)


def test_what_is_learnt_of_some_people_tells_others(trained):
    found, _ = trained
    assert found["scores"]["people"]["auc"]["value"] > found["random_start"]["people"]["auc"]["value"] + 0.05
    assert found["scores"]["people"]["same_pairs"] == 6 * 6


def test_the_weights_fit_an_encoder_and_say_what_they_are(trained):
    _, run = trained
    path = str(run / "weights.safetensors")
    read = weights.read(path)
    encoder = ResNet("resnet18", 1, 64, 4)
    fitted = key_layouts.fit(read.tensors, encoder.state_dict())
    untouched = {name for name in encoder.state_dict() if name not in fitted.tensors}
    assert untouched == {"fc.weight", "fc.bias"} == set(fitted.about["kept"])
    assert read.about["licence"] == "none"
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert about["overlap_audited"] == "false" and "was not audited" in about["note"] and "Squares" in about["note"]
    assert not (run / "checkpoint.safetensors").exists()


def test_a_trained_run_is_judged_anew_to_the_same_scores(trained, manifest, tmp_path):
    found, run = trained
    pairs = tmp_path / "lfw.bin"
    pairs.write_bytes(by_python_2([encoded(9 * level) for level in range(24)], [True, False] * 6))
    stamp = (run / "weights.safetensors").stat().st_mtime_ns
    again = pretrain.pretrain(run_spec(manifest, epochs=12, pairs=(pairs,)), run.parent, CPU, silent)
    assert (run / "weights.safetensors").stat().st_mtime_ns == stamp
    assert again["scores"]["people"] == found["scores"]["people"]
    assert again["random_start"]["people"] == found["random_start"]["people"]
    assert again["scores"]["lfw.bin"]["judged_pairs"] == 12
    assert json.loads((run / "scores.json").read_text())["scores"] == again["scores"]
    assert "lfw.bin: 6 pairs of one person, 6 of two; 95 % over 10 folds" in pretrain.text(again)


def test_stopped_anywhere_and_resumed_it_is_the_training_it_would_have_been(manifest, tmp_path):
    whole = pretrain.pretrain(run_spec(manifest), tmp_path / "whole", CPU, silent)
    for step in (2, 7):
        runs, asks = tmp_path / str(step), iter(range(1, 99))
        assert (
            pretrain.pretrain(run_spec(manifest), runs, CPU, silent, lambda asks=asks, step=step: next(asks) > step)
            is None
        )
        resumed = pretrain.pretrain(run_spec(manifest), runs, CPU, silent)
        one, other = (load_file(Path(found["run"]) / "weights.safetensors") for found in (whole, resumed))
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_margin_grows_from_nothing(manifest):
    method = pretrain.Pretraining(run_spec(manifest, "warmup=4", "margin=0.4").config(), 18)
    (stage,) = method.stages()
    margins = []
    for epoch in range(6):
        stage.begin(epoch)
        margins.append(method.head.margin)
    assert margins == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.4])


def test_the_rate_falls_to_a_tenth_three_times():
    (stage,) = pretrain.Pretraining(pretrain.PRESETS["default"], 4).stages()
    rates = [round(0.1 * stage.schedule(epoch / 34), 9) for epoch in range(34)]
    assert rates == [0.1] * 20 + [0.01] * 8 + [0.001] * 4 + [0.0001] * 2


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        (["head=softmax"], "head=softmax: expected one of arcface, cosface"),
        (["whitening=zca"], "whitening=zca: expected one of standardize, none"),
        (["one_in=1"], "one_in=1: expected 2 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(manifest, settings, refusal):
    with pytest.raises(ConfigError, match=refusal):
        run_spec(manifest, *settings).config()


@pytest.mark.parametrize(
    ("made", "refusal"),
    [
        ({"named": False}, "0 people are named"),
        ({"num_people": 8}, "8 people are named, 2 of them held out"),
        ({"num_people": 20, "num_faces": 1}, "0 of these on two faces"),
    ],
)
def test_too_few_people_are_refused(tmp_path, made, refusal):
    with pytest.raises(TrainerError, match=refusal):
        read_people(make(tmp_path / "set.parquet", **made), one_in=4)


def test_pairs_that_are_aligned_otherwise_are_refused(tmp_path):
    path = make(tmp_path / "set.parquet", align="eyes-nose")
    with pytest.raises(TrainerError, match="is aligned by eyes-nose, .*lfw.bin is not: leave it out"):
        pretrain.pretrain(run_spec(path, pairs=(tmp_path / "lfw.bin",)), tmp_path, CPU, silent)


@pytest.mark.gpu
def test_it_trains_on_a_gpu(manifest, tmp_path):
    found = pretrain.pretrain(run_spec(manifest, epochs=12), tmp_path, torch.device("cuda"), silent)
    assert found["scores"]["people"]["auc"]["value"] > found["random_start"]["people"]["auc"]["value"] + 0.05


def test_the_command_tells_scores_and_where_the_run_is(trained, manifest):
    found, run = trained
    options = ["--preset", "demo", "--epochs", "12", "--manifests", str(manifest.parent), "--runs", str(run.parent)]
    command = ["pretrain", "set", *options, "--device", "cpu", *(f"--set={setting}" for setting in SMALL)]
    told = CliRunner().invoke(app, [*command, "--json"])
    assert told.exit_code == 0 and json.loads(told.stdout)["scores"] == found["scores"]
    refused = CliRunner().invoke(app, [*command, "--preset", "huge"])
    assert refused.exit_code == 1
    assert "no preset 'huge' of pretrain; known: default, arcface, demo" in refused.stderr


def one_of_two(rank, folder, manifest):
    """What each of two processes does: a training, then one that the second stops within an epoch."""

    def go(name, *interrupted):
        return pretrain.pretrain(run_spec(Path(manifest), epochs=2), Path(folder) / name, CPU, silent, *interrupted)

    with joined(int(rank), f"{folder}/meeting"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.evaluation.metrics.verification.DRAWS", 2)
        assert (go("whole") is None) == (int(rank) == 1)
        if int(rank) == 1:
            assert go("resumed", Stop(steps=6).should_stop) is None
        else:
            with pytest.raises(KeyboardInterrupt):
                go("resumed")
        (run,) = Path(folder, "resumed").iterdir()
        assert Run(run).checkpoint().progress["step"] > 0
        go("resumed")


def test_two_processes_make_one_run_and_resume_it(manifest, tmp_path):
    in_two_processes("test_pretrain", tmp_path, manifest)
    (whole,), (resumed,) = ((tmp_path / name).iterdir() for name in ("whole", "resumed"))
    one, other = (load_file(run / "weights.safetensors") for run in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [json.loads(line)["epoch"] for line in (resumed / "metrics.jsonl").read_text().splitlines()] == [0, 1]
    assert (resumed / "scores.json").exists()
