"""Both commands as a user types them: what they print, what they refuse, where they leave things."""

import importlib.metadata
import json
import shutil

import pytest
from manifest_files import copy_manifest, with_column
from PIL import Image
from typer.testing import CliRunner

import fertools.cli
import trainer.cli.main
from fertools.datasets import DATASETS

COMMANDS = {"fertools": fertools.cli.app, "trainer": trainer.cli.main.app}
SMALL = "--set width=4 --set code_size=8 --set batch_size=12"


def run(line, code=0):
    """Run a command line and return what it wrote on stdout and on stderr."""
    name, *words = line.split()
    result = CliRunner().invoke(COMMANDS[name], words, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.fixture
def manifests(patterns, tmp_path):
    shutil.copytree(patterns.parent, tmp_path / "manifests")
    return tmp_path / "manifests"


# --- fertools


def test_from_drawing_to_a_contact_sheet(tmp_path):
    raw, manifests = tmp_path / "raw", tmp_path / "manifests"
    run(f"fertools draw CK+ --raw {raw} --subjects 3 --seed 3")
    told, _ = run(f"fertools prepare ck+ --raw {raw} --manifests {manifests}")
    assert "3 people" in told and "drawn faces, a stand-in" in told
    again = json.loads(run(f"fertools prepare ckplus --raw {raw} --manifests {manifests} --json")[0])
    assert again["up_to_date"] and again["found"] == again["usable"] + again["outside"] + len(again["quarantined"])
    folds = json.loads(run(f"fertools make-folds Ck+ --manifests {manifests} --num-folds 3 --json")[0])
    assert sum(fold["faces"] for fold in folds["folds"]) == again["usable"] > 0
    sheet = tmp_path / "sheet.png"
    assert run(f"fertools show CK+ --manifests {manifests} --out {sheet}")[0].split() == [str(sheet)]
    with Image.open(sheet) as picture:
        assert min(picture.size) > 112


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fertools prepare ck", ["no dataset 'ck'", *DATASETS]),
        ("fertools prepare raf", ["no dataset 'raf'; did you mean rafdb?"]),
        ("fertools draw folder", ["cannot be drawn", "ckplus"]),
        ("fertools prepare ck+ --labels x.csv", ["has labels of its own", "fertools prepare folder"]),
        ("fertools prepare ck+ --raw {tmp}/none", ["no such folder", "Emotion", "jeffcohn.net", "fertools draw ck"]),
        ("fertools prepare ck+ --raw {tmp}/empty", ["holds nothing", "Emotion", "jeffcohn.net", "fertools draw ck"]),
        ("fertools prepare ck+ --raw {tmp}/zipped", ["unpack extended-cohn-kanade-images.zip first"]),
        ("fertools make-folds --manifests {tmp}", ["no manifest in", "fertools prepare DATASET"]),
        ("fertools make-folds mmi --manifests {tmp}/manifests", ["'mmi' is not prepared", "prepared: set"]),
        ("fertools make-folds --manifests {tmp}/manifests --num-folds 30", ["8 subjects", "30 folds"]),
        ("fertools prepare folder --raw {tmp}/empty --protocol x", ["x", "all"]),
        ("fertools draw ck+ --raw {tmp}/zipped", ["zipped"]),
        ("trainer fit --manifests {tmp}/empty", ["no manifest in", "fertools prepare DATASET"]),
        ("trainer fit --manifests {tmp}/manifests --dataset ck+", ["'ck+' is not prepared", "prepared: set"]),
        ("trainer fit --manifests {tmp}/manifests --method gan", ["no method 'gan'", "dicefer", "resnet"]),
        ("trainer fit --manifests {tmp}/manifests --preset x", ["no preset 'x' of dicefer", "paper", "demo"]),
        ("trainer fit --manifests {tmp}/manifests --set x=1", ["no setting 'x'", "learning_rate"]),
        ("trainer fit --manifests {tmp}/manifests --set width=wide", ["width=wide", "expected int"]),
        ("trainer fit --manifests {tmp}/manifests --set critic=x", ["critic=x", "concat, bilinear"]),
        ("trainer fit --manifests {tmp}/manifests --fold 9", ["no fold 9", "1 to 4"]),
        ("trainer fit --manifests {tmp}/manifests --fold 1 --all-folds", ["exclude each other"]),
        ("trainer fit --manifests {tmp}/manifests --device abacus", ["no device 'abacus': expected auto, cpu or cuda"]),
        ("trainer report {tmp}/none", ["none has no config.json", "trainer fit"]),
        ("trainer evaluate {tmp}/none", ["none has no config.json", "trainer fit"]),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("manifests")
def test_a_refusal_says_what_was_found_and_what_to_do(line, words, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "zipped").mkdir()
    (tmp_path / "zipped/extended-cohn-kanade-images.zip").touch()
    told, error = run(line.format(tmp=tmp_path), code=1)
    assert error.startswith("error: ") and told == ""
    assert [word for word in words if word not in error] == [], error


def test_a_manifest_without_folds_asks_for_them(manifests):
    with_column(manifests / "set.parquet", "fold", [None] * 48)
    _, error = run(f"trainer fit --manifests {manifests}", code=1)
    assert "no folds" in error and "fertools make-folds" in error


# --- trainer


def test_fit_tells_its_scores_does_a_run_once_and_compares_runs(manifests, tmp_path):
    line = f"trainer fit --manifests {manifests} --runs {tmp_path}/runs --method resnet --epochs 2 {SMALL}"
    told, _ = run(f"{line} --all-folds")
    assert told.count("expression accuracy") == 4 and "+-" in told  # each fold, then mean and spread
    runs = sorted((tmp_path / "runs").glob("*fold*"))
    assert [path.name[-12:] for path in runs] == [f"fold{fold:02d}-seed0" for fold in range(1, 5)]
    again, _ = run(f"{line} --fold 2")
    assert "was finished already" in again
    (scores,) = json.loads(run(f"{line} --fold 2 --json")[0])
    assert scores["run"] == str(runs[1])
    groups = json.loads(run(f"trainer report {' '.join(map(str, runs))} --json")[0])["groups"]
    assert groups[0]["count"] == 4 and groups[0]["folds"] == [1, 2, 3, 4]
    accuracies = [json.loads((path / "scores.json").read_text())["classification"]["accuracy"] for path in runs]
    assert groups[0]["mean"]["accuracy"] == pytest.approx(sum(accuracies) / 4)
    judged = json.loads(run(f"trainer evaluate {runs[1]} --manifests {manifests} --json")[0])
    assert judged["classification"] == scores["classification"]


def test_a_run_is_not_judged_on_another_manifest(manifests, tmp_path):
    line = f"trainer fit --manifests {manifests} --runs {tmp_path}/runs --method resnet --epochs 1 {SMALL}"
    run(line)
    folder = next((tmp_path / "runs").iterdir())
    run(f"fertools make-folds --manifests {manifests} --num-folds 4 --seed 7")
    _, error = run(f"trainer evaluate {folder} --manifests {manifests}", code=1)
    assert "was trained on other data than" in error and "pairs differ" in error
    _, error = run(line, code=1)
    assert "was trained on another set.parquet: pairs differ" in error


def test_a_run_is_examined_and_judged_on_another_dataset(manifests, tmp_path, monkeypatch):
    from trainer.evaluation.metrics import held_out
    from trainer.evaluation.metrics.information import information_gap

    monkeypatch.setattr(held_out, "PATIENCE", 1)
    monkeypatch.setattr(
        "trainer.evaluation.evaluate.information_gap", lambda parts: information_gap(parts, seeds=[0], sigmas=[])
    )
    quick = "--set width=4 --set code_size=8 --set batch_size=12 --set critic_width=8"
    run(f"trainer fit --manifests {manifests} --runs {tmp_path}/runs --epochs 1 --preset demo {quick}")
    folder = next((tmp_path / "runs").iterdir())
    told, _ = run(f"trainer evaluate {folder} --manifests {manifests} --thorough")
    assert "I(E_M; E_N) by nce, nats" in told and "MIG by nce, nats" in told and "DCI disentanglement" in told
    copy_manifest(manifests / "set.parquet", manifests / "folder.parquet")
    elsewhere, _ = run(f"trainer evaluate {folder} --manifests {manifests} --on folder")
    assert "accuracy on folder" in elsewhere and "of 48" in elsewhere
    _, error = run(f"trainer evaluate {folder} --manifests {manifests} --factors x.csv", code=1)
    assert "--factors is used only with --thorough" in error


def test_reproduce_lists_all_tables_and_says_what_is_absent(tmp_path):
    told, _ = run(f"trainer reproduce --list --manifests {tmp_path} --runs {tmp_path}/runs")
    assert all(f"dice-fer/{name}" in told for name in ("table1", "table7", "fig3", "fig5"))
    assert "absent: affectnet, ckplus, oulucasia, rafdb" in told
    shown, written = run(f"trainer reproduce dice-fer/table3 --manifests {tmp_path} --out {tmp_path}/results")
    assert (
        "99.50" in shown and "a licensed copy of ckplus" in shown and f"{tmp_path}/results/dice-fer/table3" in written
    )
    assert (tmp_path / "results" / "dice-fer" / "table3.tex").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trainer reproduce dice-fer/table9", ["no table or figure 'dice-fer/table9'", "dice-fer/fig5"]),
        ("trainer reproduce dice-fer --folds 1,x", ["'1,x' is not a list of integers", "1,2,3"]),
        ("trainer fit --start runs/x", ["--start RUN and --stage NAME go together"]),
        ("trainer fit --expressions joy --fold 1", ["no face shows joy", "anger, fear, happiness"]),
        ("trainer fit --start {tmp}/x --stage identity", ["no config.json: it is not a run"]),
    ],
)
def test_what_trainer_cannot_do_says_what_was_found_and_what_to_do(line, words, manifests, tmp_path):
    where = "" if "reproduce" in line else f" --manifests {manifests} --runs {tmp_path}/runs"
    _, error = run(line.format(tmp=tmp_path) + where, code=1)
    assert all(word in error for word in words), error


def test_methods_lists_every_setting_of_every_preset():
    told, _ = run("trainer methods")
    known = json.loads(run("trainer methods --json")[0])
    for method, presets in known.items():
        assert method in told and all(name in told for settings in presets.values() for name in settings)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_a_runnable_example(name):
    told, _ = run(f"{name} --help")
    app = COMMANDS[name]
    for command in app.registered_commands:
        word = (command.name or command.callback.__name__).replace("_", "-")
        assert word in told
        assert f"Example: {name} {word}" in run(f"{name} {word} --help")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_version_is_the_packages(name):
    assert run(f"{name} --version")[0].strip() == importlib.metadata.version("fertools")


def test_manifests_read_in_pandas(manifests):
    import pandas as pd

    rows = pd.read_parquet(manifests / "set.parquet")
    faces = pd.read_parquet(manifests / "set.faces")
    assert list(rows["face_id"]) == list(faces["face_id"]) and {"expression", "subject"} <= {*rows}
