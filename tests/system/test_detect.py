import numpy as np
import pytest

from fertools.faces import images
from fertools.faces.detector import Detector, Face, as_stored, choose, most_frontal, upright


def face(x, y, size, score=0.99):
    return Face(np.float32([x, y, x + size, y + size]), np.zeros((5, 2), np.float32), score)


def test_the_largest_face_is_meant():
    assert choose([face(300, 200, 60), face(0, 0, 120), face(100, 100, 50)], (480, 640)).area == 120**2


def test_of_faces_about_as_large_the_most_central_is_meant():
    near, far = face(270, 190, 100), face(10, 10, 108)
    assert choose([far, near], (480, 640)) is near


@pytest.fixture(scope="module")
def detector():
    return Detector("cpu")


def test_a_drawn_face_is_found_with_its_landmarks_in_order(detector, drawn_raw):
    path = sorted((drawn_raw / "cohn-kanade-images").rglob("*.png"))[0]
    image = images.decode(path.read_bytes())
    found = choose(detector(image), image.shape)
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < nose[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert found.score > 0.9


@pytest.mark.parametrize("shape", [(490, 640, 3), (12, 12, 3), (1, 1, 3), (5, 4000, 3)])
def test_no_face_is_no_error(detector, shape):
    assert detector(np.full(shape, 90, np.uint8)) == []


def test_where_a_box_is_published_its_face_is_meant_not_the_largest():
    small, large = face(300, 200, 60), face(0, 0, 120)
    assert choose([large, small], (480, 640), (295, 190, 370, 270)) is small
    assert choose([large, small], (480, 640), (500, 400, 560, 460)) is None


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_face_found_in_a_turned_image_is_where_it_is_in_the_stored_one(turn):
    stored = np.zeros((40, 60, 3), np.uint8)
    marks = np.float32([[10, 5], [20, 5], [15, 12], [11, 20], [19, 20]])
    for number, (x, y) in enumerate(marks.astype(int), start=1):
        stored[y, x] = number
    turned = upright(stored, turn)
    where = np.float32([np.argwhere(turned[..., 0] == number)[0][::-1] for number in range(1, 6)])
    low, high = where.min(0), where.max(0)
    back = as_stored(Face(np.concatenate([low, high]), where, 1.0), turn, stored.shape)
    assert back.landmarks.tolist() == marks.tolist() and back.box.tolist() == [10, 5, 20, 20]


def test_a_turn_is_clockwise():
    corner = np.zeros((2, 3, 3), np.uint8)
    corner[0, 0] = 1
    assert upright(corner, 1)[0, 1].all()


def test_beside_a_profile_the_face_that_looks_at_the_camera_is_meant():
    frontal, profile = face(0, 0, 100), face(200, 0, 120)
    frontal.landmarks[:3] = [[30, 40], [70, 40], [51, 60]]
    profile.landmarks[:3] = [[240, 40], [280, 40], [290, 60]]
    assert most_frontal([profile, frontal]) is frontal
    frontal_but_small = Face(np.float32([0, 0, 20, 20]), frontal.landmarks, 0.99)
    assert most_frontal([profile, frontal_but_small]) is profile
