import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from manifests import schema
from manifests.schema import DEFAULT_CROP, Crop, ManifestError


def check(faces, crop=DEFAULT_CROP):
    """Hold faces against the rules of rows and of images."""
    schema.check_rows(faces.drop_columns("image"))
    schema.check_images(faces, crop)


def test_sound_faces_pass(make_faces):
    check(make_faces(subject=["a", "b"], fold=[1, 2]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"expression": ["anger", "joy"]}, "'set/1' has an unknown expression"),
        ({"face_id": ["x", "x"]}, "face_id 'x' stands twice"),
        ({"image": [None, None]}, "is usable without an image of 20751 bytes; 2 faces"),
        ({"image": [{"bytes": b"P5 1 1 255\n0", "path": ""}] * 2}, "is usable without an image"),
        ({"usable": [False, True]}, "'set/0' is not usable and gives no reason"),
        ({"subject": ["a", "a"], "fold": [1, 2]}, "subject 'a' is in folds 1 and 2"),
    ],
)
def test_each_broken_rule_is_refused(make_faces, columns, message):
    with pytest.raises(ManifestError, match=message):
        check(make_faces(**columns))


def test_a_face_of_no_expression_is_allowed(make_faces):
    check(make_faces(expression=["anger", None]))


def test_other_columns_are_refused(make_faces):
    with pytest.raises(ManifestError, match="are not"):
        check(make_faces(subject=["a"]).drop_columns("fold"))


def pairs(*rows):
    return pa.Table.from_pylist(
        [dict(zip(("fold", "epoch", "anchor", "partner"), row, strict=True)) for row in rows], schema=schema.PAIRS
    )


@pytest.fixture
def faces(make_faces):
    """Ten people in five folds; rows 0 to 9 anger, 10 and 11 fear; 12 is the third picture of person 0."""
    return make_faces(
        subject=[f"p{person}" for person in (*range(10), 0, 1, 0)],
        expression=["anger"] * 10 + ["fear"] * 2 + ["anger"],
        sequence=[f"s{row}" for row in range(12)] + ["s0"],
        fold=[person % 5 + 1 for person in (*range(10), 0, 1, 0)],
        usable=[row != 8 for row in range(13)],
        reason=[None if row != 8 else "no face found" for row in range(13)],
    )


def test_sound_pairs_pass(faces):
    schema.check_pairs(pairs((5, 0, 1, 2), (3, 1, 0, 1), (4, 0, 0, 1)), faces)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((5, 0, 1, 10), "set/1 and set/10, joins two expressions"),
        ((4, 0, 0, 12), "joins one person"),
        ((4, 0, 5, 5), "joins one person"),
        ((2, 0, 1, 5), "pair 0 of fold 2, set/1 and set/5, leaves the training part"),
        ((1, 0, 1, 3), "leaves the training part"),  # fold 2 validates
        ((5, 0, 5, 1), "leaves the training part"),  # fold 1 validates where 5 tests
        ((5, 0, 1, 0), "leaves the training part"),
        ((1, 0, 8, 3), "not usable"),
    ],
)
def test_each_broken_pair_is_refused(faces, pair, message):
    with pytest.raises(ManifestError, match=message):
        schema.check_pairs(pairs(pair), faces)


def test_parts_are_disjoint_and_leave_no_usable_face_out(faces):
    for fold in range(1, 6):
        parts = schema.parts(faces, fold)
        assert sorted(np.concatenate(list(parts.values()))) == [row for row in range(13) if row != 8]
        people = [set(np.array(faces["subject"])[rows]) for rows in parts.values()]
        assert people[0] | people[1] | people[2] == {f"p{person}" for person in range(10)} - {"p8"}
        assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])


@pytest.mark.parametrize("fold", [0, 6])
def test_an_unknown_fold_names_the_known_ones(faces, fold):
    with pytest.raises(ManifestError, match=f"no fold {fold}; known folds: 1 to 5"):
        schema.parts(faces, fold)


def test_a_manifest_without_folds_says_how_to_make_them(make_faces):
    with pytest.raises(ManifestError, match="fertools make-folds"):
        schema.parts(make_faces(subject=["a"]), 1)


# --- crops


@pytest.mark.parametrize(
    ("crop", "face", "stored", "margin", "header", "num_bytes"),
    [
        (DEFAULT_CROP, 112, 144, 16, b"P5 144 144 255\n", 20751),  # as it was before there were others
        (Crop(256, "eyes-nose", "rgb"), 224, 288, 32, b"P6 288 288 255\n", 248847),
    ],
)
def test_a_crop_is_what_papers_count_with_a_margin(crop, face, stored, margin, header, num_bytes):
    assert (crop.face, crop.stored, crop.margin, crop.header) == (face, stored, margin, header)
    assert crop.num_bytes == num_bytes and crop.shape[:2] == (stored, stored) and stored - face == 2 * margin


def test_a_manifest_that_does_not_say_has_the_crop_from_before_there_were_others():
    assert schema.crop_of({"summary": {}}) == Crop(128, "five-points", "grey")
    assert schema.crop_of({"crop": {"size": 256, "align": "eyes-nose", "color": "rgb"}}).color == "rgb"


@pytest.mark.parametrize(
    ("crop", "words"),
    [
        ({"size": 200}, "no crop of size 200; known: 128, 256"),
        ({"align": "ears"}, "no crop of align 'ears'; known: five-points, eyes-nose"),
        ({"color": "bgr"}, "no crop of color 'bgr'; known: grey, rgb"),
    ],
)
def test_an_unknown_crop_names_the_known_ones(crop, words):
    with pytest.raises(ManifestError, match=words):
        schema.crop_of({"crop": crop})


def test_images_of_another_crop_than_the_manifests_are_refused(make_faces):
    large = Crop(256)
    check(make_faces(large, subject=["a"]), large)
    with pytest.raises(ManifestError, match="is usable without an image of 82959 bytes"):
        check(make_faces(subject=["a"]), large)


def test_the_grey_of_a_colour_is_its_luma_and_of_a_grey_itself():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 288, 288, 3), dtype=np.uint8)
    theirs = [np.asarray(Image.fromarray(picture).convert("L"), int) for picture in pixels]
    assert np.abs(Crop(256).resample(pixels) - np.array(theirs)).max() <= 1
    grey = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None, None], (1, 256, 288, 3))[:, :, :256]
    np.testing.assert_array_equal(Crop(256).resample(grey), grey[..., 0])


def test_a_smaller_crop_is_the_mean_of_what_its_pixels_cover():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 288, 288, 3), dtype=np.uint8)
    pixels[:, :2, :2] = 255  # whose sum is more than a byte
    means = pixels.reshape(2, 144, 2, 144, 2, 3).mean((2, 4))
    assert np.abs(Crop(128, color="rgb").resample(pixels) - means).max() <= 0.5
    assert Crop(128, color="rgb").resample(pixels)[0, 0, 0].tolist() == [255] * 3
    assert Crop(256, color="rgb").resample(pixels) is pixels
