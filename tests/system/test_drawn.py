import csv
import hashlib
import re
import shutil
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fertools.drawn import corpus
from fertools.drawn.corpus import draw, frames, person
from fertools.drawn.face.expressions import sample_peak
from fertools.drawn.face.factors import Action, sample_identity, sample_nuisance
from fertools.drawn.face.render import landmarks, render, render_colour
from fertools.drawn.layouts.ckplus import plan
from fertools.errors import FertoolsError

SIZE = (490, 640)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    assert draw(root, num_subjects=2, workers=1) == len(list(root.rglob("*.png")))
    return root


@pytest.fixture
def scene():
    rng = np.random.default_rng(5)
    identity, nuisance = sample_identity(rng), sample_nuisance(rng)
    return identity, replace(nuisance, roll=4, yaw=-3, pitch=1, offset_x=0, offset_y=0, scale=120, glasses=0)


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def rows(root):
    with (root / "factors.csv").open() as file:
        return list(csv.DictReader(file))


def picture(identity, action, nuisance):
    return render(identity, action, nuisance, *SIZE, np.random.default_rng(0)).astype(float)


def around(image, point, radius):
    x, y = np.round(point).astype(int)
    return image[y - radius : y + radius + 1, x - radius : x + radius + 1]


def test_images_are_numbered_from_one_and_are_of_the_planned_format(drawn):
    for sequence in plan(2):
        found = sorted(path.name for path in (drawn / sequence.folder).glob("*.png"))
        stem = f"{sequence.subject}_{sequence.number:03d}"
        assert found == [f"{stem}_{number:08d}.png" for number in range(1, len(found) + 1)]
        assert 6 <= len(found) <= 9
    image = cv2.imread(str(drawn / plan(2)[0].frames[0]), cv2.IMREAD_UNCHANGED)
    assert image.shape == SIZE and image.dtype == np.uint8


def test_a_label_stands_beside_the_last_image_in_the_published_style(drawn):
    codes = {1: "anger", 2: "contempt", 3: "disgust", 4: "fear", 5: "happiness", 6: "sadness", 7: "surprise"}
    labels = {path.parent.relative_to(drawn / "Emotion"): path for path in drawn.rglob("*_emotion.txt")}
    for sequence in plan(2):
        path = labels.pop(sequence.folder.relative_to("cohn-kanade-images"), None)
        assert (path is None) == (sequence.expression is None)
        if path:
            last = max((drawn / sequence.folder).glob("*.png"))
            assert path.name == f"{last.stem}_emotion.txt"
            assert re.fullmatch(r"   [1-7]\.0000000e\+00\n", path.read_text())
            assert codes[int(float(path.read_text()))] == sequence.expression
    assert not labels


def test_an_unlabelled_sequence_has_an_empty_folder_or_none(drawn):
    unlabelled = [sequence for sequence in plan(2) if sequence.expression is None]
    folders = [drawn / "Emotion" / sequence.folder.relative_to("cohn-kanade-images") for sequence in unlabelled]
    assert all(not list(folder.iterdir()) for folder in folders if folder.exists())
    present = Counter(sequence.label_folder for sequence in plan() if sequence.expression is None)
    assert min(present.values()) > 100


def test_the_same_bytes_come_from_any_number_of_workers(drawn, tmp_path):
    draw(tmp_path / "new", num_subjects=2, workers=2)
    assert digests(tmp_path / "new") == digests(drawn)


def test_a_stopped_run_is_resumed_to_the_same_bytes(drawn, tmp_path):
    def stop(done, _total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path, num_subjects=2, workers=1, progress=stop)
    before = digests(tmp_path)
    assert 0 < len(before) < len(digests(drawn)) and before.items() <= digests(drawn).items()
    first = min(tmp_path.rglob("*.png"))
    modified = first.stat().st_mtime_ns
    (tmp_path / first.parent / ".half.png.part").write_bytes(b"\x89PNG")
    counts = []
    draw(tmp_path, num_subjects=2, workers=1, progress=lambda done, total: counts.append((done, total)))
    assert digests(tmp_path) == digests(drawn)
    assert first.stat().st_mtime_ns == modified
    assert 0 < counts[0][0] < counts[-1][0] == counts[-1][1]


def test_another_seed_draws_other_people():
    assert person(0, 0) != person(1, 0) and person(0, 0) != person(0, 1)


def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "cohn-kanade-images").mkdir()
    with pytest.raises(FertoolsError, match=r"holds 'cohn-kanade-images' and is not a drawn corpus .* an empty folder"):
        draw(tmp_path, num_subjects=2, workers=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["cohn-kanade-images"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (dict(num_subjects=2, seed=1), "with seed 0, not 1: name another folder, or delete it"),
        (dict(num_subjects=3), "with num_subjects 2, not 3"),
        (dict(num_subjects=2, dataset="oulucasia"), "with dataset ckplus, not oulucasia"),
    ],
)
def test_another_corpus_is_refused_and_left_alone(drawn, asked, words):
    before = digests(drawn)
    with pytest.raises(FertoolsError, match=words):
        draw(drawn, workers=1, **asked)
    assert digests(drawn) == before


def test_a_file_or_a_damaged_marker_is_refused(tmp_path):
    (tmp_path / "drawn.json").write_text("{")
    with pytest.raises(FertoolsError, match=r"drawn\.json is damaged"):
        draw(tmp_path, num_subjects=2, workers=1)
    with pytest.raises(FertoolsError, match="is a file: name a new or an empty folder"):
        draw(tmp_path / "drawn.json", num_subjects=2, workers=1)


def test_the_factors_of_every_image_are_written(drawn):
    table = rows(drawn)
    assert [row["path"] for row in table] == sorted(
        str(path.relative_to(drawn).as_posix()) for path in drawn.rglob("*.png")
    )
    for row in table:
        actions = [float(value) for name, value in row.items() if name.startswith("action.")]
        assert (max(actions) == 0) == (float(row["intensity"]) == 0) == (row["frame"] == "1")
    for sequence in plan(2):
        rising = [float(row["intensity"]) for row in table if row["path"].startswith(f"{sequence.folder}/")]
        assert rising == sorted(rising) and 0.55 <= rising[-1] <= 1
    people = {(row["subject"], *(row[name] for name in row if name.startswith("identity."))) for row in table}
    assert len(people) == 2


def test_who_it_is_tells_nothing_of_action_and_circumstances():
    shown = [(person(0, sequence.subject_index), frames(sequence, 0)[0][-1]) for sequence in plan()]

    def numbers(parts):
        columns = [[value for value in vars(part).values() if isinstance(value, int | float)] for part in parts]
        return np.array(columns, float)

    identity = numbers([who for who, _ in shown])
    action = numbers([frame.action for _, frame in shown])
    nuisance = numbers([frame.nuisance for _, frame in shown])
    for one, other in ((identity, action), (identity, nuisance), (action, nuisance)):
        together = np.corrcoef(one.T, other.T)[: one.shape[1], one.shape[1] :]
        assert np.abs(together).max() < 0.25  # of some thousand pairs over 593 sequences


def test_a_prototype_is_stronger_than_what_else_stirs():
    for seed in range(20):
        action, intensity = sample_peak("surprise", np.random.default_rng(seed))
        assert min(action.inner_brow_raiser, action.outer_brow_raiser, action.lips_part) > 0.6 * intensity
        assert max(action.nose_wrinkler, action.lip_pressor, action.lip_corner_puller_left) <= 0.3
        one_sided, _ = sample_peak("contempt", np.random.default_rng(seed))
        assert (one_sided.dimpler_left > 0.4) != (one_sided.dimpler_right > 0.4)


def test_a_smile_changes_the_mouth_and_not_the_hair(scene):
    identity, nuisance = scene
    smile = Action(lip_corner_puller_left=1, lip_corner_puller_right=1, lips_part=1, cheek_raiser=1)
    change = np.abs(picture(identity, smile, nuisance) - picture(identity, Action(), nuisance))
    mouth = landmarks(identity, Action(), nuisance, *SIZE)[3:].mean(0)
    hair = landmarks(identity, Action(), nuisance, *SIZE)[:2].mean(0) - (0, 1.3 * nuisance.scale)
    assert around(change, mouth, 30).mean() > 15
    assert around(change, hair, 20).mean() < 0.1


def test_corners_of_the_mouth_go_where_their_muscles_pull(scene):
    identity, nuisance = replace(scene[0], gain=1, asymmetry=0), replace(scene[1], roll=0, yaw=0)

    def corners(**action):
        return landmarks(identity, Action(**action), nuisance, *SIZE)[3:]

    rest = corners()
    left, right = corners(lip_corner_puller_left=1, lip_corner_puller_right=1) - rest
    assert left[0] < -5 and left[1] < -5 and right[0] > 5 and right[1] < -5
    left, right = corners(lip_corner_depressor_left=1, lip_corner_depressor_right=1) - rest
    assert left[1] > 5 and right[1] > 5
    left, right = corners(dimpler_left=1) - rest
    assert left[1] < -5 and np.abs(right).max() < 0.1


def test_people_differ_in_gain_and_in_their_better_side(scene):
    identity, nuisance = replace(scene[0], asymmetry=0), replace(scene[1], roll=0, yaw=0)
    smile = Action(lip_corner_puller_left=0.6, lip_corner_puller_right=0.6)

    def lift(who):
        return (landmarks(who, Action(), nuisance, *SIZE) - landmarks(who, smile, nuisance, *SIZE))[3:, 1]

    assert (lift(replace(identity, gain=1.1)) > lift(replace(identity, gain=0.8))).all()
    left, right = lift(replace(identity, asymmetry=0.2))
    assert right > left


@pytest.mark.parametrize("seed", range(4))
def test_landmarks_lie_on_what_is_drawn(seed):
    rng = np.random.default_rng(seed)
    identity, nuisance = sample_identity(rng), replace(sample_nuisance(rng), glasses=0)
    image = picture(identity, Action(), nuisance)
    points = landmarks(identity, Action(), nuisance, *SIZE)
    for pupil in points[:2]:  # the darkest spot about it
        assert around(image, pupil, 2).min() < 0.6 * np.median(around(image, pupil, 25))
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    assert nuisance.roll == pytest.approx(np.degrees(np.arctan2(*(points[1] - points[0])[::-1])), abs=1.5)
    assert np.linalg.norm(mouth - eyes) == pytest.approx(1.02 * nuisance.scale, rel=0.15)


def test_the_picture_is_its_factors_and_noise(scene):
    identity, nuisance = scene
    one, same = (render(identity, Action(), nuisance, *SIZE, np.random.default_rng(1)) for _ in range(2))
    other = render(identity, Action(), nuisance, *SIZE, np.random.default_rng(2))
    assert (one == same).all()
    difference = one.astype(float) - other
    assert difference.std() == pytest.approx(2**0.5 * nuisance.noise, rel=0.15)


def test_the_luma_of_a_colour_picture_is_the_grey_one(scene):
    identity, nuisance = scene
    still = replace(nuisance, noise=0.0)
    colour = render_colour(identity, Action(), still, *SIZE, np.random.default_rng(0))
    assert colour.shape == (*SIZE, 3) and colour.std(axis=2).mean() > 3
    assert (
        np.abs(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY).astype(float) - picture(identity, Action(), still)).mean() < 1
    )


def test_a_smaller_frame_shows_the_same_face_smaller(scene):
    identity, nuisance = scene
    large, small = (landmarks(identity, Action(), nuisance, *size) for size in (SIZE, (245, 320)))
    assert small == pytest.approx(large / 2, abs=0.1)


def test_a_corpus_from_before_there_were_two_datasets_goes_on(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    (tmp_path / "drawn.json").write_text('{"version": 1, "num_subjects": 2, "seed": 0}')
    lost = min(tmp_path.rglob("*.png"))
    lost.unlink()
    draw(tmp_path, num_subjects=2, workers=1)
    assert lost.read_bytes() == (drawn / lost.relative_to(tmp_path)).read_bytes()


def test_the_note_says_that_these_are_drawn(drawn):
    assert "not photographs" in (drawn / corpus.MARKER).read_text()
