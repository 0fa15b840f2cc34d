"""Catches faces in the dark or on their side that are given up, and rows that a retry changes or does not name."""

import cv2
import numpy as np
import pytest
from pictures import encoded

from fertools.datasets import DATASETS
from fertools.datasets.base import Sample
from fertools.datasets.protocols import Selected, find
from fertools.drawn import corpus
from fertools.drawn.face.factors import sample_nuisance
from fertools.drawn.face.render import render
from fertools.drawn.layouts import ckplus
from fertools.faces.detector import upright
from fertools.preparation.face_rows import brightened, face_rows, num_levels
from manifests import schema


@pytest.fixture(scope="module")
def face():
    rng = np.random.default_rng([7, 0])
    action = corpus.frames(ckplus.plan(num_subjects=8)[0], 0)[0][-1].action
    return np.asarray(render(corpus.person(7, 0), action, sample_nuisance(rng), 240, 320, rng), np.uint8)


def rows(folder, *pictures, retry=True, box=None):
    folder.mkdir(exist_ok=True)
    items = []
    for number, picture in enumerate(pictures):
        path = folder / f"{number}.png"
        path.write_bytes(picture if isinstance(picture, bytes) else encoded(np.ascontiguousarray(picture)))
        items.append(Selected(Sample(path.relative_to(folder), "anger", box=box), "anger", "image", retry))
    return list(face_rows(DATASETS["folder"], folder, items, "cpu", schema.DEFAULT_CROP))


def test_a_dark_face_and_faces_on_their_side_are_found_by_name_and_cut_out_upright(face, tmp_path, monkeypatch):
    monkeypatch.setattr("fertools.preparation.face_rows.MIN_LEVELS", 16)
    found = rows(tmp_path, face, upright(face, 1), upright(face, 3), face // 10, face * 0 + 30)
    names = [None, "turned by 270 degrees", "turned by 90 degrees", "brightened", None]
    assert [row["found_by"] for row in found] == names
    assert [row["usable"] for row in found] == [True] * 4 + [False] and found[4]["reason"] == "no face found"
    crops = [np.frombuffer(row["image"]["bytes"][-144 * 144 :], np.uint8).astype(int) for row in found[:4]]
    for crop in crops[1:3]:
        assert np.abs(crop - crops[0]).mean() < 4
    assert crops[3].max() < 26  # as the file has it: only the search was brightened
    (alone,) = rows(tmp_path / "alone", face)
    assert {k: v for k, v in alone.items() if k not in ("image", "face_id", "source")} == {
        k: v for k, v in found[0].items() if k not in ("image", "face_id", "source")
    }


def test_a_protocol_may_say_that_there_is_no_retry(face, tmp_path):
    (row,) = rows(tmp_path, upright(face, 1), retry=False)
    assert row["reason"] == "no face found"
    assert all(item.retry for item in find("folder", None).select([Sample(tmp_path, "anger")], {"anger": "anger"}))


def test_a_published_box_is_that_of_the_face_as_it_is_stored(face, tmp_path):
    (plain,) = rows(tmp_path / "plain", upright(face, 1))
    (boxed,) = rows(tmp_path / "boxed", upright(face, 1), box=tuple(plain["box"]))
    (beside,) = rows(tmp_path / "beside", upright(face, 1), box=(0, 0, 20, 20))
    np.testing.assert_allclose(boxed["landmarks"], plain["landmarks"], atol=0.01)
    assert beside["reason"] == "no face found where one is published"


def test_a_crop_of_few_grey_levels_is_never_usable(face, tmp_path):
    dark, animation = rows(tmp_path, face // 16, encoded(face, "GIF"))
    assert not dark["usable"] and dark["image"] is None and dark["found_by"] == "brightened"
    assert dark["reason"].startswith("too few grey levels in the face: 13; expected at least 32 of 256")
    assert animation["usable"]


def test_rows_of_a_photograph_decoded_at_half_its_size_are_in_pixels_of_the_file(face, tmp_path, monkeypatch):
    large = cv2.resize(face, None, fx=4, fy=4)
    data = encoded(large, "JPEG", quality=95)
    (whole,) = rows(tmp_path, data)
    monkeypatch.setattr("fertools.faces.formats.decoders.MAX_PIXELS", large.size // 2)
    monkeypatch.setattr("fertools.faces.formats.bounds.MAX_PIXELS", large.size // 2)
    (half,) = rows(tmp_path, data)
    assert np.abs(np.subtract(half["landmarks"], whole["landmarks"])).max() < 12  # of 1280 px
    point = np.array(whole["landmarks"]).reshape(5, 2)
    in_crops = [
        point @ (matrix := np.array(row["matrix"]).reshape(2, 3))[:, :2].T + matrix[:, 2] for row in (half, whole)
    ]
    assert np.abs(in_crops[0] - in_crops[1]).max() < 2
    crops = [np.frombuffer(row["image"]["bytes"][-144 * 144 :], np.uint8).astype(int) for row in (half, whole)]
    assert np.abs(crops[0] - crops[1]).mean() < 10


def test_brightening_keeps_grey_grey_and_spreads_its_levels(face):
    dark = face // 8
    assert brightened(dark).max() == 255 and num_levels(brightened(dark)) <= num_levels(dark)
    colour = brightened(np.repeat(dark[..., None], 3, 2))
    assert np.abs(colour.astype(int) - brightened(dark)[..., None]).max() <= 1
