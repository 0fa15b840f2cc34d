import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertools.faces import align
from fertools.faces.align import TEMPLATE, AlignmentError, crop, crop_matrix, similarity
from manifests.schema import DEFAULT_CROP, Crop

LARGE = Crop(256, "eyes-nose", "rgb")


@given(angle=st.floats(-3, 3), scale=st.floats(0.1, 10), shift=st.floats(-500, 500))
def test_similarity_undoes_any_similarity(angle, scale, shift):
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = TEMPLATE @ rotation.T * scale + shift
    matrix = similarity(landmarks, TEMPLATE)
    np.testing.assert_allclose(landmarks @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-6)


def test_similarity_never_mirrors():
    assert np.linalg.det(similarity(TEMPLATE * [-1, 1], TEMPLATE)[:, :2]) > 0


def test_similarity_agrees_with_opencv():
    landmarks = TEMPLATE * 2.3 + np.random.default_rng(0).normal(0, 0.5, (5, 2))
    # its estimator is robust; with a threshold that keeps every point it is the same least-squares problem
    theirs, _ = cv2.estimateAffinePartial2D(landmarks, TEMPLATE, ransacReprojThreshold=100)
    np.testing.assert_allclose(similarity(landmarks, TEMPLATE), theirs, atol=2e-2)


@pytest.mark.parametrize("landmarks", [np.ones((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), np.inf)])
def test_landmarks_that_define_no_face_are_refused(landmarks):
    with pytest.raises(AlignmentError, match="coincide|not a number"):
        crop_matrix(landmarks)


def test_the_stored_crop_has_a_face_with_a_margin_of_16():
    matrix = crop_matrix(TEMPLATE)
    np.testing.assert_allclose(matrix, [[1, 0, 16], [0, 1, 16]], atol=1e-9)


def test_a_crop_at_its_own_size_is_a_copy():
    image = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    matrix = np.array([[1.0, 0, -40], [0, 1, -30]])
    np.testing.assert_array_equal(crop(image, matrix), image[30:174, 40:184])


@pytest.mark.parametrize("shrink", [2, 3, 4])
def test_shrinking_by_a_whole_number_is_the_mean_of_what_it_covers(shrink):
    image = np.random.default_rng(0).integers(0, 256, (144 * shrink, 144 * shrink), dtype=np.uint8)
    matrix = np.array([[1 / shrink, 0, -(shrink - 1) / 2 / shrink], [0, 1 / shrink, -(shrink - 1) / 2 / shrink]])
    means = image.reshape(144, shrink, 144, shrink).mean((1, 3))
    np.testing.assert_allclose(crop(image, matrix), means, atol=1)


def test_a_shrinking_crop_errs_a_third_of_a_bilinear_one_at_most():
    generator = np.random.default_rng(0)
    image = cv2.GaussianBlur(generator.integers(0, 256, (700, 700), dtype=np.uint8), (3, 3), 0)
    angle, scale = 0.1, 1 / 2.7
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle), 60], [np.sin(angle), np.cos(angle), -60.0]])
    offsets = (np.arange(8) + 0.5) / 8 - 0.5  # 64 samples of the source's bilinear surface in each crop pixel
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    reference = np.zeros((144, 144))
    for dy in offsets:
        for dx in offsets:
            x, y = np.meshgrid(np.arange(144) + dx, np.arange(144) + dy)
            source = np.stack([x, y, np.ones_like(x)], -1) @ inverse.T
            planes = source[..., 0].astype(np.float32), source[..., 1].astype(np.float32)
            reference += cv2.remap(image.astype(np.float32), *planes, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    reference /= 64
    plain = cv2.warpAffine(image, matrix, (144, 144), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(crop(image, matrix) - reference).mean() < np.abs(plain - reference).mean() / 3


# --- other crops


def photograph(generator, scale=3.1, angle=0.2):
    """A smooth picture in colour and the landmarks of a turned face in it, whose mouth is not where others' are."""
    noise = generator.integers(0, 256, (700, 700, 3), dtype=np.uint8)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 12), None, 0, 255, cv2.NORM_MINMAX)
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    face = TEMPLATE.copy()
    face[3:] += [3, 9]
    return image, (face - 56) @ rotation.T + [350, 345]


def test_eyes_and_nose_land_on_the_template_whatever_the_mouth_does():
    image, landmarks = photograph(np.random.default_rng(0))
    for place in landmarks[:3].round().astype(int):
        cv2.circle(image, place.tolist(), 26, (0, 0, 0), -1)
        cv2.circle(image, place.tolist(), 6, (255, 255, 255), -1)
    seen = crop(image, crop_matrix(landmarks.round(), LARGE), LARGE).min(2)
    for x, y in TEMPLATE[:3] * 2 + 0.5 + 32:
        top, left = round(y) - 8, round(x) - 8
        window = np.where(seen[top : top + 17, left : left + 17] > 128, 1.0, 0)
        rows, columns = np.indices(window.shape)
        centre = np.array([(columns * window).sum(), (rows * window).sum()]) / window.sum() + [left, top]
        assert np.abs(centre - [x, y]).max() < 1


def test_five_points_weigh_the_mouth_and_eyes_and_nose_do_not():
    _, landmarks = photograph(np.random.default_rng(0))
    smiling = landmarks.copy()
    smiling[3:] += [[-20, -30], [20, -30]]
    for kind, same in (("five-points", False), ("eyes-nose", True)):
        matrices = [crop_matrix(points, Crop(256, kind)) for points in (landmarks, smiling)]
        assert np.allclose(*matrices) == same


@pytest.mark.parametrize("kind", ["five-points", "eyes-nose"])
def test_a_large_crop_reduced_is_the_small_one(kind):
    image, landmarks = photograph(np.random.default_rng(1))
    small, large = (Crop(size, kind, "rgb") for size in (128, 256))
    found = small.resample(crop(image, crop_matrix(landmarks, large), large)[None])[0]
    expected = crop(image, crop_matrix(landmarks, small), small)
    assert np.abs(found.astype(int) - expected).max() <= 3 and expected.std() > 20


def test_colours_are_aligned_as_greys_each_on_its_own():
    image, landmarks = photograph(np.random.default_rng(2))
    matrix = crop_matrix(landmarks, LARGE)
    for channel in range(3):
        alone = crop(np.ascontiguousarray(image[..., channel]), matrix, Crop(256))
        np.testing.assert_array_equal(crop(image, matrix, LARGE)[..., channel], alone)


@pytest.mark.parametrize("wanted", [DEFAULT_CROP, LARGE])
def test_a_huge_face_is_not_warped_larger_than_a_bound(wanted, monkeypatch):
    sides, warp = [], cv2.warpAffine

    def watched(image, matrix, size, **options):
        sides.extend(size)
        return warp(image, matrix, size, **options)

    monkeypatch.setattr(align.cv2, "warpAffine", watched)
    found = crop(np.zeros((500, 500), np.uint8), np.array([[0.01, 0, 0], [0, 0.01, 0]]), wanted)
    assert found.shape == (wanted.stored, wanted.stored) and max(sides) <= align.MAX_FACTOR * wanted.stored


@pytest.mark.parametrize("shrink", [7.0, 25.0])
def test_a_face_that_shrinks_a_lot_is_the_mean_of_its_pixels(shrink):
    """Which no warp of a bounded size would be: stripes a pixel wide become even grey, a ramp stays one."""
    image = np.zeros((2000, 2000), np.uint8)
    image[:, ::2] = 200
    matrix = np.array([[1 / shrink, 0, 0], [0, 1 / shrink, 0.0]])
    inner = slice(0, int(1990 / shrink) if shrink > 14 else 144)
    assert np.abs(crop(image, matrix)[:, inner].astype(int) - 100).max() <= 100 / shrink
    ramp = np.tile((np.arange(2000) // 8).astype(np.uint8), (2000, 1))
    expected = (np.arange(144) * shrink / 8)[None, inner]
    assert np.abs(crop(ramp, matrix)[:80, inner] - expected).max() <= 1.5


def test_what_lies_outside_repeats_the_edge_in_every_part_of_the_image():
    """A crop is cut from the part of the image that it shows, which must change nothing."""
    image = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    for corner in ([-40, -30], [60, 50], [-40, 50], [500, 500]):
        matrix = np.array([[1.0, 0, -corner[0]], [0, 1, -corner[1]]])
        rows, columns = (
            np.clip(np.arange(144) + start, 0, most) for start, most in zip(corner[::-1], (89, 119), strict=True)
        )
        np.testing.assert_array_equal(crop(image, matrix), image[np.ix_(rows, columns)])
