import re
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import write_video

from fertools.datasets.base import DatasetError, Quarantined, Sample
from fertools.datasets.mmi import DATASET
from fertools.datasets.readers import video
from fertools.faces import images

FOLDER = "Sessions/7"
VIDEO, OWN = f"{FOLDER}/S002-106.avi", f"{FOLDER}/S002-106.xml"
SESSION, UNITS = f"{FOLDER}/session.xml", f"{FOLDER}/S002-106-oao_aucs.xml"


def session(view="0"):
    return f'<?xml version="1.0"?><session><subject id="2"/><track filename="S002-106.avi" view="{view}"/></session>'


def emotion(*codes):
    tags = "".join(f'<Metatag Name="Emotion" Value="{code}"/>' for code in codes)
    return f'<annotation><Metatag Name="AUs" Value="12"/>{tags}</annotation>'


def units(*markers):
    """Each unit as {frame, from 1: phase}."""
    inner = (
        f'<ActionUnit Number="{number}">'
        + "".join(f'<Marker Frame="{frame}" Type="{phase}"/>' for frame, phase in unit.items())
        + "</ActionUnit>"
        for number, unit in enumerate(markers, 1)
    )
    return f"<annotation>{''.join(inner)}</annotation>"


@pytest.fixture
def put(tmp_path):
    """Make a raw folder: a session, without the files that are given as None."""

    def make(files=None, num_frames=8, name="raw"):
        for path, text in ({SESSION: session(), OWN: emotion(4)} | (files or {})).items():
            if text is not None:
                (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        if num_frames:
            write_video(tmp_path / name / VIDEO, num_frames)
        return tmp_path / name

    return make


def found(root):
    items = list(DATASET.samples(root, None))
    return (
        [item for item in items if isinstance(item, Sample)],
        {item.path.as_posix(): item.reason for item in items if isinstance(item, Quarantined)},
    )


def brightness(data):
    return images.decode(data).mean()


# --- sessions


def test_every_frame_of_a_session_is_a_sample_numbered_from_0(put):
    frames, bad = found(put(num_frames=5))
    assert [(s.frame, s.place) for s in frames] == [(n, n) for n in range(5)] and bad == {}
    assert {(s.path.as_posix(), s.label, s.subject, s.sequence) for s in frames} == {
        (VIDEO, "4", "S002", "frontal/S002-106")
    }


@pytest.mark.parametrize(("view", "name"), [("0", "frontal"), ("1", "profile"), ("2", "dual")])
def test_the_view_begins_the_sequence_so_that_a_protocol_can_ask_for_it(put, view, name):
    frames, _ = found(put({SESSION: session(view)}))
    assert {(s.sequence, DATASET.part(s)) for s in frames} == {(f"{name}/S002-106", name)}


def test_a_video_on_its_side_is_to_be_tried_in_every_turn_but_headlong(put):
    turns = {view: found(put({SESSION: session(view)}))[0][0].turns for view in "012"}
    assert {view: set(tried) for view, tried in turns.items()} == {"0": {0, 1, 3}, "1": {0, 1, 3}, "2": {0}}
    assert turns["0"][0] == 1 and turns["1"][0] == 3  # most frontal ones need a turn clockwise, profiles one back


@pytest.mark.parametrize(
    ("text", "label"),
    [(emotion(1), "1"), (emotion(6), "6"), (emotion(9), None), (emotion(), None), (emotion(3, 3), "3")],
)
def test_the_label_is_the_emotion_and_none_where_it_is_none_of_the_six(put, text, label):
    frames, bad = found(put({OWN: text}))
    assert {s.label for s in frames} == {label} and bad == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "missing"),
        (emotion("happy"), "the emotions ['happy'] are not one number"),
        (emotion(1, 2), "the emotions ['1', '2'] are not one number"),
        ("<!DOCTYPE html><html></html>", "a document type"),
        ("<html><p></html>", "not XML"),
        ("", "not XML"),
    ],
)
def test_a_label_that_cannot_be_read_is_named_and_leaves_the_session_unlabelled(put, text, reason):
    frames, bad = found(put({OWN: text}))
    assert {s.label for s in frames} == {None} and len(frames) == 8
    assert list(bad) == [OWN] and reason in bad[OWN] and "unlabelled" in bad[OWN]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (session("3"), "have the views ['3']; one of 0, 1, 2"),
        ("<session/>", "have the views []"),
        (session() .replace("<subject", '<track view="2"/><subject'), "have the views ['0', '2']"),
        (b"\xff\xfe\0", "not XML"),
        ('<?xml version="1.0" encoding="zip"?><session/>', "not XML"),
    ],
)  # fmt: skip
def test_a_session_of_unknown_view_is_named_and_not_guessed_at(put, text, reason):
    frames, bad = found(put({SESSION: text}))
    assert frames == [] and reason in bad[SESSION]


def test_an_xml_file_can_neither_grow_nor_name_another(put):
    bomb = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c SYSTEM "/etc/hostname">]>' + session()
    assert "a document type" in found(put({SESSION: bomb}))[1][SESSION]
    assert "a document type" in found(put({SESSION: bomb.encode("utf-16")}))[1][SESSION]
    assert "larger than" in found(put({SESSION: session() + " " * (1 << 20)}))[1][SESSION]


def test_a_session_has_one_video_and_known_files(put):
    root = put(
        {
            f"{FOLDER}/notes.txt": "",
            f"{FOLDER}/Notes.txt": "",
            f"{FOLDER}/S002-106-aucs.xml": "",
            "Sessions/8/session.xml": session(),
        }
    )
    write_video(root / "Sessions/9/S003-001.avi", 1)
    for name in ("readme.txt", "Sessions/readme.txt", "more.zip"):
        (root / name).write_text("")
    frames, bad = found(root)
    assert len(frames) == 8
    assert bad == {
        f"{FOLDER}/notes.txt": "differs from Notes.txt only in case; that is taken",
        f"{FOLDER}/Notes.txt": "not a file of a session, such as S002-106.xml or S002-106-oao_aucs.xml",
        "Sessions/8/*.avi": "0 videos; a session has one",
        "Sessions/9/S003-001.avi": "not in a session's folder: no session.xml beside it",
        "Sessions/readme.txt": "not in a session's folder: no session.xml beside it",
        "more.zip": "still packed; unpack it first",
    }
    write_video(root / FOLDER / "S002-107.avi", 1)
    assert found(root)[1][f"{FOLDER}/*.avi"] == "2 videos; a session has one"


def test_a_video_of_another_name_is_named(put):
    root = put(num_frames=None)
    write_video(root / FOLDER / "clip.avi")
    assert found(root)[1] == {f"{FOLDER}/clip.avi": "not the name of an MMI video, such as S002-106.avi"}


def test_downloads_side_by_side_are_one_set_and_an_overlap_is_taken_once(put):
    put(name="raw/mmi_download_1")
    root = put(name="raw/mmi_download_2").parent
    write_video(root / "mmi_download_2/Sessions/8/s003-001.AVI", 2)
    (root / "mmi_download_2/Sessions/8/Session.xml").write_text(session("2"))
    (root / "mmi_download_2/Sessions/8/s003-001.XML").write_text(emotion(1))
    frames, bad = found(root)
    assert [(s.subject, s.sequence) for s in frames[8:]] == [("S003", "dual/S003-001")] * 2 and len(frames) == 10
    assert bad == {f"mmi_download_2/{VIDEO}": f"a second S002-106; mmi_download_1/{VIDEO} is taken"}


def test_no_link_is_followed_out_of_the_raw_folder(tmp_path, put):
    root = put(num_frames=None)
    write_video(tmp_path / "elsewhere/S002-106.avi")
    (root / VIDEO).symlink_to(tmp_path / "elsewhere/S002-106.avi")
    frames, bad = found(root)
    assert frames == [] and "leaves the raw folder" in bad[VIDEO]
    with pytest.raises(DatasetError, match="not a file below the raw folder"):
        DATASET.read(root, Sample(Path(VIDEO), None, place=0))


@pytest.mark.parametrize("archive", ["mmi.zip", "Sessions/12.rar"])
def test_another_folder_says_what_was_expected_and_what_is_still_packed(tmp_path, archive):
    (tmp_path / archive).parent.mkdir(exist_ok=True)
    (tmp_path / archive).write_bytes(b"")
    with pytest.raises(DatasetError, match=rf"unpack {archive.split('/')[-1]} first\nexpected: Sessions/1/session.xml"):
        found(tmp_path)


# --- the apex


@pytest.mark.parametrize(
    ("text", "apex"),
    [
        (None, 5),  # the middle of ten
        (units(), 5),
        (units({1: 0, 3: 1}), 5),  # an onset, no apex
        (units({1: 0, 2: 1, 4: 2, 7: 3, 9: 0}), 4),  # frames 4 to 6, from 1; 3 to 5, from 0
        (units({9: 0, 7: 3, 4: 2, 2: 1, 1: 0}), 4),  # in any order
        (units({1: 2, 5: 3}, {4: 2, 9: 3}, {4: 2, 5: 0}), 3),  # all three in frame 4
        (units({8: 2}), 8),  # to the end
        (units({1: 0, 300: 2, 400: 3}), 5),  # beyond the video
        (units({"x": 2, -1: 2, 0: 2, "9" * 5000: 2, "": ""}), 5),
        (units({1: 2, 2: 3, 6: 2, 7: 3}), 0),  # twice: the first
        (units({4: 2, 7: 3}).replace("<annotation", '<annotation xmlns="urn:mmi"'), 4),
    ],
)
def test_the_apex_is_where_most_units_are_at_theirs_else_the_middle(put, text, apex):
    frames, bad = found(put({UNITS: text}, num_frames=10))
    assert {s.apex for s in frames} == {apex} and bad == {}


def test_units_that_cannot_be_read_are_named(put):
    frames, bad = found(put({UNITS: "<annotation>"}, num_frames=10))
    assert {s.apex for s in frames} == {5}
    assert re.match("not XML: .*; the apex is taken to be the middle of the video", bad[UNITS])


# --- videos


def test_a_frame_is_read_by_its_number_in_any_order(put):
    root = put()
    frames, _ = found(root)
    for number in (3, 4, 5, 5, 0, 7, 2):
        assert abs(brightness(DATASET.read(root, frames[number])) - (20 + 8 * number)) < 2
    assert images.decode(DATASET.read(root, frames[0])).shape == (48, 64, 3)


def test_the_colours_of_a_frame_are_not_exchanged(tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "a.avi"), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter_fourcc(*"MJPG"), 24, (64, 48)
    )
    writer.write(np.full((48, 64, 3), (0, 0, 255), np.uint8))  # OpenCV has blue first
    writer.release()
    red, green, blue = images.decode(video.read_frame(tmp_path / "a.avi", 0)).mean((0, 1))
    assert red > 200 and green < 50 and blue < 50


def test_frames_in_a_row_are_each_decoded_once(put, monkeypatch):
    root, opened = put(), []
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda *args: opened.append(args) or capture(*args))
    for number in (2, 3, 4, 7):
        video.read_frame(root / VIDEO, number)
    assert len(opened) == 1


def test_a_video_that_is_replaced_is_opened_anew(tmp_path):
    write_video(tmp_path / "a.avi", 3)
    video.read_frame(tmp_path / "a.avi", 0)
    write_video(tmp_path / "a.avi", 9, size=(96, 64))
    assert images.decode(video.read_frame(tmp_path / "a.avi", 8)).shape == (64, 96, 3)


def damaged(data, how):
    match how:
        case "half":
            return data[: len(data) // 2]
        case "end":
            return data[:-100]
        case "header":
            return data[:40]
        case "empty":
            return b""
        case "page":
            return b"<!DOCTYPE html><html></html>"
        case "playlist":
            return b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n"
        case "wave":
            return data[:8] + b"WAVE" + data[12:]
    return data[:4] + struct.pack("<I", 100) + data[8:12] + bytes(200)  # zeros: as long as it says, and no video


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("half", "cut short: "),
        ("end", "cut short: "),
        ("header", "cut short: 40 of "),
        ("empty", "the file is empty"),
        ("page", "not an AVI video: it starts with '<!DOCTYPE ht'"),
        ("playlist", "not an AVI video: it starts with '#EXTM3U"),
        ("wave", "not an AVI video"),
        ("zeros", "not a video that OpenCV can open"),
    ],
)
def test_a_damaged_video_is_named_and_gives_no_frames(put, how, reason):
    root = put()
    (root / VIDEO).write_bytes(damaged((root / VIDEO).read_bytes(), how))
    frames, bad = found(root)
    assert frames == [] and list(bad) == [VIDEO] and bad[VIDEO].startswith(reason)


def test_a_frame_that_does_not_decode_says_which_and_those_before_it_are_read(put):
    root = put()
    data = (root / VIDEO).read_bytes()
    places = [match.start() for match in re.finditer(b"\xff\xd8\xff", data)]
    assert len(places) == 8
    (root / VIDEO).write_bytes(data[: places[4]] + bytes(places[5] - places[4]) + data[places[5] :])
    assert brightness(video.read_frame(root / VIDEO, 3)) == pytest.approx(44, abs=2)
    with pytest.raises(video.VideoError, match="frame 4 does not decode, or the video ends before it"):
        video.read_frame(root / VIDEO, 6)
    assert brightness(video.read_frame(root / VIDEO, 1)) == pytest.approx(28, abs=2)


def test_a_video_without_end_or_too_large_is_refused(put, monkeypatch):
    root = put()
    with pytest.raises(video.VideoError, match="frame 8 does not decode, or the video ends before it"):
        video.read_frame(root / VIDEO, 8)
    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 48 - 1)
    assert "too large: 64 x 48 px" in found(root)[1][VIDEO]
    monkeypatch.undo()
    monkeypatch.setattr(video, "MAX_FRAMES", 7)
    assert found(root)[1][VIDEO] == "says that it has 8 frames; 1 to 7 are read"
