"""Catches what somebody has edited: it ends in one sentence, never in a traceback or in a number that cannot be."""

import datetime
import json
import math
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest_files import copy_manifest
from small_runs import CPU, run_spec, silent
from typer.testing import CliRunner

import fertools.cli
import trainer.cli.main
from fertools.export.export import export
from manifests import faces as crops
from manifests import files
from manifests.fields import Field, check_fields, share, whole
from manifests.schema import ManifestError
from manifests.text import cell, printable
from trainer.errors import TrainerError
from trainer.inference import predictions
from trainer.runs.run import Run
from trainer.training.fit import fit

NAME = "=cmd|' /C calc'!A0\x1b[31m\u202e\r\n" + "long" * 2000


def edited(manifest, name, value):
    """Write one value of a column, or of the metadata, as others write Parquet: without checks, without a seal."""
    table = pq.read_table(manifest)
    if name.startswith("metadata."):
        metadata = dict(table.schema.metadata) | {name.removeprefix("metadata.").encode(): json.dumps(value).encode()}
    else:
        metadata, field = table.schema.metadata, table.schema.field(name)
        column = pa.array([value, *table[name].to_pylist()[1:]], field.type)
        table = table.set_column(table.column_names.index(name), field, column)
    pq.write_table(table.replace_schema_metadata(metadata), manifest)


EDITS = [
    *(("fold", value) for value in (-1, 0, 127)),
    *(("score", value) for value in (math.nan, math.inf, -0.1, 1.5)),
    *(("box", [value, 0, 1, 1]) for value in (math.nan, math.inf)),
    ("landmarks", [math.nan] * 10), ("matrix", [math.inf] * 6), ("frame", -1), ("expression", "joy"), ("usable", False),
    *(("metadata.folds", value) for value in (7, [], {"num_folds": -1}, {"num_folds": "4"}, {"num_folds": 4.5})),
    *(("metadata.crop", value) for value in (None, "x", {"size": 7}, {"sides": 7}, {"size": "128"}, {"size": [128]})),
    *(("metadata.faces", value) for value in (None, 3, [3], [{}], [{"name": "../../etc/passwd", "rows": 48}])),
    *(("metadata.whitening", value) for value in (0, {"kind": "pca"}, {"kind": None})),
    *(("metadata.summary", value) for value in (0, {}, {"drawn": "no", "protocol": "all"})),
    ("metadata.groups", {"embeddings": "0123"}),
]  # fmt: skip
READERS = ("audit set", "verify --manifest set", "export set --format folder --out {out}", "make-folds")


@pytest.mark.parametrize(("name", "value"), EDITS, ids=str)
def test_an_edited_manifest_is_refused_in_a_sentence(name, value, patterns, tmp_path):
    manifest = copy_manifest(patterns, tmp_path / "manifests/set.parquet")
    edited(manifest, name, value)
    for line in READERS:
        words = line.format(out=tmp_path / "out").split()
        result = CliRunner().invoke(fertools.cli.app, [*words, "--manifests", str(manifest.parent)])
        told = result.output.strip()
        assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), (line, result.exception)
        assert "set.parquet" in told and "make it again: fertools prepare set" in told, (line, told)
    result = CliRunner().invoke(fertools.cli.app, ["diff", "set", "set", "--manifests", str(manifest.parent)])
    assert isinstance(result.exception, SystemExit | None)  # which shows what is there, sound or not


def test_an_edit_that_is_allowed_is_read(patterns, tmp_path):
    manifest = copy_manifest(patterns, tmp_path / "manifests/set.parquet")
    edited(manifest, "score", 0.5)
    edited(manifest, "metadata.title", "Mine")
    assert files.read(manifest)["score"][0].as_py() == 0.5 and files.read_metadata(manifest)["title"] == "Mine"


@pytest.mark.parametrize(("side", "row"), [("anchor", -1), ("partner", 48), ("anchor", 2**31 - 1)])
def test_pairs_of_rows_that_are_not_there_are_refused(side, row, patterns, tmp_path):
    manifest = copy_manifest(patterns, tmp_path / "manifests/set.parquet")
    edited(files.pairs_path(manifest), side, row)
    with pytest.raises(ManifestError, match=f"set.pairs.parquet: {side} .*expected rows from 0 to 47.*make-folds set"):
        files.read_pairs(manifest, 1, files.read(manifest))


def test_an_export_refuses_what_its_card_cannot_tell_and_pairs_of_rows_that_are_not_there(patterns, tmp_path):
    manifest = copy_manifest(patterns, tmp_path / "manifests/set.parquet")
    with pytest.raises(ManifestError, match="set.parquet: title is missing; make it again: fertools prepare set"):
        export(manifest, tmp_path / "out", "folder", datetime.date.today())
    for name, value in {"title": "x", "source": "x", "command": "x", "fertools": "1", "detector": {}}.items():
        edited(manifest, f"metadata.{name}", value)
    edited(files.pairs_path(manifest), "partner", 48)
    with pytest.raises(ManifestError, match="expected rows from 0 to 47.*make-folds set"):
        export(manifest, tmp_path / "out", "folder", datetime.date.today(), fold=1)
    assert not list(tmp_path.glob("*out*"))


def test_a_name_of_a_part_never_leaves_the_folder(patterns, tmp_path):
    manifest = copy_manifest(patterns, tmp_path / "manifests/set.parquet")
    part = crops.parts(manifest)[0]
    edited(manifest, "metadata.faces", [vars(part) | {"name": "../set.pairs.parquet"}])
    with pytest.raises(ManifestError, match="faces is .*expected parts"):
        crops.parts(manifest)


@pytest.fixture(scope="module")
def trained(patterns, tmp_path_factory):
    return fit(run_spec(patterns, "resnet", "epochs=1"), tmp_path_factory.mktemp("runs"), CPU, silent)


@pytest.mark.parametrize("value", [7, math.nan, math.inf, -0.1, "0.5", None, [], True])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_report_prints_no_accuracy_that_cannot_be(value, sealed, trained, tmp_path):
    run = Run(Path(shutil.copytree(trained.folder, tmp_path / trained.folder.name)))
    scores = run.read_json("scores.json")
    scores["classification"]["accuracy"] = value
    if sealed:
        run.write_json("scores.json", scores)
    else:
        (run.folder / "scores.json").write_text(json.dumps(scores))
    result = CliRunner().invoke(trainer.cli.main.app, ["report", str(run.folder)])
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit) and not result.stdout
    assert "scores.json: classification.accuracy is " in result.stderr and "from 0 to 1" in result.stderr
    assert "trainer evaluate" in result.stderr


def test_a_hand_that_changes_a_score_is_noticed(trained, tmp_path):
    run = Run(Path(shutil.copytree(trained.folder, tmp_path / trained.folder.name)))
    text = (run.folder / "scores.json").read_text()
    scores = json.loads(text)
    scores["classification"]["accuracy"] = 1.0
    (run.folder / "scores.json").write_text(json.dumps(scores))
    with pytest.raises(TrainerError, match="scores.json is damaged, or was changed by hand; judge the run again"):
        run.read_json("scores.json")


@pytest.mark.parametrize("data", [b"", b"\xff\n", b'{"stage": "classifier", "epoch": 0, "loss": 0.1}\n'], ids=str)
def test_logged_values_that_are_others_are_refused(data, trained, tmp_path):
    run = Run(Path(shutil.copytree(trained.folder, tmp_path / trained.folder.name)))
    assert [row["epoch"] for row in run.metrics()] == [0]
    (run.folder / "metrics.jsonl").write_bytes(data)
    with pytest.raises(TrainerError, match="metrics.jsonl is damaged.*bring it back from a copy, or delete"):
        run.metrics()


@pytest.mark.parametrize("missing", ["accuracy", "correct", "macro_f1"])
def test_a_score_that_is_missing_is_named(missing, trained, tmp_path):
    run = Run(Path(shutil.copytree(trained.folder, tmp_path / trained.folder.name)))
    scores = run.read_json("scores.json")
    del scores["classification"][missing]
    run.write_json("scores.json", scores)
    result = CliRunner().invoke(trainer.cli.main.app, ["report", str(run.folder)])
    assert result.exit_code == 1 and f"classification.{missing} is missing" in result.stderr


def test_fields_name_what_was_found_and_what_was_expected():
    fields = (share("a.b"), whole("c", 1, 3), Field("d", "yes", lambda value: value == "yes"))
    check_fields({"a": {"b": 1}, "c": 3, "d": "yes"}, fields)
    check_fields({}, fields)
    for values, words in (
        ({"a": {"b": 1.01}}, "a.b is 1.01, expected a number from 0 to 1"),
        ({"c": 4}, "c is 4, expected a whole number from 1 to 3"),
        ({"d": NAME}, "d is \"=cmd|' /C calc"),
    ):
        with pytest.raises(ManifestError) as refusal:
            check_fields(values, fields)
        assert str(refusal.value).startswith(words) and len(str(refusal.value)) < 130
    with pytest.raises(ManifestError, match="a.b is missing"):
        check_fields({"a": {}}, (), ["a.b"])


# --- text


def test_a_name_that_tries_everything_is_shown_on_one_short_line():
    shown = printable(NAME)
    assert len(shown) <= 200 and shown.isprintable() and "\\x1b[31m\\u202e\\r\\n" in shown


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_is_no_formula(start, tmp_path):
    assert cell(f"{start}1") == f"'{start}1" and cell("a=1") == "a=1" and cell(-1.5) == -1.5 and cell(None) is None
    names = pa.schema([("path", pa.string()), ("time", pa.float64())])
    with predictions.table(tmp_path / "out.csv", names) as write:
        write([{"path": f"{start}SUM(A1)", "time": -1.0}])
    written = (tmp_path / "out.csv").read_bytes().decode()
    assert f"'{start}SUM" in written and ",-1.0" in written
