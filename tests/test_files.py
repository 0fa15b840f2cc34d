import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from manifests import files, schema
from manifests.crop import DEFAULT_CROP
from manifests.schema import Crop, ManifestError


@pytest.fixture
def manifest(make_faces, tmp_path):
    path = tmp_path / "set.parquet"
    files.write([make_faces(subject=[f"p{row % 7}" for row in range(2300)])], path, {"note": [1, "two"]})
    return path


def test_what_was_written_is_read(make_faces, manifest):
    faces = make_faces(subject=[f"p{row % 7}" for row in range(2300)])
    assert files.read(manifest, images=True).equals(faces)
    assert files.read(manifest).equals(faces.drop_columns("image"))
    assert files.read_metadata(manifest) == {"note": [1, "two"]}


def test_row_groups_are_small_however_the_parts_are_cut(make_faces, tmp_path):
    faces = make_faces(subject=[f"p{row % 7}" for row in range(2300)])
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    files.write([faces], whole, {})
    files.write([faces.slice(start, 90) for start in range(0, 2300, 90)], cut, {})
    sizes = [pq.ParquetFile(whole).metadata.row_group(group).num_rows for group in range(3)]
    assert sizes == [1000, 1000, 300]
    assert whole.read_bytes() == cut.read_bytes()


def test_pandas_opens_it_and_pillow_its_images(make_faces, manifest):
    faces = make_faces(subject=["p"] * 3)
    table = pd.read_parquet(manifest)
    picture = Image.open(io.BytesIO(table["image"][2]["bytes"]))
    assert (picture.size, picture.mode) == ((144, 144), "L")
    np.testing.assert_array_equal(np.asarray(picture), DEFAULT_CROP.decode(faces["image"])[2])


def test_hugging_face_is_told_that_the_column_holds_images(manifest):
    about = json.loads(pq.read_schema(manifest).metadata[b"huggingface"])
    assert about["info"]["features"]["image"] == {"_type": "Image"}


def test_it_is_hardly_larger_than_its_pixels(manifest):
    assert manifest.stat().st_size < 1.01 * 2300 * schema.DEFAULT_CROP.num_bytes


def test_images_come_in_the_order_asked(manifest):
    every = DEFAULT_CROP.decode(files.read(manifest, images=True)["image"])
    rows = np.array([2299, 0, 1000, 999, 1000, 57])
    np.testing.assert_array_equal(files.read_images(manifest, rows), every[rows])


def test_images_of_a_slice_are_the_slices(make_faces):
    column = make_faces(subject=["p"] * 9)["image"]
    np.testing.assert_array_equal(DEFAULT_CROP.decode(column.slice(4, 3)), DEFAULT_CROP.decode(column)[4:7])


def test_folds_are_filled_in_and_nothing_else_changes(manifest):
    before = files.read(manifest, images=True)
    files.write_column(manifest, "fold", [row % 7 + 1 for row in range(2300)], {"folds": 7})
    after = files.read(manifest, images=True)
    assert after["fold"].to_pylist() == [row % 7 + 1 for row in range(2300)]
    assert after.drop_columns("fold").equals(before.drop_columns("fold"))
    assert files.read_metadata(manifest) == {"folds": 7}


def test_folds_that_split_a_person_leave_the_manifest_as_it_was(manifest):
    before = manifest.read_bytes()
    with pytest.raises(ManifestError, match="a subject belongs to one fold"):
        files.write_column(manifest, "fold", [row % 2 + 1 for row in range(2300)], {})
    assert manifest.read_bytes() == before


def test_a_failed_write_leaves_the_old_file_and_no_rest(make_faces, tmp_path, manifest):
    before = manifest.read_bytes()
    with pytest.raises(ManifestError, match="stands twice"):
        files.write([make_faces(face_id=["x"]), make_faces(face_id=["x"])], manifest, {})
    assert manifest.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["set.parquet"]


def test_a_file_cut_short_is_refused(manifest):
    manifest.write_bytes(manifest.read_bytes()[:5000])
    with pytest.raises(ManifestError, match="not a whole Parquet file"):
        files.read(manifest)


def test_another_version_is_refused(manifest):
    table = pq.read_table(manifest).replace_schema_metadata({"manifest_version": "0"})
    pq.write_table(table, manifest)
    with pytest.raises(ManifestError, match="has manifest version 0, this code reads 2"):
        files.read(manifest)


def test_a_foreign_parquet_is_refused(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match="version none"):
        files.read(tmp_path / "a.parquet")


def test_a_missing_dataset_names_the_prepared_ones(manifest):
    with pytest.raises(ManifestError, match=r"'ck\+' is not prepared .*prepared: set.*fertools prepare ck\+"):
        files.find(manifest.parent, ["ck+"])


def test_no_manifest_at_all_says_how_to_make_one(tmp_path):
    with pytest.raises(ManifestError, match="fertools prepare"):
        files.find(tmp_path)


@pytest.mark.parametrize("name", ["ck+", "CK+", "ckplus", "CKPlus", "ck_plus", "ck-plus", "CK plus"])
def test_every_spelling_is_one_name(name):
    assert files.dataset_name(name) == "ckplus"


def test_a_datasets_usual_short_name_is_known():
    assert files.dataset_name("Oulu") == files.dataset_name("oulu-casia") == "oulucasia"


# --- other crops


LARGE = Crop(256, "eyes-nose", "rgb")


@pytest.fixture
def large(make_faces, tmp_path):
    path = tmp_path / "large.parquet"
    about = {"crop": {"size": 256, "align": "eyes-nose", "color": "rgb"}}
    files.write([make_faces(LARGE, subject=["p"] * 5)], path, about)
    return path


def test_large_crops_in_colour_come_back_as_they_were(make_faces, large):
    faces = files.read(large, images=True)
    assert faces.equals(make_faces(LARGE, subject=["p"] * 5)) and files.read_crop(large) == LARGE
    pixels = files.read_images(large, np.array([4, 0]))
    picture = Image.open(io.BytesIO(faces["image"][4]["bytes"].as_py()))
    assert (picture.size, picture.mode) == ((288, 288), "RGB") and pixels.shape == (2, 288, 288, 3)
    np.testing.assert_array_equal(np.asarray(picture), pixels[0])


def test_folds_filled_in_leave_the_crop_as_it_is(large):
    files.write_column(large, "fold", [1] * 5, files.read_metadata(large))
    assert files.read_crop(large) == LARGE
    files.read(large, images=True)


def test_crops_can_be_read_smaller_and_in_grey(large):
    whole, rows = files.read_images(large, np.arange(5)), np.array([3, 1])
    for seen in (Crop(256, "eyes-nose"), Crop(128, "eyes-nose", "rgb"), LARGE.least):
        np.testing.assert_array_equal(files.read_images(large, rows, seen), seen.resample(whole[rows]))
    assert files.read_images(large, rows, LARGE.least).shape == (2, 144, 144)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Crop(256), "not grey crops of 256 px aligned by five-points; .*prepare set --overwrite --size 256$"),
        (Crop(color="rgb"), "set.parquet holds grey crops of 128 px aligned by five-points, not rgb .* --color rgb$"),
        (Crop(align="eyes-nose"), "fertools prepare set --overwrite --align eyes-nose$"),
    ],
)
def test_crops_are_not_read_as_what_they_cannot_be(seen, words, manifest):
    with pytest.raises(ManifestError, match=words):
        files.read_images(manifest, np.array([0]), seen)
