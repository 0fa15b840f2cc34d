import io
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest_files import bytes_of
from PIL import Image

import manifests
from manifests import faces as crops
from manifests import files, schema
from manifests.crop import DEFAULT_CROP
from manifests.schema import Crop, ManifestError


@pytest.fixture(scope="module")
def written(make_faces, tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "set.parquet"
    files.write([make_faces(subject=[f"p{row % 7}" for row in range(2300)])], path, {"note": [1, "two"]})
    return path


@pytest.fixture
def manifest(written, tmp_path):
    return shutil.copytree(written.parent, tmp_path / "x") / written.name


def test_what_was_written_is_read(make_faces, manifest):
    faces = make_faces(subject=[f"p{row % 7}" for row in range(2300)])
    assert files.read(manifest, images=True).equals(faces)
    assert files.read(manifest).equals(faces.drop_columns("image"))
    assert files.read_metadata(manifest) == {"note": [1, "two"]}


def test_row_groups_are_small_however_the_tables_are_cut(make_faces, tmp_path):
    faces = make_faces(subject=[f"p{row % 7}" for row in range(2300)])
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    files.write([faces], whole, {})
    files.write([faces.slice(start, 90) for start in range(0, 2300, 90)], cut, {})
    part = pq.ParquetFile(crops.folder(whole) / "part-00000.parquet").metadata
    assert [part.row_group(group).num_rows for group in range(3)] == [1000, 1000, 300]
    assert list(bytes_of(whole).values()) == list(bytes_of(cut).values())


def test_pandas_opens_rows_and_crops_and_pillow_an_image(make_faces, manifest):
    faces = make_faces(subject=["p"] * 3)
    rows, images = pd.read_parquet(manifest), pd.read_parquet(crops.folder(manifest))
    assert rows["face_id"].tolist() == images["face_id"].tolist() and "image" not in rows
    picture = Image.open(io.BytesIO(images["image"][2]["bytes"]))
    assert (picture.size, picture.mode) == ((144, 144), "L")
    np.testing.assert_array_equal(np.asarray(picture), DEFAULT_CROP.decode(faces["image"])[2])


def test_a_manifest_is_a_data_frame(make_faces, manifest, monkeypatch):
    monkeypatch.chdir(manifest.parent.parent)
    manifest.parent.rename(manifest.parent.parent / "manifests")
    frame, whole = manifests.read("set"), manifests.read("manifests/set.parquet", images=True)
    assert frame.columns.tolist() == schema.ROWS.names and whole.columns.tolist() == schema.FACES.names
    assert whole["image"][7]["bytes"] == make_faces(subject=["p"] * 8)["image"][7]["bytes"].as_py()
    with pytest.raises(ManifestError, match="'ck' is not prepared in manifests/"):
        manifests.read("ck")


def test_hugging_face_is_told_that_the_column_holds_images(manifest):
    about = json.loads(pq.read_schema(crops.folder(manifest) / "part-00000.parquet").metadata[b"huggingface"])
    assert about["info"]["features"]["image"] == {"_type": "Image"}


def test_it_is_hardly_larger_than_its_pixels(manifest):
    assert sum(map(len, bytes_of(manifest).values())) < 1.01 * 2300 * schema.DEFAULT_CROP.num_bytes


def test_images_come_in_the_order_asked(manifest):
    every = DEFAULT_CROP.decode(files.read(manifest, images=True)["image"])
    rows = np.array([2299, 0, 1000, 999, 1000, 57])
    np.testing.assert_array_equal(files.read_images(manifest, rows), every[rows])


def test_images_of_a_slice_are_the_slices(make_faces):
    column = make_faces(subject=["p"] * 9)["image"]
    np.testing.assert_array_equal(DEFAULT_CROP.decode(column.slice(4, 3)), DEFAULT_CROP.decode(column)[4:7])


def test_folds_are_filled_in_and_nothing_else_changes(manifest):
    before, part = files.read(manifest, images=True), crops.folder(manifest) / "part-00000.parquet"
    written = part.stat().st_mtime_ns
    files.write_column(manifest, "fold", [row % 7 + 1 for row in range(2300)], {"folds": {"num_folds": 7}})
    after = files.read(manifest, images=True)
    assert after["fold"].to_pylist() == [row % 7 + 1 for row in range(2300)]
    assert after.drop_columns("fold").equals(before.drop_columns("fold"))
    assert files.read_metadata(manifest) == {"folds": {"num_folds": 7}} and part.stat().st_mtime_ns == written
    written = manifest.stat().st_mtime_ns
    files.write_column(manifest, "fold", [row % 7 + 1 for row in range(2300)], {"folds": {"num_folds": 7}})
    assert manifest.stat().st_mtime_ns == written


def test_folds_that_split_a_person_leave_the_manifest_as_it_was(manifest):
    before = bytes_of(manifest)
    with pytest.raises(ManifestError, match="a subject belongs to one fold"):
        files.write_column(manifest, "fold", [row % 2 + 1 for row in range(2300)], {})
    assert bytes_of(manifest) == before


# --- parts


@pytest.fixture
def parted(manifest, make_faces, monkeypatch):
    """The same faces in parts of a thousand."""
    for module in (crops, files):
        monkeypatch.setattr(module, "PART_ROWS", 1000)
    files.write([make_faces(subject=[f"p{row % 7}" for row in range(2300)])], manifest, {})
    return manifest


def times(manifest):
    return {path.name: path.stat().st_mtime_ns for path in sorted(crops.folder(manifest).iterdir())}


def test_parts_are_read_as_one_and_those_that_do_not_change_stay(parted, make_faces):
    faces, before = make_faces(subject=[f"p{row % 7}" for row in range(2400)]), times(parted)
    assert list(before) == [f"part-{index:05d}.parquet" for index in range(3)]
    pixels = DEFAULT_CROP.decode(faces["image"])
    rows = np.array([2299, 0, 1000, 999, 1000, 57])
    np.testing.assert_array_equal(files.read_images(parted, rows), pixels[rows])
    files.write([faces], parted, {})  # a hundred more: the last part
    assert [name for name, time in times(parted).items() if time != before[name]] == ["part-00002.parquet"]
    assert files.read(parted, images=True).equals(faces)
    files.write([faces.slice(0, 900)], parted, {})
    assert list(times(parted)) == ["part-00000.parquet"] and len(files.read(parted, images=True)) == 900


def test_faces_of_a_preparation_that_is_killed_are_never_half_there(parted, make_faces, monkeypatch):
    """Before the rows are written all is as it was; after that, the next preparation finishes it."""
    before, faces = bytes_of(parted), make_faces(subject=["p"] * 1200)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "atomic_parquet", killed)
        with pytest.raises(KeyboardInterrupt):
            files.write([faces], parted, {})
    assert files.read(parted, images=True).num_rows == 2300
    assert len(pd.read_parquet(crops.folder(parted))) == 2300  # what waits is hidden
    crops.settle(parted)
    assert bytes_of(parted) == before
    with monkeypatch.context() as patch:
        patch.setattr(crops, "settle", killed)
        with pytest.raises(KeyboardInterrupt):
            files.write([faces], parted, {})
    with pytest.raises(ManifestError, match="part-00001.parquet .*has other bytes: .*fertools prepare set$"):
        files.read(parted, images=True)
    crops.settle(parted)
    assert files.read(parted, images=True).equals(faces)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda parts: parts[0].unlink(), "part-00000.parquet is not there, or has other bytes"),
        (
            lambda parts: parts[0].write_bytes(parts[0].read_bytes()[:-9]),
            "part-00000.parquet is not there, or has other",
        ),
        (lambda parts: shutil.copy(parts[1], parts[0]), "part-00000.parquet is not there, or has other bytes"),
    ],
    ids=["gone", "cut short", "another"],
)
def test_crops_that_are_not_those_of_the_rows_are_refused(spoil, words, parted):
    spoil(sorted(crops.folder(parted).iterdir()))
    with pytest.raises(ManifestError, match=f"{words}.*fertools prepare set$"):
        files.read_images(parted, np.array([5]))


def test_a_bit_of_a_footer_of_crops_is_noticed(parted):
    part = sorted(crops.folder(parted).iterdir())[0]
    data = bytearray(part.read_bytes())
    data[-100] ^= 1  # of the footer, which no checksum of pages covers
    part.write_bytes(data)
    with pytest.raises(ManifestError, match="part-00000.parquet is not there, or has other bytes"):
        files.read_images(parted, np.array([5]))


@pytest.mark.parametrize("lengths", [(1, -1), (-1, 0), (0, 7)])
def test_images_whose_lengths_shift_others_are_refused(lengths, make_faces, tmp_path, monkeypatch):
    """Of two that are a byte too long and too short, the sum is right: every face behind would be another's."""
    faces, path = make_faces(subject=["p"] * 4), tmp_path / "set.parquet"
    files.write([faces], path, {})
    images = faces["image"].to_pylist()
    for row, more in zip((1, 2), lengths, strict=True):
        images[row]["bytes"] = images[row]["bytes"][:more] if more < 0 else images[row]["bytes"] + bytes(more)
    part = crops.folder(path) / "part-00000.parquet"
    with crops.open_writer(part, schema.CROPS, {}) as writer:
        writer.write_table(pa.table([faces["face_id"], pa.array(images, schema.IMAGE)], schema=schema.CROPS))
    monkeypatch.setattr(crops, "is_unchanged", lambda *_: True)  # were its hash recorded
    with pytest.raises(ManifestError, match=r"from row 0: image \d has \d+ bytes, grey crops .* have 20751"):
        files.read_images(path, np.arange(4))


def test_bytes_that_changed_are_noticed_where_all_are_hashed(parted):
    crops.sha256(parted)
    part = crops.folder(parted) / "part-00001.parquet"
    data = bytearray(part.read_bytes())
    data[5_000_000] ^= 1
    part.write_bytes(data)
    with pytest.raises(ManifestError, match="part-00001.parquet is not there, or has other bytes"):
        crops.sha256(parted)


# --- refusals


def test_a_failed_write_leaves_the_old_file_and_no_rest(make_faces, manifest):
    before = bytes_of(manifest)
    with pytest.raises(ManifestError, match="stands twice"):
        files.write([make_faces(face_id=["x"]), make_faces(face_id=["x"])], manifest, {})
    crops.settle(manifest)
    assert bytes_of(manifest) == before
    assert sorted(path.name for path in manifest.parent.iterdir()) == ["set.faces", "set.parquet"]


def test_a_file_cut_short_is_refused(manifest):
    manifest.write_bytes(manifest.read_bytes()[:5000])
    with pytest.raises(ManifestError, match="not a complete Parquet file"):
        files.read(manifest)


def test_another_version_is_refused(manifest):
    table = pq.read_table(manifest).replace_schema_metadata({"manifest_version": "2"})
    pq.write_table(table, manifest)
    with pytest.raises(ManifestError, match="version 2, this code reads 3; .*fertools prepare set --overwrite"):
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
