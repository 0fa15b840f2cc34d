import csv
import hashlib
import json
import os
import re
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from manifest_files import copy_manifest
from PIL import Image
from typer.testing import CliRunner

import fertools
from fertools.datasets import DATASETS
from fertools.drawn import corpus
from fertools.drawn.face.factors import sample_nuisance
from fertools.drawn.face.render import render_colour
from fertools.drawn.layouts import ckplus
from fertools.drawn.layouts.photographs import at_large, close_up
from fertools.errors import FertoolsError
from fertools.preparation.prepare import prepare
from manifests import files
from manifests.schema import DEFAULT_CROP
from trainer.cli.main import app
from trainer.data.augment import VARIANTS
from trainer.errors import TrainerError
from trainer.inference import photos, predict, predictions
from trainer.inference.export import write_model
from trainer.inference.model import SHIPPED, Model, Network, load
from trainer.inference.predict import Listener, PredictError, PredictSpec, probabilities
from trainer.inference.predictions import TableError

SILENT = Listener(lambda _: None, lambda _: None, lambda *_: None)
BLANK = np.full((160, 160, 3), 128, np.uint8)


def network_of(method, settings, crop=DEFAULT_CROP, kind="standardize"):
    """A method with random weights, whose normalisations have seen faces."""
    network = Network(method, settings, ["anger", "fear", "happiness"], asdict(crop), {"kind": kind, "rank": 0}, 0.5)
    with torch.no_grad():
        network(torch.randint(256, (16, crop.face, crop.face), dtype=torch.uint8))
    return network.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model as it is exported."""
    torch.manual_seed(0)
    settings = {"width": 4, "code_size": 8}
    network, out = network_of("resnet", settings), tmp_path_factory.mktemp("model")
    config = {
        "model_version": 1, "method": "resnet", "settings": settings, "expressions": list(network.expressions),
        "crop": asdict(DEFAULT_CROP), "whitening": {"kind": "standardize", "rank": 0}, "temperature": 0.5,
    }  # fmt: skip
    write_model(out, network, config)
    return out


@pytest.fixture(scope="module")
def model(folder):
    return load(folder, "cpu")


@pytest.fixture(scope="module")
def drawn():
    """Two drawn photographs of one size."""
    found = []
    for number in range(2):
        rng = np.random.default_rng([7, number])
        action = corpus.frames(ckplus.plan(num_subjects=8)[number], 0)[0][-1].action
        nuisance = close_up(at_large(sample_nuisance(rng)))
        found.append(render_colour(corpus.person(7, number), action, nuisance, 180, 180, rng))
    return found


@pytest.fixture
def album(drawn, tmp_path):
    """A folder of photographs: of one face, of two, of none; and two files that are none."""
    root = tmp_path / "album"
    (root / "happiness").mkdir(parents=True)
    pictures = {"happiness/one.png": drawn[0], "two.png": np.hstack(drawn), "none.png": BLANK}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(root / name)
    (root / "text.jpg").write_text("no picture")
    (root / "empty.png").touch()
    return root


def look(model, *paths, **how):
    """Predict; return rows, what is told of problems, and the summary."""
    rows, problems = [], []
    tell = Listener(rows.append, problems.append, lambda *_: None)
    summary = predict.predict(model, PredictSpec(paths=paths, **how), "cpu", tell, lambda: False)
    return rows, problems, summary


def shares(row):
    return [row[f"p_{name}"] for name in ("anger", "fear", "happiness")]


def write_video(path, pictures, rate=10):
    code = {".avi": "MJPG", ".mp4": "mp4v"}[path.suffix]
    size = pictures[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), rate, size)
    for picture in pictures:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def read_video(path):
    capture, pictures = cv2.VideoCapture(str(path)), []
    while (found := capture.read())[0]:
        pictures.append(cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB))
    return pictures, capture.get(cv2.CAP_PROP_FPS)


# --- photographs


def test_a_photographs_face_has_the_probabilities_of_the_manifests(album, model, tmp_path):
    raw = tmp_path / "raw"
    (raw / "happiness").mkdir(parents=True)
    (album / "happiness/one.png").rename(raw / "happiness/one.png")
    manifest = tmp_path / prepare(DATASETS["folder"], raw, tmp_path).manifest
    table = files.read(manifest, images=True)
    stored = np.stack(DEFAULT_CROP.decode(table["image"]))
    (row,), problems, _ = look(model, raw)
    np.testing.assert_allclose(shares(row), model.predict(stored).probabilities[0], atol=1e-6)
    assert [row[edge] for edge in ("x0", "y0", "x1", "y1")] == table["box"][0].as_py()
    assert not problems


def test_every_face_is_a_row_and_every_file_without_one_is_named(album, model):
    rows, problems, summary = look(model, album)
    assert [(row["path"], row["face"]) for row in rows] == [
        (str(album / "happiness/one.png"), 1), (str(album / "two.png"), 1), (str(album / "two.png"), 2)
    ]  # fmt: skip
    alone, *both = rows
    left, right = sorted(both, key=lambda row: row["x0"])
    assert left["x1"] < 190 and right["x0"] > 170
    np.testing.assert_allclose(shares(left), shares(alone), atol=0.05)
    for row in rows:
        assert sum(shares(row)) == pytest.approx(1, abs=1e-6)
        assert row["probability"] == max(shares(row)) == row[f"p_{row['expression']}"]
        assert row["frame"] is row["time"] is None
    reasons = {
        "empty.png": "the file is empty", "none.png": "no face found",
        "text.jpg": "not an image: it starts with 'no picture'",
    }  # fmt: skip
    assert problems == [f"{album / name}: {reason}" for name, reason in reasons.items()]
    assert summary.skipped == [{"path": str(album / name), "reason": reason} for name, reason in reasons.items()]
    assert (summary.photographs, summary.faces, summary.without_face, summary.unreadable) == (3, 3, 1, 2)
    assert sum(summary.expressions.values()) == 3


def test_only_the_largest_face_where_that_is_asked_for(album, model):
    every, largest = look(model, album / "two.png")[0], look(model, album / "two.png", largest=True)[0]
    assert len(largest) == 1
    assert [largest[0][edge] for edge in ("x0", "x1")] == pytest.approx(
        [every[0][edge] for edge in ("x0", "x1")], abs=1
    )


def test_faces_that_the_detector_is_not_sure_of_are_left_out_and_told_of(album, model):
    rows, _, summary = look(model, album / "two.png")
    scores = sorted(row["score"] for row in rows)
    between = sum(scores) / 2
    sure, told, summary = look(model, album / "two.png", min_score=between)
    assert [row["score"] for row in sure] == [score for score in scores if score >= between] and len(sure) == 1
    none, told, summary = look(model, album / "two.png", min_score=1.0)
    assert none == [] and summary.without_face == 1
    assert f"no face of score 1.0 or more, the surest has {scores[-1]:.3f}" in told[0]


def test_batches_change_nothing(album, model, monkeypatch):
    together = look(model, album)[0]
    monkeypatch.setattr(photos, "TOGETHER", 1)
    for row, other in zip(look(model, album)[0], together, strict=True):
        np.testing.assert_allclose(shares(row), shares(other), atol=1e-6)
        assert all(row[key] == other[key] for key in ("path", "face", "x0", "y0", "x1", "y1", "score"))


def test_pictures_are_read_as_they_are_needed():
    read = []

    def opened():
        for number in range(100):
            read.append(number)
            yield photos.Photo(Path(f"{number}"), image=BLANK)

    stream = photos.find(opened(), DEFAULT_CROP, "cpu", together=4)
    assert len(next(stream)) == 4 and len(read) <= 8  # the next batch is decoded meanwhile, and no other
    assert len(next(stream)) == 4 and len(read) <= 12


def test_what_is_read_ahead_comes_in_order_with_its_error_at_its_place():
    def items():
        yield from range(3)
        raise ValueError("the fourth")

    got, stream = [], photos.ahead(items())
    with pytest.raises(ValueError, match="the fourth"):
        for item in stream:
            got.append(item)  # noqa: PERF402 - those before the error
    assert got == [0, 1, 2] and list(photos.ahead(iter(()))) == []


def test_links_out_of_a_folder_and_to_folders_are_named_and_not_followed(album, drawn, model, tmp_path):
    Image.fromarray(drawn[0]).save(tmp_path / "outside.png")
    (album / "file.png").symlink_to(tmp_path / "outside.png")
    (album / "loop").symlink_to(album)
    (album / "itself.png").symlink_to(album / "itself.png")
    rows, problems, _ = look(model, album)
    assert {row["path"] for row in rows} == {str(album / "happiness/one.png"), str(album / "two.png")}
    told = {line.split(": ")[0].split("/")[-1]: line for line in problems}
    assert "it was not followed" in told["file.png"]
    assert "a link to a folder; it was not followed" in told["loop"]
    assert "itself.png" in told


def test_a_name_that_is_no_utf8_is_written_all_the_same(album, model, tmp_path):
    (album / "two.png").rename(album / os.fsdecode(b"\xff.png"))
    for suffix in ("csv", "parquet", "jsonl"):
        rows, _, _ = look(model, album, out=tmp_path / f"x.{suffix}")
        assert rows[-1]["path"].endswith("/\\xff.png")


# --- variants


def test_variants_are_the_mean_over_faces_that_are_turned_and_mirrored(model):
    """Of a face that no turn and no mirror changes, the mean is the face's own; of others, that of all variants."""
    radius = np.hypot(*np.mgrid[-71.5:72, -71.5:72])
    rings = (127 + 100 * np.cos(radius / 4)).clip(0, 255).astype(np.uint8)[None]
    np.testing.assert_allclose(probabilities(model, rings, variants=True), probabilities(model, rings), atol=0.03)
    face = np.random.default_rng(0).integers(0, 256, (1, 144, 144), np.uint8)
    mirrored = np.ascontiguousarray(face[:, :, ::-1])
    both = [probabilities(model, faces, variants=True) for faces in (face, mirrored)]
    np.testing.assert_allclose(*both, atol=1e-5)
    assert np.abs(np.subtract(*(probabilities(model, faces) for faces in (face, mirrored)))).max() > 1e-3


def test_of_a_method_that_never_saw_the_variants_the_face_and_its_mirror_image_are_averaged():
    network = network_of(
        "ifgan",
        {"width": 4, "discriminator_width": 4, "classifier_width": 4, "size": 32, "imagenet": False},
        kind="none",
    )
    model = Model(network, {})
    faces = np.random.default_rng(0).integers(0, 256, (3, 144, 144), np.uint8)
    pair = [model.predict(np.ascontiguousarray(one)).probabilities for one in (faces, faces[:, :, ::-1])]
    np.testing.assert_allclose(probabilities(model, faces, variants=True), np.mean(pair, axis=0), atol=1e-5)
    assert len(VARIANTS) == 14


# --- tables


def test_csv_parquet_and_json_lines_hold_equal_values(album, model, tmp_path):
    video = write_video(tmp_path / "clip.avi", [BLANK, BLANK])
    rows = look(model, album, video, out=tmp_path / "faces.parquet")[0]
    for suffix in ("csv", "jsonl"):
        assert look(model, album, video, out=tmp_path / f"faces.{suffix}")[0] == rows
    assert pq.read_table(tmp_path / "faces.parquet").to_pylist() == rows
    assert [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()] == rows
    with (tmp_path / "faces.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert read == [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]
    assert not list(tmp_path.glob(".*.part"))


def test_what_was_written_before_an_interruption_is_whole(album, model, tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "TOGETHER", 1)
    for suffix in ("csv", "parquet", "jsonl"):
        rows, asks = [], iter([False, False, True])
        run_spec = PredictSpec(paths=(album,), out=tmp_path / f"faces.{suffix}")
        tell = Listener(rows.append, lambda _: None, lambda *_: None)
        summary = predict.predict(model, run_spec, "cpu", tell, lambda asks=asks: next(asks))
        assert summary.interrupted and summary.faces == len(rows) == 1
    assert pq.read_table(tmp_path / "faces.parquet").to_pylist() == rows
    assert len((tmp_path / "faces.csv").read_text().splitlines()) == 2
    assert len((tmp_path / "faces.jsonl").read_text().splitlines()) == 1


def test_a_table_that_cannot_be_written_is_an_error_and_leaves_the_old_one(album, model, tmp_path, monkeypatch):
    with pytest.raises(TableError, match=r"text.jpg/x.csv cannot be written"):
        look(model, album / "two.png", out=album / "text.jpg/x.csv")

    def broken(*_):
        raise ValueError

    out = tmp_path / "faces.csv"
    out.write_text("old")
    monkeypatch.setattr(predictions, "rows", broken)
    with pytest.raises(ValueError):  # noqa: PT011 - ours
        look(model, album, out=out)
    assert out.read_text() == "old" and not list(tmp_path.glob(".*.part"))


# --- videos and cameras


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_video_gives_a_row_a_frame_and_face_with_its_time(suffix, drawn, model, tmp_path):
    one, two = np.hstack([drawn[0], np.full_like(drawn[0], 128)]), np.hstack(drawn)
    video = write_video(tmp_path / f"clip{suffix}", [one, np.full_like(one, 128), two, one])
    rows, problems, summary = look(model, video)
    assert [(row["frame"], row["face"]) for row in rows] == [(0, 1), (2, 1), (2, 2), (3, 1)]
    assert [row["time"] for row in rows] == pytest.approx([0, 0.2, 0.2, 0.3], abs=1e-6)
    assert problems == [f"{video}: no face found in 1 of 4 frames"]
    assert (summary.videos, summary.frames, summary.without_face, summary.unreadable) == (1, 4, 1, 0)


def test_every_second_frame_of_a_video_keeps_its_number_and_time(drawn, model, tmp_path):
    video = write_video(tmp_path / "clip.mp4", [drawn[0], np.full_like(drawn[0], 128), drawn[0], drawn[0], drawn[0]])
    rows, problems, summary = look(model, video, every=2)
    assert [(row["frame"], round(row["time"], 6)) for row in rows] == [(0, 0.0), (2, 0.2), (4, 0.4)]
    assert not problems and summary.frames == 3
    with pytest.raises(TrainerError, match="--every is for videos"):
        predict.PredictSpec(camera=0, every=2)


def test_a_video_that_is_cut_short_is_named_with_how_much_of_it_was_read(drawn, model, tmp_path):
    video = write_video(tmp_path / "clip.avi", [drawn[0]] * 8)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    rows, problems, summary = look(model, video)
    assert 1 <= len(rows) < 8 and summary.unreadable == 1
    assert f"{len(rows)} frames decode of 8 that it says it has" in problems[0]
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    _, problems, summary = look(model, tmp_path / "bad.mp4")
    assert "does not open" in problems[0] and summary.unreadable == 1


def test_a_list_of_videos_never_gets_to_the_decoder(model, tmp_path):
    video = write_video(tmp_path / "clip.avi", [BLANK])
    for name, text in {"a.mp4": f"ffconcat version 1.0\nfile {video}\n", "b.avi": f"#EXTM3U\n{video}\n"}.items():
        (tmp_path / name).write_text(text)
        _, problems, summary = look(model, tmp_path / name)
        assert "not an image" in problems[0] and summary.frames == 0


def test_a_camera_is_looked_through_until_it_stops(drawn, model, tmp_path, monkeypatch):
    video, opened = write_video(tmp_path / "clip.avi", drawn), cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: opened(str(video)) if number == 0 else opened())
    rows, problems, summary = look(model, camera=0)
    assert [(row["path"], row["frame"]) for row in rows] == [("camera-0", 0), ("camera-0", 1)]
    assert problems == ["camera-0: camera 0 gives no more frames after 2"]
    assert summary.frames == 2 and summary.unreadable == 1
    with pytest.raises(TrainerError, match="no camera 1 here"):
        look(model, camera=1)


# --- annotated


def test_annotated_photographs_differ_near_their_boxes_alone(album, model, drawn, tmp_path):
    rows, _, _ = look(model, album, annotated=tmp_path / "seen")
    assert {path.relative_to(tmp_path / "seen").as_posix() for path in (tmp_path / "seen").rglob("*.*")} == {
        "album/happiness/one.png", "album/two.png"
    }  # fmt: skip
    changed = (np.asarray(Image.open(tmp_path / "seen/album/two.png")) != np.hstack(drawn)).any(-1)
    near = np.zeros_like(changed)
    for row in rows[1:]:
        x0, y0, x1, y1 = (round(row[edge]) for edge in ("x0", "y0", "x1", "y1"))
        near[max(y0 - 24, 0) : y1 + 24, max(x0 - 8, 0) : max(x1, x0 + 130) + 8] = True
        assert changed[max(y0 - 24, 0) : y1 + 24, max(x0 - 8, 0) : x1 + 8].any()
    assert not changed[~near].any() and (~near).any()


def test_an_annotated_video_has_every_frame_in_its_place(drawn, model, tmp_path):
    video = write_video(tmp_path / "clip.avi", [BLANK, drawn[0][:160, :160], BLANK])
    look(model, video, annotated=tmp_path / "seen.mp4")
    look(model, video, annotated=tmp_path / "seen")
    for path in (tmp_path / "seen.mp4", tmp_path / "seen/clip.avi"):
        pictures, rate = read_video(path)
        assert len(pictures) == 3 and rate == pytest.approx(10)
        assert all(np.abs(pictures[place].astype(int) - 128).max() < 12 for place in (0, 2))
        assert pictures[1].std() > 20
    assert not list(tmp_path.rglob(".*.part*"))


def test_files_of_one_name_do_not_write_over_each_other(drawn, model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(drawn[0]).save(tmp_path / name / "x.png")
    look(model, tmp_path / "a/x.png", tmp_path / "b/x.png", annotated=tmp_path / "seen")
    assert {path.name for path in (tmp_path / "seen").iterdir()} == {"x.png", "x-2.png"}


def test_what_is_written_into_the_folder_that_is_read_is_not_read(album, model):
    for _ in range(2):
        rows, problems, _ = look(model, album, out=album / "faces.csv", annotated=album / "seen")
        assert len(rows) == 3 and len(problems) == 3


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({}, "name photographs, videos or folders"),
        ({"paths": ("{album}",), "camera": 0}, "one of both"),
        ({"paths": ("{album}",), "out": "x.txt"}, "x.txt: expected a name that ends in .csv, .parquet, .jsonl"),
        ({"paths": ("{album}",), "annotated": "x.png"}, "is one file, for one photograph or video; name a folder"),
        ({"paths": ("{album}/two.png",), "annotated": "{album}"}, "would write over"),
        ({"paths": ("{album}/two.png",), "annotated": "{album}/two.png"}, "would write over"),
    ],
)
def test_what_contradicts_itself_is_refused(how, words, album):
    def filled(value):
        return Path(value.format(album=album)) if isinstance(value, str) else value

    run_spec = {key: tuple(map(filled, value)) if key == "paths" else filled(value) for key, value in how.items()}
    with pytest.raises(PredictError, match=words):
        PredictSpec(**run_spec)


# --- as a user types it


def run(*words):
    return CliRunner().invoke(app, ["predict", *map(str, words)], catch_exceptions=False)


def test_the_command_tells_rows_on_stdout_and_the_rest_on_stderr(folder, album):
    told = run(folder, album)
    assert told.exit_code == 0
    assert len(told.stdout.splitlines()) == 3 and "two.png  face 2 at " in told.stdout
    assert "text.jpg: not an image" in told.stderr and "3 faces in 3 photographs: " in told.stderr
    assert "1 without a face, 2 unreadable" in told.stderr
    rows = [json.loads(line) for line in run(folder, album, "--json").stdout.splitlines()]
    assert [row["face"] for row in rows] == [1, 1, 2]
    summary = json.loads(run(folder, album, "--json", "--out", album / "x.jsonl").stdout)
    assert summary["faces"] == 3 and len(summary["skipped"]) == 3


def test_where_no_face_is_found_the_command_fails(folder, album):
    told = run(folder, album / "none.png", album / "absent.png")
    assert (
        told.exit_code == 1 and "0 faces in 1 photograph\n" in told.stderr and "absent.png: not a file" in told.stderr
    )
    told = run(folder, album, "--annotated", album / "x.png")
    assert told.exit_code == 1 and told.stderr.startswith("error: ")


def test_ctrl_c_leaves_what_was_found(folder, album, monkeypatch):
    monkeypatch.setattr(photos, "TOGETHER", 1)
    original = predictions.rows

    def interrupted(photo, *rest):
        if photo.path.name == "one.png":
            signal.raise_signal(signal.SIGINT)
        return original(photo, *rest)

    monkeypatch.setattr(predictions, "rows", interrupted)
    told = run(folder, album, "--out", album / "faces.parquet")
    assert told.exit_code == 130 and "interrupted: what is written is whole" in told.stdout
    assert pq.read_table(album / "faces.parquet").num_rows == 1


# --- codes


def test_codes_are_those_of_the_faces_that_are_found(folder, model, album, tmp_path):
    told = CliRunner().invoke(app, ["embed", str(folder), str(album), "--out", str(tmp_path / "codes.parquet")])
    assert told.exit_code == 0 and "none.png: no face found" in told.stderr, told.output
    table = pq.read_table(tmp_path / "codes.parquet")
    faces = [face for photo in photos.read([album], DEFAULT_CROP, "cpu") for face in photo.faces]
    assert f"the codes of {len(faces)} faces" in told.stdout and len(table) == len(faces) > 2
    expected = model.codes(np.stack([face.crop for face in faces]))
    assert set(expected) <= set(table.column_names) and set(expected) == {"expression"}
    for name, codes in expected.items():
        np.testing.assert_allclose(np.array(table[name].to_pylist()), codes, rtol=1e-4, atol=1e-5)
    assert table["score"].to_pylist() == pytest.approx([face.score for face in faces])


def test_codes_are_no_text(folder, album, tmp_path):
    told = CliRunner().invoke(app, ["embed", str(folder), str(album), "--out", str(tmp_path / "codes.csv")])
    assert told.exit_code == 1 and "expected a name that ends in .parquet" in told.stderr


# --- from Python


def test_a_photograph_reads_alike_from_its_file_as_an_array_and_as_an_image(model, drawn, tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(drawn[0]).save(path)
    with Image.open(path) as image:
        frame = model.read([str(path), drawn[0], image]).to_pandas()
    assert list(frame["path"]) == [str(path), "picture 1", "picture 2"] and set(frame["face"]) == {1}
    told = frame[[name for name in frame if name not in ("path", "frame", "time")]]
    assert (told == told.iloc[0]).all(axis=None)
    assert told[["p_anger", "p_fear", "p_happiness"]].iloc[0].sum() == pytest.approx(1, abs=1e-5)
    assert model.read(path).num_rows == 1


def test_a_picture_without_a_face_is_told_of_and_has_no_row(model):
    with pytest.warns(UserWarning, match="picture 0: no face found"):
        assert model.read(BLANK).num_rows == 0


def test_what_is_no_picture_is_refused(model, drawn):
    with pytest.raises(photos.PhotoError, match=r"picture 1 is float64 of shape .*; expected a path, an image of Pil"):
        model.read([drawn[0], drawn[0] / 255])
    with pytest.raises(TrainerError, match="of photographs, `read` finds the faces first"):
        model.predict(drawn[0])


@pytest.mark.parametrize("page, told", [("README.md", "photo.jpg"), ("docs/models.md", "photo.jpg"),
                                        ("docs/training.md", "112, 112")])  # fmt: skip
def test_what_a_page_shows_in_python_runs(page, told, folder, drawn, patterns, tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / page).read_text()
    run = tmp_path / "runs/ckplus-dicefer-demo-fold03-seed0"
    for place in (run, run / "export-safetensors"):
        shutil.copytree(folder, place, dirs_exist_ok=True)
    copy_manifest(patterns, tmp_path / "manifests/ckplus.parquet")
    fertools.augment("ck+", 3, tmp_path / "manifests")
    Image.fromarray(drawn[0]).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(snippet, {})
        assert told in capsys.readouterr().out


def test_the_shipped_model_is_whole_and_found_by_its_name_where_no_folder_has_it(drawn, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = load("london")
    assert shipped.expressions == ("happiness", "neutral") and shipped.read(drawn[0]).num_rows == 1
    card = (SHIPPED / "london/README.md").read_text()
    assert "license: cc-by-4.0" in card and "10.6084/m9.figshare.5047666" in card
    assert hashlib.sha256((SHIPPED / "london/model.safetensors").read_bytes()).hexdigest() in card
    shutil.copytree(folder, "london")
    assert load("london").expressions != shipped.expressions
    with pytest.raises(TrainerError, match="no config.json"):
        load("../london")


def test_the_commands_are_functions_too(tmp_path, drawn):
    raw = tmp_path / "raw"
    for number in range(6):
        name = raw / ("anger", "fear")[number % 2] / f"{number}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn[number % 2]).save(name)
    assert fertools.prepare("folder", raw, tmp_path).usable == 6
    (face,) = fertools.find_faces(raw / "anger/0.png")
    assert face.score > 0.9 and face.landmarks.shape == (5, 2)
    (raw / "labels.csv").write_text("path,expression,subject\nanger/0.png,joy,ann\n")
    assert fertools.prepare("folder", raw, tmp_path / "listed").usable == 1  # as the command reads it
    with pytest.raises(FertoolsError, match="CK.* has labels of its own"):
        fertools.prepare("ck+", raw, labels="labels.csv")
    with pytest.raises(FertoolsError, match="no dataset 'ck'; known: ckplus"):
        fertools.prepare("ck", raw)
    with pytest.raises(FertoolsError):
        fertools.make_folds("folder", tmp_path)  # nobody is named


def test_a_model_of_others_reads_the_faces_of_photographs(drawn, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    means = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    graph = onnx.helper.make_graph(
        [means], "means", [onnx.helper.make_tensor_value_info("x", 1, [1, 3, 64, 64])],
        [onnx.helper.make_tensor_value_info("y", 1, [1, 3])],
    )  # fmt: skip
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8),
        tmp_path / "means.onnx",
    )
    card = {"labels": ["anger", "fear", None], "size": 64, "color": "rgb", "layout": "NCHW", "range": [0, 1]}
    (tmp_path / "card.json").write_text(json.dumps(card | {"output": "logits"}))
    Image.fromarray(np.hstack(drawn)).save(tmp_path / "two.png")
    asked = ["predict", str(tmp_path / "means.onnx"), str(tmp_path / "two.png"), "--json"]
    told = CliRunner().invoke(app, [*asked, "--model-card", str(tmp_path / "card.json")])
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(rows) == 2 and told.exit_code == 0
    assert all(row["p_anger"] > 0.5 and row["p_anger"] + row["p_fear"] == pytest.approx(1) for row in rows)  # of skin
    asked += ["--model-card", str(tmp_path / "card.json"), "--variants"]
    assert "--variants needs a run, or a folder" in CliRunner().invoke(app, asked).stderr
