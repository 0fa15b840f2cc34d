"""Catches a traceback where a file is given for a folder, a folder for a file, or what is not there for either."""

import shutil

import pytest
from PIL import Image
from small_runs import CPU, run_spec, silent
from typer.testing import CliRunner

import fertools.cli
import trainer.cli.main
from manifests import files
from trainer.inference.export import export
from trainer.training.fit import fit

APPS = {"fertools": fertools.cli.app, "trainer": trainer.cli.main.app}
LINES = (  # each command with {x} in the place of one of its paths
    "fertools draw affectnet --subjects 2 --raw {x}",
    "fertools prepare folder --raw {x} --manifests {tmp}/new",
    "fertools prepare folder --raw {album} --labels {x} --manifests {tmp}/new",
    "fertools prepare folder --raw {album} --map {x} --manifests {tmp}/new",
    "fertools prepare folder --raw {album} --manifests {x}",
    "fertools make-folds set --manifests {x}",
    "fertools make-folds set --manifests {manifests} --splits {x}",
    "fertools export set --format folder --manifests {x}",
    "fertools export set --format folder --manifests {manifests} --out {x}",
    "fertools show set --manifests {x}",
    "fertools show set --manifests {manifests} --out {x}",
    "fertools group set --manifests {x}",
    "fertools group set --manifests {manifests} --embedder {x} --device cpu",
    "fertools audit set --manifests {x}",
    "fertools audit set --manifests {manifests} --splits {x}",
    "fertools audit set --manifests {manifests} --html {x}",
    "fertools verify folder --raw {x}",
    "fertools verify --manifest set --manifests {x}",
    "fertools diff set set --manifests {x}",
    "trainer fit --manifests {x} --runs {tmp}/new",
    "trainer fit --manifests {manifests} --runs {x} --method resnet --preset demo --epochs 1 --set width=4",
    "trainer fit --manifests {manifests} --runs {tmp}/new --start {x} --stage identity",
    "trainer fit --manifests {manifests} --runs {tmp}/new --encoder-weights {x}",
    "trainer pretrain set --manifests {x} --runs {tmp}/new",
    "trainer evaluate {x} --manifests {manifests}",
    "trainer evaluate {run} --manifests {x}",
    "trainer evaluate {coded} --manifests {manifests} --thorough --factors {x}",
    "trainer report {x}",
    "trainer predict {x} {album} --manifests {manifests}",
    "trainer predict {model} {x}",
    "trainer predict {model} {album} --out {x}",
    "trainer predict {model} {album} --annotated {x}",
    "trainer predict {run} {album} --manifests {x}",
    "trainer embed {model} {album} --out {x}",
    "trainer transfer {x} {album}",
    "trainer attention {x} {album}",
    "trainer export {x} --manifests {manifests}",
    "trainer export {run} --manifests {x}",
    "trainer export {run} --manifests {manifests} --out {x}",
    "trainer demo {x} --manifests {manifests}",
    "trainer demo {run} --manifests {x}",
    "trainer reproduce dice-fer/table3 --manifests {x} --out {tmp}/new",
    "trainer reproduce dice-fer/table3 --manifests {manifests} --out {x}",
    "trainer compare --manifests {x} --runs {tmp}/new --out {tmp}/out",
    "trainer bench --manifests {x}",
)


@pytest.fixture(scope="module")
def world(patterns, tmp_path_factory):
    """A manifest, a run of it, its model, and a folder of one photograph without a face."""
    root = tmp_path_factory.mktemp("world")
    shutil.copytree(patterns.parent, root / "manifests")
    manifest = root / "manifests/set.parquet"
    about = {name: "of a test" for name in ("title", "source", "licence", "command", "fertools")}
    about["detector"] = {"name": "none", "weights": "none"}
    files.write_rows(files.read(manifest), manifest, files.read_metadata(manifest) | about)
    run = fit(run_spec(manifest, "resnet", "epochs=1"), root / "runs", CPU, silent)
    export(run, root / "manifests", "safetensors", root / "model")
    (root / "album/joy").mkdir(parents=True)
    Image.new("L", (80, 80), 128).save(root / "album/joy/grey.png")
    coded = fit(run_spec(manifest, "dicefer"), root / "runs", CPU, silent)
    folders = {name: root / name for name in ("manifests", "model", "album")}
    return folders | {"run": run.folder, "coded": coded.folder}


@pytest.mark.parametrize("given", ["file", "folder", "nothing"])
@pytest.mark.parametrize("line", LINES)
def test_a_path_of_another_kind_ends_in_a_sentence_that_names_it(line, given, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = [(world["manifests"] / "set.parquet").read_bytes(), files.read(world["manifests"] / "set.parquet")]
    name, *words = line.split()
    places = {key: str(path) for key, path in world.items()} | {"x": str(tmp_path / given), "tmp": str(tmp_path)}
    result = CliRunner().invoke(APPS[name], [word.format_map(places) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    if "predict {model}" in line and "--out" not in line:  # what gives no face is told, file by file
        assert "0 faces in" in result.output
    elif result.exit_code:
        (told,) = [text for text in result.stderr.splitlines() if text.startswith(("error: ", "Error: "))]
        assert given in told
    assert (tmp_path / "folder/notes").read_text() == "mine"
    assert before == [(world["manifests"] / "set.parquet").read_bytes(), files.read(world["manifests"] / "set.parquet")]
