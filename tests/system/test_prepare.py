import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from manifest_files import bytes_of
from pictures import png_header

from fertools.datasets import DATASETS
from fertools.preparation import chunks
from fertools.preparation import prepare as library
from fertools.preparation.engines import Engine
from fertools.preparation.prepare import PrepareError, prepare
from fertools.preparation.previous import OverwriteError
from manifests import files
from manifests.provenance import file_sha256

CKPLUS = DATASETS["ckplus"]
ready = partial(prepare, DATASETS["affectnet"], published=True)  # no detector: fast


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """A drawn AffectNet, with landmarks."""
    from fertools.drawn.corpus import draw

    root = tmp_path_factory.mktemp("crops") / "affectnet"
    draw(root, 12, seed=0, workers=1, dataset="affectnet")
    return root


def image_below(root, subject):
    """Return the frames of a subject's first labelled sequence."""
    label = sorted((root / "Emotion" / subject).rglob("*.txt"))[0]
    return sorted((root / "cohn-kanade-images" / subject / label.parent.name).glob("*.png"))


@pytest.fixture
def hostile(drawn_raw, tmp_path):
    """A drawn CK+ in which much is wrong."""
    root = tmp_path / "ckplus"
    shutil.copytree(drawn_raw, root)
    subjects = sorted(path.name for path in (root / "Emotion").iterdir())
    labelled = [subject for subject in subjects if list((root / "Emotion" / subject).rglob("*.txt"))]
    frames = [image_below(root, subject) for subject in labelled]
    wrong = {}

    def put(path, data, reason):
        path.write_bytes(data)
        wrong[path.relative_to(root).as_posix()] = reason

    put(frames[0][-1], frames[0][-1].read_bytes()[:9000], "cut short: the PNG has no end")
    put(frames[0][1], frames[0][1].read_bytes()[:9000], "cut short")  # outside the protocol
    put(frames[1][-1], b"", "the file is empty")
    put(frames[2][-1], b"hello, I am no picture", "not an image: it starts with 'hello, I am no p'")
    put(frames[3][0], png_header(30_000, 30_000), "too large")
    label = sorted((root / "Emotion" / labelled[4]).rglob("*.txt"))[0]
    put(label, b"happy", "the label 'happy' is not a number")
    empty = root / "cohn-kanade-images" / labelled[5] / "099"
    empty.mkdir()
    wrong[empty.relative_to(root).as_posix()] = "a sequence folder without images"
    secret = tmp_path / "secret.png"
    secret.write_bytes(frames[5][-1].read_bytes())
    link = frames[5][-1].with_name(frames[5][-1].name.replace("000000", "000009"))
    link.symlink_to(secret)
    wrong[link.relative_to(root).as_posix()] = "a symbolic link that leaves the raw folder"
    return root, wrong


def test_what_is_wrong_is_named_and_the_rest_goes_on(hostile, tmp_path):
    root, wrong = hostile
    summary = prepare(CKPLUS, root, tmp_path / "manifests")
    told = {item["path"]: item["reason"] for item in summary.quarantined}
    assert set(told) == set(wrong)
    for path, reason in wrong.items():
        assert told[path].startswith(reason)
    assert summary.found == summary.usable + summary.outside + len(summary.quarantined)
    faces = files.read(tmp_path / "manifests/ckplus.parquet")
    assert sum(faces["usable"].to_pylist()) == summary.usable > 20
    holes = {row["source"]: row["reason"] for row in faces.to_pylist() if not row["usable"]}
    assert len(holes) == 4 and holes.items() <= told.items()  # what the protocol takes is a row even where it is bad
    assert all(path in library.describe(summary) for path in wrong)


def test_a_row_says_where_its_pixels_are_from(drawn_manifest, drawn_raw):
    from fertools.faces.align import crop
    from fertools.faces.images import decode

    row = files.read(drawn_manifest, images=True).slice(7, 1).to_pylist()[0]
    grey = decode((drawn_raw / row["source"]).read_bytes())[..., 0]
    again = crop(grey, np.array(row["matrix"]).reshape(2, 3))
    np.testing.assert_array_equal(again, np.frombuffer(row["image"]["bytes"][-144 * 144 :], np.uint8).reshape(144, 144))
    landmarks = np.array(row["landmarks"]).reshape(5, 2)
    in_crop = landmarks @ np.array(row["matrix"]).reshape(2, 3)[:, :2].T + np.array(row["matrix"])[[2, 5]]
    assert np.abs(in_crop[:2, 1] - (16 + 51.6)).max() < 6  # both eyes on the template's line
    assert row["subject"] == "ckplus/" + row["source"].split("/")[1]
    assert file_sha256(drawn_raw / row["source"]) == row["source_sha256"]


def test_stopped_anywhere_and_run_again_it_ends_with_the_same_bytes(crops, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 10)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    ready(crops, whole)

    class Stop(Exception):
        pass

    for limit in (10, 20, 40):

        def stop(done, *_, limit=limit):
            if done >= limit:
                raise Stop

        with pytest.raises(Stop):
            ready(crops, stopped, progress=stop)
        assert not (stopped / "affectnet.parquet").exists()
    begun = []
    ready(crops, stopped, progress=lambda done, *_: begun.append(done))
    assert begun[0] >= 40  # what was done is not done again
    assert bytes_of(stopped / "affectnet.parquet") == bytes_of(whole / "affectnet.parquet")
    assert sorted(path.name[:14] for path in stopped.iterdir()) == [
        ".affectnet.led",
        "affectnet.face",
        "affectnet.parq",
    ]


def test_ctrl_c_ends_a_run_of_two_processes_and_loses_nothing(crops, tmp_path):
    fertools = str(Path(sys.executable).with_name("fertools"))
    command = [fertools, "prepare", "affectnet", "--raw", str(crops), "--landmarks", "published", "--workers", "2"]
    command += ["--manifests", str(tmp_path / "out")]
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests in a shell's background inherit a deaf ear
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heeded) as run:
        while not (tmp_path / "out/.affectnet.parts").exists():
            assert run.poll() is None
            time.sleep(0.02)
        time.sleep(0.2)  # both workers are starting, which takes some seconds
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the workers too
        _, told = run.communicate(timeout=120)
    assert run.returncode == 130 and "the same command resumes from here" in told
    subprocess.run(command, check=True, capture_output=True)
    ready(crops, tmp_path / "whole")
    assert bytes_of(tmp_path / "out/affectnet.parquet") == bytes_of(tmp_path / "whole/affectnet.parquet")


def test_a_second_run_does_nothing_and_says_so(drawn_raw, drawn_manifest):
    before = drawn_manifest.stat().st_mtime_ns
    summary = prepare(CKPLUS, drawn_raw, drawn_manifest.parent)
    assert summary.up_to_date and drawn_manifest.stat().st_mtime_ns == before
    assert "up to date" in library.describe(summary)


def test_a_manifest_of_other_options_is_not_replaced_unasked(drawn_raw, tmp_path):
    prepare(CKPLUS, drawn_raw, tmp_path)
    with pytest.raises(OverwriteError, match="--overwrite replaces it, doing again only"):
        prepare(CKPLUS, drawn_raw, tmp_path, protocol_name="dice_ckplus_7c")
    summary = prepare(CKPLUS, drawn_raw, tmp_path, protocol_name="dice_ckplus_7c", overwrite=True)
    assert summary.protocol == "dice_ckplus_7c" and "neutral" not in summary.expressions


def test_a_raw_folder_without_a_labelled_image_is_refused(drawn_raw, tmp_path):
    root = tmp_path / "ckplus"
    shutil.copytree(drawn_raw / "cohn-kanade-images", root / "cohn-kanade-images")
    (root / "Emotion").mkdir()
    with pytest.raises(PrepareError, match=r"images found, none that protocol dice_ckplus takes"):
        prepare(CKPLUS, root, tmp_path / "manifests")


def test_one_and_two_processes_give_the_same_bytes(drawn_raw, tmp_path):
    one = prepare(CKPLUS, drawn_raw, tmp_path / "one", engine=Engine("local", 1))
    two = prepare(CKPLUS, drawn_raw, tmp_path / "two", engine=Engine("local", 2))
    assert bytes_of(tmp_path / "one/ckplus.parquet") == bytes_of(tmp_path / "two/ckplus.parquet")
    assert dataclasses.replace(one, manifest="") == dataclasses.replace(two, manifest="")
