"""Catches a command that reaches out for something: nothing may, without an option that says so."""

import socket

import pytest
from small_runs import CPU, run_spec, silent
from typer.testing import CliRunner

import fertools.cli
import trainer.cli.main
from fertools.drawn.corpus import draw
from trainer.training.fit import fit


@pytest.fixture
def reached(monkeypatch):
    """What was reached out for; each attempt fails."""
    found = []

    def refuse(*arguments, **_):
        found.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", lambda _, address: refuse(address))
    monkeypatch.setattr(socket.socket, "connect_ex", lambda _, address: refuse(address))
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    return found


def test_no_command_needs_a_connection(reached, drawn_raw, drawn_manifest, tmp_path):
    draw(tmp_path / "raw", 4, seed=0, workers=1, dataset="affectnet")
    where, manifests = ("--manifests", drawn_manifest.parent), tmp_path / "manifests"
    run = fit(run_spec(drawn_manifest, "resnet", "epochs=1"), tmp_path / "runs", CPU, silent).folder
    photo, pipeline = next(drawn_raw.rglob("*.png")), tmp_path / "pipeline.json"
    pipeline.write_text('{"transform": {"__class_fullname__": "HorizontalFlip", "p": 0.5}}')
    for app, *words in (
        (fertools.cli.app, "prepare", "affectnet", "--raw", tmp_path / "raw", "--manifests", manifests,
         "--landmarks", "published", "--workers", 1),
        (fertools.cli.app, "make-folds", "--num-folds", 3, "--manifests", manifests),
        (fertools.cli.app, "augment", "affectnet", "--manifests", manifests, "--pipeline", pipeline, "--workers", 1),
        (fertools.cli.app, "verify", "--manifest", "ckplus", *where),
        (fertools.cli.app, "diff", "ckplus", "ckplus", *where),
        (fertools.cli.app, "export", "ckplus", "--format", "hf", "--out", tmp_path / "out", *where),
        (trainer.cli.main.app, "report", run),
        (trainer.cli.main.app, "export", run, *where),
        (trainer.cli.main.app, "predict", run / "export-safetensors", photo, "--device", "cpu"),
    ):  # fmt: skip
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, (words[0], result.stderr)
    assert reached == []
