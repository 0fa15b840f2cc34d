import datetime
import hashlib
import json
import re
import shlex

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from fertools.cli import app
from fertools.datasets.base import Quarantined, Sample
from fertools.datasets.folder import DATASET as FOLDER
from fertools.export import formats
from fertools.export.export import ExportError, export
from fertools.export.formats import FORMATS, picture_key
from fertools.folds.make_folds import make_folds
from manifests import files, schema
from manifests.crop import DEFAULT_CROP
from manifests.schema import ManifestError

TODAY = datetime.date(2026, 1, 2)
ABOUT = {
    "title": "The Set", "source": "https://example.org/set", "licence": "research only, <no> 'print'",
    "summary": {"protocol": "all_6c", "drawn": False}, "protocol": {"source": "Somebody 2020"},
    "command": "fertools prepare set --protocol all_6c", "detector": {"name": "mtcnn", "weights": "abc"},
    "fertools": "0.1.0", "commit": "c0ffee",
}  # fmt: skip
IDS = ["set/a/b.jpg", "set/a_b.jpg", "set/../../escape.png", "set/Ünï code/1.png"]  # hostile to files and tars
LEAVES_FILES_OPEN = pytest.mark.filterwarnings(  # webdataset and mlcroissant, to the collector
    r"ignore:Exception ignored in. <_io\.FileIO.*\.(tar|png):pytest.PytestUnraisableExceptionWarning"
)
NO_FACE, NO_EXPRESSION = 40, 41


@pytest.fixture
def write_manifest(make_faces, tmp_path):
    """A manifest of 48 faces of 8 people in row groups of their own, one unusable and one without expression."""

    def write(about=ABOUT, **columns):
        rows = range(48)
        base = {
            "face_id": IDS + [f"set/p{row % 8}/{row}" for row in rows[4:]],
            "subject": [f"set/p{row % 8}" for row in rows],
            "expression": ["anger" if row // 8 % 2 else "fear" for row in rows],
            "source": [f"p{row % 8}/{row}.png" for row in rows],
            "frame": [None if row % 3 else row for row in rows],
            "box": [[1.5, 2.0, 30.0, 40.25]] * 48,
            "usable": [row != NO_FACE for row in rows],
            "reason": ["no face found" if row == NO_FACE else None for row in rows],
        }
        base["expression"][NO_EXPRESSION] = None
        faces = make_faces(**(base | columns))
        images = [face["image"] if face["usable"] else None for face in faces.to_pylist()]
        faces = faces.set_column(faces.schema.get_field_index("image"), faces.field("image"), [images])
        path = tmp_path / "set.parquet"
        files.write([faces], path, about)
        return path

    return write


@pytest.fixture
def manifest(write_manifest):
    path = write_manifest()
    make_folds(path, 4, "standardize", seed=0)
    return path


@pytest.fixture
def exported(manifest, tmp_path):
    """A function that exports fold 2 of the manifest and returns the folder."""

    def make(form, pixels=True, name="out"):
        export(manifest, tmp_path / name, form, TODAY, pixels=pixels, fold=2)
        return tmp_path / name

    return make


@pytest.fixture
def hugging_face(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    return lambda folder, *config: datasets.load_dataset(str(folder), *config, cache_dir=str(tmp_path / "cache"))


@pytest.fixture
def croissant(monkeypatch, tmp_path):
    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path / "croissant"))
    import mlcroissant

    return lambda folder: mlcroissant.Dataset(str(folder / "croissant.json"))


def crops(manifest):
    """Return the pixels of the usable faces by id."""
    faces = files.read(manifest, images=True)
    faces = faces.filter(faces["usable"])
    return dict(zip(faces["face_id"].to_pylist(), DEFAULT_CROP.decode(faces["image"]), strict=True))


def ids_of_parts(manifest, fold):
    ids = np.array(files.read(manifest)["face_id"].to_pylist())
    return {part: set(ids[rows]) for part, rows in schema.parts(files.read(manifest), fold).items()}


def assert_pixels(found, expected):
    assert found.keys() == expected.keys()
    for face_id, pixels in found.items():
        np.testing.assert_array_equal(np.asarray(pixels), expected[face_id])


# --- round trips


def test_hugging_face_reads_the_parts_of_a_fold_and_every_pixel(manifest, exported, hugging_face):
    dataset = hugging_face(exported("hf"))
    rest = {face["face_id"]: face["image"] for face in dataset.pop("rest")}
    assert {part: set(faces["face_id"]) for part, faces in dataset.items()} == ids_of_parts(manifest, 2)
    assert rest.pop(f"set/p{NO_FACE % 8}/{NO_FACE}") is None
    read = {face["face_id"]: face["image"] for faces in dataset.values() for face in faces}
    assert_pixels(read | rest, crops(manifest))


def test_hugging_face_reads_the_pairs_by_name(manifest, exported, hugging_face):
    pairs = hugging_face(exported("hf"), "pairs")["train"]
    faces = files.read(manifest)
    expected = files.read_pairs(manifest, 2, faces)
    ids = np.array(faces["face_id"].to_pylist())
    assert list(pairs["anchor"]) == list(ids[expected["anchor"]])
    assert list(pairs["partner"]) == list(ids[expected["partner"]])
    assert list(pairs["epoch"]) == list(expected["epoch"])


@LEAVES_FILES_OPEN
def test_webdataset_reads_the_parts_of_a_fold_and_every_pixel(manifest, exported):
    import webdataset

    folder, pixels = exported("webdataset"), {}
    for part, ids in (ids_of_parts(manifest, 2) | {"rest": {f"set/p{NO_EXPRESSION % 8}/{NO_EXPRESSION}"}}).items():
        faces = list(webdataset.WebDataset(str(folder / part / "000000.tar"), shardshuffle=False).decode("l8"))
        assert {face["json"]["face_id"] for face in faces} == ids
        assert {face["json"]["part"] for face in faces} == {part}
        pixels |= {face["json"]["face_id"]: face["png"] for face in faces}
    assert_pixels(pixels, crops(manifest))


def test_the_folder_adapter_reads_back_faces_people_and_every_pixel(manifest, exported):
    root = exported("folder")
    items = list(FOLDER.samples(root, root / "labels.csv"))
    read = [item for item in items if isinstance(item, Sample)]
    assert {item.reason for item in items if isinstance(item, Quarantined)} == {"named in no row of labels.csv"}
    faces = files.read(manifest).to_pylist()
    named = {picture_key(face): face for face in faces}
    taken = set.union(*ids_of_parts(manifest, 2).values())
    assert {named[sample.path.name]["face_id"] for sample in read} == taken
    for sample in read:
        face = named[sample.path.name]
        assert (sample.label, sample.subject) == (face["expression"], face["subject"])
        assert sample.path.parts[1] == face["expression"]
    pixels = {named[path.name]["face_id"]: Image.open(path) for path in root.rglob("*.png")}
    assert_pixels(pixels, crops(manifest))


def test_tables_without_pixels_lead_to_the_images_of_the_raw_folder(manifest, exported, tmp_path):
    raw = tmp_path / "raw"
    for source in files.read(manifest)["source"].to_pylist():
        (raw / source).parent.mkdir(parents=True, exist_ok=True)
        (raw / source).touch()
    items = FOLDER.samples(raw, exported("folder", pixels=False) / "labels.csv")
    read = [item for item in items if isinstance(item, Sample)]
    assert len(read) == 46


# --- croissant


@LEAVES_FILES_OPEN
@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # rdflib, of mlcroissant
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index is deprecated")  # pandas, of the same
@pytest.mark.parametrize("pixels", [True, False])
@pytest.mark.parametrize("form", FORMATS)
def test_mlcroissant_takes_it_for_1_1_and_reads_its_records(form, pixels, manifest, exported, croissant):
    dataset = croissant(exported(form, pixels))
    assert dataset.metadata.ctx.conforms_to.value == "http://mlcommons.org/croissant/1.1"
    assert dataset.metadata.ctx.issues.report() == ""
    faces = {face["faces/face_id"].decode(): face for face in dataset.records("faces")}
    parts = {face_id: face["faces/part"].decode() for face_id, face in faces.items()}
    assert len(faces) == 48
    for part, ids in ids_of_parts(manifest, 2).items():
        assert {face_id for face_id, found in parts.items() if found == part} == ids
    assert faces["set/p7/47"]["faces/box"] == [1.5, 2.0, 30.0, 40.25]
    assert faces["set/p7/47"]["faces/expression"] == b"anger"
    assert faces["set/p7/47"]["faces/frame"] is None and faces["set/p5/45"]["faces/frame"] == 45
    assert (
        len(list(dataset.records("pairs"))) == pq.read_metadata(exported(form, name="again") / "pairs.parquet").num_rows
    )
    if pixels:
        key, records = ("faces", faces.values()) if form == "hf" else ("crops", dataset.records("crops"))
        images = {face[f"{key}/face_id"].decode(): face[f"{key}/image"] for face in records}
        assert_pixels({name: image.convert("L") for name, image in images.items() if image}, crops(manifest))


@pytest.mark.parametrize("form", FORMATS)
def test_croissant_names_terms_origin_and_the_hash_of_every_table_and_tar(form, exported):
    folder = exported(form)
    told = json.loads((folder / "croissant.json").read_text())
    for name in ("license", "usageInfo"):
        assert ABOUT["licence"] in told[name]["description"] and told[name]["url"] == ABOUT["source"]
    assert told["prov:wasDerivedFrom"] == {"@id": ABOUT["source"]}
    assert told["prov:wasGeneratedBy"]["prov:label"] == ABOUT["command"]
    assert told["datePublished"] == "2026-01-02"
    hashes = {file["@id"]: file["sha256"] for file in told["distribution"] if file["@type"] == "cr:FileObject"}
    tables = {path for path in folder.rglob("*") if path.suffix in (".parquet", ".csv", ".tar")}
    assert {folder / name for name in hashes} == tables
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == told for name, told in hashes.items())


# --- parts


def test_the_official_split_is_taken_where_there_is_one(write_manifest, tmp_path):
    split = ["train"] * 24 + ["test"] * 20 + [None] * 4
    made = export(write_manifest(split=split), tmp_path / "out", "hf", TODAY)
    assert made.parts_by == "the official split"
    assert {part: count.faces for part, count in made.parts.items()} == {"train": 24, "test": 18, "rest": 6}


def test_without_split_and_fold_all_is_train(write_manifest, tmp_path):
    made = export(write_manifest(), tmp_path / "out", "hf", TODAY)
    assert {part: count.faces for part, count in made.parts.items()} == {"train": 46, "rest": 2}
    assert "no split is published" in made.parts_by and made.pairs == 0


def test_a_set_of_faces_without_expressions_is_train_too(write_manifest, tmp_path):
    made = export(write_manifest(expression=[None] * 48), tmp_path / "out", "folder", TODAY, pixels=True)
    assert {part: count.faces for part, count in made.parts.items()} == {"train": 47, "rest": 1}
    assert len(list((tmp_path / "out/train/unlabelled").iterdir())) == 47


def test_a_split_of_another_name_is_refused(write_manifest, tmp_path):
    with pytest.raises(ExportError, match=r"official split '\.\./x'; known: train, validation, test"):
        export(write_manifest(split=["../x"] * 48), tmp_path / "out", "folder", TODAY)


def test_a_fold_needs_folds_and_pairs_of_these_rows(manifest, write_manifest, tmp_path):
    files.write_column(manifest, "fold", [row % 8 % 4 + 1 for row in range(48)], files.read_metadata(manifest))
    export(manifest, tmp_path / "same", "hf", TODAY, fold=4)
    files.write_column(manifest, "fold", [row % 8 % 3 + 1 for row in range(48)], files.read_metadata(manifest))
    with pytest.raises(ManifestError, match=r"drawn for other rows or folds \(fold differ\); .*make-folds"):
        export(manifest, tmp_path / "out", "hf", TODAY, fold=1)
    with pytest.raises(ManifestError, match="no folds; make them with: fertools make-folds"):
        export(write_manifest(), tmp_path / "out", "hf", TODAY, fold=1)
    assert not (tmp_path / "out").exists()


def test_shards_hold_so_many_faces_in_the_manifests_order(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "PARQUET_SHARD", 20)
    export(manifest, tmp_path / "out", "hf", TODAY)
    shards = [tmp_path / f"out/data/train-0000{number}-of-00003.parquet" for number in range(3)]
    ids = [pq.read_table(shard)["face_id"].to_pylist() for shard in shards]
    assert [len(some) for some in ids] == [20, 20, 6]
    taken = [face["face_id"] for face in files.read(manifest).to_pylist() if face["usable"] and face["expression"]]
    assert sum(ids, []) == taken


# --- what leaves, and how


@pytest.mark.parametrize("form", FORMATS)
def test_no_pixel_leaves_unasked(form, exported):
    folder = exported(form, pixels=False)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".parquet", ".csv", ".md", ".json"}
    for path in folder.rglob("*.parquet"):
        assert "image" not in pq.read_schema(path).names
    assert "left out" in (folder / "README.md").read_text()


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_manifest_gives_the_same_bytes(form, exported):
    first, second = exported(form, name="first"), exported(form, name="second")
    names = {path.relative_to(first) for path in first.rglob("*") if path.is_file()}
    assert {path.relative_to(second) for path in second.rglob("*") if path.is_file()} == names
    assert [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()] == []


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_pictures_name_is_a_safe_file_name_of_one_id(left, right):
    name = picture_key({"face_id": left})
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.png", name) and len(name) <= 80  # a tar's names end at 100
    assert (name == picture_key({"face_id": right})) == (left == right)


def test_the_card_tells_terms_protocol_counts_and_how_it_was_made(exported):
    card = (exported("hf") / "README.md").read_text()
    commands = ["fertools prepare set --protocol all_6c", "fertools export set --format hf --pixels --fold 2"]
    told = [ABOUT["licence"], ABOUT["source"], "all_6c (Somebody 2020)", "fold 2 tests", "mtcnn", "c0ffee", *commands]
    assert [words for words in told if words not in card] == []
    assert "| test | 11 | 2 | 5 | 6 |" in card and "drawn" not in card


@pytest.mark.parametrize("form", FORMATS)
def test_drawn_faces_are_marked_as_drawn(form, write_manifest, tmp_path):
    path = write_manifest(ABOUT | {"summary": {"protocol": "all_6c", "drawn": True}})
    export(path, tmp_path / "out", form, TODAY, pixels=True)
    card, told = ((tmp_path / "out" / name).read_text() for name in ("README.md", "croissant.json"))
    assert "# The Set: drawn stand-in" in card and "show nobody" in card and "- synthetic" in card
    assert "not the dataset" in json.loads(told)["license"]["description"] and json.loads(told)["name"] == "set-drawn"
    assert ABOUT["licence"] not in card + told and ABOUT["source"] not in card + told


@pytest.mark.parametrize(
    ("there", "words"), [("notes.txt", "holds notes.txt; remove it, or name another"), (None, "is a file")]
)
def test_what_is_in_the_way_stays_as_it_is(there, words, manifest, tmp_path):
    out = tmp_path / "out"
    if there:
        out.mkdir()
    (out / there if there else out).write_text("mine")
    with pytest.raises(ExportError, match=words):
        export(manifest, out, "hf", TODAY)
    assert (out / there if there else out).read_text() == "mine"


def test_an_empty_folder_is_filled(manifest, tmp_path):
    (tmp_path / "out").mkdir()
    export(manifest, tmp_path / "out", "folder", TODAY)
    assert (tmp_path / "out/labels.csv").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_an_interrupted_export_leaves_nothing(form, manifest, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        export(manifest, tmp_path / "out", form, TODAY, pixels=True, fold=1, progress=interrupt)
    assert sorted(tmp_path.iterdir()) == before


# --- the command


def run(line):
    result = CliRunner().invoke(app, shlex.split(line))
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("manifest")
def test_the_command_shows_the_terms_when_pixels_leave(tmp_path):
    line = f"export set --manifests {tmp_path} --format webdataset --out {tmp_path}"
    code, told, error = run(f"{line}/tables --json")
    assert (code, error) == (0, "") and json.loads(told)["parts"]["train"]["faces"] == 46
    code, told, error = run(f"{line}/pictures --pixels --fold 1")
    assert code == 0 and ABOUT["licence"] in error and ABOUT["source"] in error
    assert "webdataset, with pixels" in told and "fold 1 tests" in told
    code, told, error = run(f"{line}/pictures --fold 9")
    assert (code, told) == (1, "") and "no fold 9; known folds: 1 to 4" in error
    code, told, error = run(f"{line}/pictures")
    assert (code, told) == (1, "") and "holds README.md, croissant.json" in error and "--out" in error
