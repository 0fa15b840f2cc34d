import shutil

import numpy as np
import pytest
from PIL import Image

from fertools.datasets import DATASETS
from fertools.faces.images import decode
from fertools.preparation.prepare import prepare
from manifests import files
from manifests.schema import DEFAULT_CROP, Crop
from trainer.inference.photos import PhotoError, read


@pytest.fixture(scope="module")
def raw(drawn_raw, tmp_path_factory):
    """One sequence of a drawn CK+."""
    root = tmp_path_factory.mktemp("one") / "ckplus"
    label = sorted((drawn_raw / "Emotion").rglob("*.txt"))[0].parent.relative_to(drawn_raw / "Emotion")
    for part in ("Emotion", "cohn-kanade-images"):
        shutil.copytree(drawn_raw / part / label, root / part / label)
    return root


@pytest.fixture(scope="module")
def photo(raw):
    return sorted(raw.rglob("*.png"))[-1]


@pytest.fixture
def noise(tmp_path):
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("crop", [DEFAULT_CROP, Crop(size=256, align="eyes-nose", color="rgb")], ids=str)
def test_a_photographs_face_is_the_one_that_a_manifest_stores(crop, raw, tmp_path):
    manifest = tmp_path / prepare(DATASETS["ckplus"], raw, tmp_path, crop=crop).manifest
    rows = files.read(manifest, images=True)
    found = read([raw / source for source in rows["source"].to_pylist()], crop, "cpu")
    for row, one, stored in zip(rows.to_pylist(), found, crop.decode(rows["image"]), strict=True):
        np.testing.assert_array_equal(one.faces[0].crop, stored)
        assert one.faces[0].box.tolist() == row["box"] and one.faces[0].score == pytest.approx(row["score"])
        assert one.reason is None and one.path == raw / row["source"]


def test_what_gives_no_face_is_named_and_the_rest_goes_on(photo, noise, tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    paths = [noise, tmp_path / "empty.png", photo, tmp_path / "text.jpg", tmp_path / "absent.png"]
    found = read(paths, DEFAULT_CROP, "cpu")
    assert [one.path for one in found] == paths
    assert [len(one.faces) > 0 for one in found] == [False, False, True, False, False]
    reasons = ["no face found", "the file is empty", None, "not an image: it starts with 'no picture'", "not a file"]
    assert [one.reason for one in found] == reasons


def test_where_nothing_gives_a_face_each_reason_is_told(noise, tmp_path):
    with pytest.raises(PhotoError, match=r"no face in 2 file\(s\): .*noise.png: no face found; .*absent: not a file"):
        read([noise, tmp_path / "absent"], DEFAULT_CROP, "cpu")


def test_a_folder_stands_for_its_files_and_a_link_out_of_it_is_not_followed(photo, tmp_path):
    folder, empty = tmp_path / "folder", tmp_path / "empty"
    (folder / "below").mkdir(parents=True)
    empty.mkdir()
    (folder / "below/b.png").write_bytes(photo.read_bytes())
    (folder / "a.png").symlink_to(photo)
    found = read([folder], DEFAULT_CROP, "cpu")
    assert [one.path for one in found] == [folder / "a.png", folder / "below/b.png"]
    assert "it was not followed" in found[0].reason and found[1].faces
    assert read([folder / "a.png"], DEFAULT_CROP, "cpu")[0].faces  # asked for by name
    with pytest.raises(PhotoError, match="empty folder; expected photographs in it"):
        read([empty], DEFAULT_CROP, "cpu")


def test_all_faces_come_with_their_boxes_and_the_one_that_is_meant_is_first(photo, tmp_path):
    large = decode(photo.read_bytes())
    height, width = large.shape[:2]
    small = np.asarray(Image.fromarray(large).resize((width // 2, height // 2)))
    board = np.full((height, width + width // 2, 3), 128, np.uint8)
    board[: height // 2, : width // 2], board[:, width // 2 :] = small, large
    path = tmp_path / "two.png"
    Image.fromarray(board).save(path)
    first, second = read([path], DEFAULT_CROP, "cpu")[0].faces
    assert first.box[0] > width // 2 > second.box[2]
    alone = read([photo], DEFAULT_CROP, "cpu")[0].faces[0]
    assert np.abs(first.crop.astype(int) - alone.crop).mean() < 4
    assert np.abs(second.crop.astype(int) - alone.crop).mean() < 12
    assert DEFAULT_CROP.encode(second.crop)  # whole
