import json
from dataclasses import replace

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from fertools import cli
from fertools.checks import diff as library
from fertools.checks.diff import SHOWN, Change, Column, describe, diff
from manifests import files, schema
from manifests.parquet import atomic_parquet
from manifests.schema import ManifestError

SUMMARY = {"usable": 7, "protocol": "all", "drawn": False}
ABOUT = {"command": "fertools prepare set", "protocol": {"name": "all", "last": 3}, "summary": SUMMARY}


@pytest.fixture
def write(tmp_path, make_faces):
    """Write a manifest of seven faces with some columns changed; return its path."""

    def write(name, about=ABOUT, keep=None, **columns):
        changed = {"expression": ["anger"] * 6 + ["fear"], "score": [0.5] * 7, "subject": ["set/a"] * 7} | columns
        table = make_faces(**changed)
        files.write([table if keep is None else table.take(pa.array(keep))], tmp_path / name, about)
        return tmp_path / name

    return write


@pytest.fixture(autouse=True, params=[2, 10_000])
def slices(request, monkeypatch):
    monkeypatch.setattr(library, "SLICE", request.param)


def nothing(found):
    """What is left where nothing differs."""
    lists = dict(only_a=[], only_b=[], columns=[], columns_only_a=[], columns_only_b=[], metadata=[])
    return replace(found, reordered=False, **lists)


def test_a_manifest_equals_itself_and_its_copy(write):
    a, b = write("a.parquet"), write("b.parquet")
    for found in (diff(a, a), diff(a, b)):
        assert found.equal and found == nothing(found) and found.rows == 7
        assert "equal: 7 faces" in describe(found)


@pytest.mark.parametrize(
    ("column", "values", "rows"),
    [
        ("expression", ["anger"] * 5 + ["fear", "fear"], [5]),
        ("expression", [None] * 6 + ["fear"], [0, 1, 2, 3, 4, 5]),
        ("score", [0.5, None, 0.5, 0.25, 0.5, 0.5, 0.5], [1, 3]),
        ("box", [[0, 0, 9, 9.5]] + [None] * 6, [0]),
        ("fold", [1, 1, 1, 1, 1, 1, 1], list(range(7))),
    ],
)
def test_what_was_changed_in_a_column_is_what_is_told(write, column, values, rows):
    a, b = write("a.parquet"), write("b.parquet", **{column: values})
    found = diff(a, b)
    (told,) = found.columns
    assert (told.name, told.rows) == (column, len(rows)) and not found.equal
    assert [change.name for change in told.examples] == [f"set/{row}" for row in rows[:5]]
    assert [change.b for change in told.examples] == [values[row] for row in rows[:5]]
    back = diff(b, a)
    assert [(change.b, change.a) for change in back.columns[0].examples] == [(c.a, c.b) for c in told.examples]
    assert nothing(back) == nothing(replace(found, a=found.b, b=found.a))


def test_one_pixel_is_told(write, make_faces):
    images = make_faces(face_id=[""] * 7)["image"].to_pylist()
    changed = bytearray(images[3]["bytes"])
    changed[-1] ^= 1
    images[3] = images[3] | {"bytes": bytes(changed)}
    (column,) = diff(write("a.parquet"), write("b.parquet", image=images)).columns
    assert (column.name, column.rows, column.examples[0].name) == ("image", 1, "set/3")
    assert column.examples[0].a != column.examples[0].b
    images[3] = None
    usable, reason = [row != 3 for row in range(7)], [None if row != 3 else "no face found" for row in range(7)]
    found = diff(write("a.parquet"), write("b.parquet", image=images, usable=usable, reason=reason))
    assert {column.name: column.rows for column in found.columns} == {"image": 1, "usable": 1, "reason": 1}


def test_rows_are_matched_by_their_id_whatever_their_order(write):
    a, b = write("a.parquet", keep=[0, 1, 2, 3, 4]), write("b.parquet", keep=[6, 4, 3, 2], score=[0.5] * 3 + [0.75] * 4)
    found = diff(a, b)
    assert (found.only_a, found.only_b, found.rows, found.reordered) == (["set/0", "set/1"], ["set/6"], 3, True)
    assert found.columns == [Column("score", 2, [Change("set/3", 0.5, 0.75), Change("set/4", 0.5, 0.75)])]
    moved = diff(a, write("c.parquet", keep=[1, 0, 2, 3, 4]))
    assert moved.reordered and not moved.equal and moved.columns == []


def test_metadata_is_compared_key_by_key(write):
    about = {
        "command": "fertools prepare set --protocol x",
        "protocol": {"name": "all", "last": 1},
        "detector": {"name": "mtcnn"},
    }
    found = diff(write("a.parquet"), write("b.parquet", about))
    assert found.metadata == [
        Change("command", ABOUT["command"], about["command"]),
        Change("detector", None, {"name": "mtcnn"}),
        Change("protocol.last", 3, 1),
        Change("summary", SUMMARY, None),
    ]
    assert "  protocol.last: 3 -> 1" in describe(found).splitlines()


def test_manifests_without_a_common_face_are_told_from_end_to_end(write, make_faces, tmp_path):
    many = make_faces(face_id=[f"set/{row:04}" for row in range(schema.ROW_GROUP + 5)])
    files.write([many], tmp_path / "many.parquet", ABOUT)
    found = diff(tmp_path / "many.parquet", write("a.parquet"))
    assert (len(found.only_a), len(found.only_b), found.rows, found.columns) == (1005, 7, 0, [])
    assert f"  and {1005 - SHOWN} more; --json names all" in describe(found).splitlines()
    images = many["image"].to_pylist()
    changed = make_faces(face_id=many["face_id"].to_pylist(), image=images[1:] + images[:1])
    files.write([changed], tmp_path / "rolled.parquet", ABOUT)
    assert diff(tmp_path / "many.parquet", tmp_path / "rolled.parquet").columns[0].rows == 1005


def test_a_face_that_stands_twice_is_refused(write, tmp_path):
    a, table = write("a.parquet"), files.read(write("b.parquet"))
    with atomic_parquet(tmp_path / "twice.parquet", schema.ROWS, ABOUT) as writer:
        writer.write_table(pa.concat_tables([table, table]))
    with pytest.raises(ManifestError, match=r"twice.parquet: a face_id stands twice"):
        diff(a, tmp_path / "twice.parquet")


def test_the_command_tells_by_its_exit_code(write, tmp_path):
    def run(*words):
        return CliRunner().invoke(cli.app, ["diff", *map(str, words)], catch_exceptions=False)

    a, _ = write("ckplus.parquet"), write("b.parquet", keep=[1, 2])
    assert run(a, "ck+", "--manifests", tmp_path).exit_code == 0
    told = run(tmp_path / "b.parquet", "CK+", "--manifests", tmp_path, "--json")
    assert told.exit_code == 1 and json.loads(told.stdout)["only_b"] == ["set/0", "set/3", "set/4", "set/5", "set/6"]
    (tmp_path / "no.parquet").write_text("<html>")
    for words, wrong in (
        ("no.parquet is not a complete Parquet file", "no.parquet"),
        ("gone.parquet does not exist", "gone.parquet"),
    ):
        refused = run(a, tmp_path / wrong)
        assert refused.exit_code == 2 and words in refused.stderr and refused.stdout == ""
    assert "'mmi' is not prepared" in run(a, "mmi", "--manifests", tmp_path).stderr
