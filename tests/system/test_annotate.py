from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from trainer.inference.annotate import COLOURS, Mark, draw, place
from trainer.inference.annotated_files import Album, AnnotationError, album

GREY = 96


def canvas(width, height):
    return np.full((height, width, 3), GREY, np.uint8)


def mark(box, expression="anger", probability=0.5):
    return Mark([float(edge) for edge in box], expression, probability)


def extent(changed):
    rows, columns = np.nonzero(changed)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("side", [48, 64, 200, 1000, 6000])
def test_a_label_is_as_large_as_a_reader_needs_and_lies_on_the_picture(side):
    box = (side * 0.3, side * 0.4, side * 0.6, side * 0.8)
    seen = draw(canvas(side, side), [mark(box, "happiness")])
    ground = (seen == ImageColor.getrgb(COLOURS["happiness"])).all(-1)
    label = ground[: int(side * 0.4) - 2] if side > 64 else ground  # above the box
    assert label.any(1).sum() >= max(9, side / 70)
    assert (seen != GREY).any(-1)[:, -1].sum() == 0 or side < 100


def luminance(colour):
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("expression", COLOURS)
def test_letters_stand_out_from_their_ground(expression):
    """By the contrast of WCAG 2.2, which asks for 4.5."""
    seen = draw(canvas(900, 900), [mark((300, 300, 700, 800), expression)])
    ground = luminance(COLOURS[expression])
    above = seen[:290]  # the label: its ground, and letters of one ink
    ink = max((0.0, 1.0), key=lambda level: (above == 255 * level).all(-1).sum())
    light, dark = max(ground, ink), min(ground, ink)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_nothing_changes_far_from_a_box():
    seen = draw(canvas(640, 480), [mark((300, 200, 400, 320), "anger")])
    left, top, right, bottom = extent((seen != GREY).any(-1))
    assert left >= 290 and right <= 420 and top >= 170 and bottom <= 323
    assert (seen[210:310, 310:390] == GREY).all()  # the face itself is left as it is


def test_a_picture_without_faces_is_left_as_it_is():
    assert np.array_equal(draw(canvas(50, 40), []), canvas(50, 40))


@pytest.mark.parametrize("box", [(-40, -30, 20, 25), (600, 440, 700, 600), (-10, -10, 900, 900), (700, 700, 900, 900)])
def test_a_box_that_leaves_the_picture_is_drawn_at_its_edge(box):
    seen = draw(canvas(640, 480), [mark(box, "fear")])
    assert seen.shape == (480, 640, 3) and (seen != GREY).any()


@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.integers(1, 60)),
        min_size=1,
        max_size=5,
    ),
    size=st.tuples(st.integers(1, 90), st.integers(1, 30)),
)
def test_a_label_lies_on_the_picture(boxes, size):
    taken = [(x, y, min(x + width, 99), min(y + height, 99)) for x, y, width, height in boxes]
    (left, top, right, bottom), _ = place(taken[0], size, (100, 100), taken)
    assert left >= 0 and right <= 99 and top >= 0 and bottom <= 99
    assert (right - left, bottom - top) == size


def test_labels_of_neighbours_do_not_lie_on_each_other_or_on_faces():
    faces = [(20 + 60 * number, 100, 60 + 60 * number, 150) for number in range(4)]
    taken = list(faces)
    for face in faces:
        spot, hidden = place(face, (90, 14), (300, 250), taken)
        assert hidden == 0
        taken.append(spot)
    for place_, one in enumerate(taken):
        for other in taken[place_ + 1 :]:
            assert not (one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3])


def test_a_picture_is_written_in_the_form_that_its_name_tells(tmp_path):
    with album(tmp_path) as pictures:
        for name in ("a.jpg", "b/c.PNG", "d.bmp", "e"):
            pictures.write_image(Path(name), canvas(20, 10))
    forms = {}
    for path in tmp_path.rglob("*.*"):
        with Image.open(path) as picture:
            forms[path.name] = picture.format
    assert forms == {"a.jpg": "JPEG", "c.PNG": "PNG", "d.bmp.png": "PNG", "e.png": "PNG"}


def test_a_frame_is_shown_until_the_next_ones_time(tmp_path):
    with album(tmp_path / "x.avi") as pictures:
        for level, time in ((0, 0.0), (120, 0.3), (240, 0.4), (60, 0.41)):  # the last comes too soon to be seen
            pictures.frame(tmp_path / "x", np.full((32, 32, 3), level, np.uint8), time, 10.0)
    capture, levels = cv2.VideoCapture(str(tmp_path / "x.avi")), []
    while (found := capture.read())[0]:
        levels.append(found[1].mean())
    assert levels == pytest.approx([0, 0, 0, 120, 240], abs=3)


def test_a_video_that_breaks_off_does_not_appear(tmp_path):
    with pytest.raises(ValueError, match="broke"), album(tmp_path / "x.mp4") as pictures:
        pictures.frame(tmp_path / "x", canvas(32, 32), 0.0, 10.0)
        raise ValueError("broke")
    assert list(tmp_path.iterdir()) == []


def test_a_photograph_is_no_video_and_a_full_place_is_named(tmp_path):
    with pytest.raises(AnnotationError, match=r"x.mp4: one.jpg is a photograph; name a folder, or a .jpg"):
        Album(tmp_path / "x.mp4").write_image(Path("one.jpg"), canvas(8, 8))
    (tmp_path / "file").touch()
    with pytest.raises(AnnotationError, match="cannot be written"):
        Album(tmp_path / "file").write_image(Path("one.jpg"), canvas(8, 8))
