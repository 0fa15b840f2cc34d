import cv2
import numpy as np
import pytest

from fertools.drawn.face.expressions import sample_peak
from fertools.drawn.face.factors import sample_identity, sample_nuisance
from fertools.drawn.face.render import landmarks, render
from fertools.faces import align, near_copies

PEOPLE, SHOTS = 8, 3


def shoot(person, shot):
    """A photograph of a drawn person, and where its landmarks are."""
    identity = sample_identity(np.random.default_rng([5, person]))
    rng = np.random.default_rng([6, person, shot])
    nuisance, (action, _) = sample_nuisance(rng), sample_peak("happiness" if shot else None, rng)
    picture = np.ascontiguousarray(render(identity, action, nuisance, 240, 320, rng))
    return picture, landmarks(identity, action, nuisance, 240, 320)


def cut(picture, points, rng):
    """Its stored crop, by landmarks that are as wrong as a detector's."""
    points = points + rng.normal(0, 0.02 * np.linalg.norm(points[1] - points[0]), points.shape)
    return align.crop(picture, align.crop_matrix(points))


def jpeg(picture):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)


def mirrored(points, width):
    return np.stack([width - 1 - points[:, 0], points[:, 1]], 1)[[1, 0, 2, 4, 3]]


@pytest.fixture(scope="module")
def photographs():
    return [shoot(person, shot) for person in range(PEOPLE) for shot in range(SHOTS)]


@pytest.fixture(scope="module")
def pictures(photographs):
    rng = np.random.default_rng(0)
    return near_copies.thumbnails(np.stack([cut(*photograph, rng) for photograph in photographs]))


def pairs(pictures, recordings=None):
    unknown = np.full(len(pictures), -1)
    found = near_copies.near_copies(pictures, unknown if recordings is None else recordings)
    return set(zip(found.left.tolist(), found.right.tolist(), strict=True))


CHANGES = {
    "saved again": lambda picture, points: (jpeg(picture), points),
    "mirrored": lambda picture, points: (np.ascontiguousarray(picture[:, ::-1]), mirrored(points, 320)),
    "brightened": lambda picture, points: (np.clip(picture * 1.15 + 12, 0, 255).astype(np.uint8), points),
    "cut": lambda picture, points: (np.ascontiguousarray(picture[8:, 12:-10]), points - (12, 8)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(photographs, pictures, change):
    rng = np.random.default_rng(1)
    copies = near_copies.thumbnails(np.stack([cut(*change(*photograph), rng) for photograph in photographs]))
    num = len(pictures)
    found = pairs(np.concatenate([pictures, copies]))
    true = {(row, row + num) for row in range(num)}
    assert len(found & true) >= num - 1 and not found - true  # other photographs of one person are no copies


def test_a_mirror_image_turns_the_bits_of_odd_waves_and_no_others(pictures):
    turned = near_copies.hashes(pictures) ^ near_copies.hashes(np.ascontiguousarray(pictures[:, :, ::-1]))
    assert set(np.bitwise_count(turned).tolist()) == {int(near_copies.ODD.sum())} and len(set(turned.tolist())) == 1


def test_frames_of_one_recording_are_not_compared(pictures):
    twice = np.concatenate([pictures, pictures])
    recordings = np.r_[np.arange(len(pictures)), np.arange(len(pictures))]
    assert pairs(twice, recordings) == set()
    assert len(pairs(twice)) == len(pictures)


def test_empty_pictures_are_no_copies_of_each_other(pictures):
    flat = np.full((5, near_copies.SIDE, near_copies.SIDE), 90, np.uint8)
    assert pairs(np.concatenate([flat, pictures])) == set()
    assert pairs(flat) == set() and pairs(flat[:0]) == set()


def test_among_many_faces_fewer_bits_may_differ(pictures, monkeypatch):
    assert near_copies._reach(near_copies.hashes(pictures)) == near_copies.MAX_DISTANCE
    monkeypatch.setattr(near_copies, "MAX_CANDIDATES", 10)
    assert near_copies._reach(near_copies.hashes(pictures)) < near_copies.MAX_DISTANCE


def test_registered_pictures_correlate_whatever_moved_them():
    picture = near_copies.thumbnails(cut(*shoot(0, 0), np.random.default_rng(2))[None])[0]
    warp = np.array([[1.02, 0.03, -1.0], [-0.03, 0.99, 1.5]])
    moved = cv2.warpAffine(picture, warp, picture.shape, borderMode=cv2.BORDER_REPLICATE)
    plain = np.corrcoef(picture.ravel(), moved.ravel())[0, 1]
    assert near_copies.registered(picture, moved) > 0.99 > 0.98 > plain
    assert near_copies.registered(picture, np.zeros_like(picture)) == 0
