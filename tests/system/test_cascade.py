import subprocess
import sys
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from facenet_pytorch.models.utils.detect_face import imresample
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import nms as torchvision_nms

from fertools.drawn import corpus
from fertools.drawn.face.factors import sample_nuisance
from fertools.drawn.face.render import render, render_colour
from fertools.drawn.layouts.ckplus import plan
from fertools.errors import FertoolsError
from fertools.faces import align, cascade
from fertools.faces import detector as detector_module
from fertools.faces import nms as nms_module
from fertools.faces.cascade import Cascade, suppress, suppress_contained
from fertools.faces.detector import (
    CASCADE,
    FACTOR,
    MIN_FACE,
    MIN_SCORE,
    DetectionError,
    Detector,
    overlap,
    pick_detector_device,
    provenance,
    weight_files,
)
from fertools.faces.mtcnn import Sums, _load, _o_net, _p_net, _r_net, accumulate, levels, place
from fertools.faces.nms import nms


def portrait(number, height, width, *, colour, scale=1.0):
    rng = np.random.default_rng(number)
    nuisance = sample_nuisance(rng)
    nuisance = replace(nuisance, scale=scale * nuisance.scale)
    draw = render_colour if colour else render
    action = corpus.frames(plan(num_subjects=2)[0], 0)[0][0].action
    picture = draw(corpus.person(0, number), action, nuisance, height, width, rng)
    return picture if colour else np.repeat(picture[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def pictures():
    """Grey and coloured, a small face beside a large one, none, noise, a picture smaller than any face."""
    beside = np.full((300, 520, 3), 120, np.uint8)
    beside[:, :300] = portrait(5, 300, 300, colour=True)
    beside[100:190, 400:490] = portrait(6, 90, 90, colour=True)
    return [
        portrait(1, 490, 640, colour=False),
        portrait(2, 240, 320, colour=True),
        beside,
        np.full((200, 301, 3), 90, np.uint8),
        np.random.default_rng(0).integers(0, 256, (160, 161, 3), dtype=np.uint8),
        np.zeros((12, 12, 3), np.uint8),
        portrait(3, 361, 299, colour=True, scale=1.4),
        portrait(4, 640, 480, colour=True, scale=0.4),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((20, 900, 3), np.uint8),
    ]


@pytest.fixture(scope="module")
def detector():
    return Detector("cpu")


@pytest.fixture(scope="module")
def found(detector, pictures):
    return detector.batch(pictures)


def same(faces, others):
    return len(faces) == len(others) and all(
        np.array_equal(a.box, b.box) and np.array_equal(a.landmarks, b.landmarks) and a.score == b.score
        for a, b in zip(faces, others, strict=True)
    )


def assert_close(faces, others):
    """Faces found with another order of sums: not the same bits."""
    assert len(faces) == len(others)
    for face, other in zip(faces, others, strict=True):
        assert overlap(face.box, other.box) > 0.999 and np.abs(face.landmarks - other.landmarks).max() < 0.01


def assert_as_theirs(faces, boxes, scores, marks, *, shared=0.999, moved=0.01):
    """Compare faces with facenet-pytorch's: overlap of the boxes, landmarks in pixels of the stored crop."""
    expected = [] if boxes is None else [face for face in zip(boxes, scores, marks, strict=True)]
    expected = sorted((face for face in expected if face[1] >= MIN_SCORE), key=lambda face: -face[1])
    assert len(faces) == len(expected)
    for face, (box, score, points) in zip(faces, expected, strict=True):
        assert overlap(face.box, np.asarray(box, float)) > shared
        assert face.score == pytest.approx(score, abs=moved / 1000)
        matrix = align.crop_matrix(face.landmarks)
        assert np.abs((face.landmarks - np.asarray(points, np.float64)) @ matrix[:, :2].T).max() < moved


def test_it_finds_what_facenet_pytorch_finds(pictures, found):
    reference = MTCNN(min_face_size=MIN_FACE, factor=FACTOR, keep_all=True)
    for picture, faces in zip(pictures, found, strict=True):
        large = min(picture.shape[:2]) >= MIN_FACE
        assert_as_theirs(faces, *(reference.detect(picture, landmarks=True) if large else (None, [], [])))
    assert sum(map(len, found)) >= 6


def test_what_else_is_in_a_batch_changes_nothing(detector, pictures, found):
    alone = [detector(picture) for picture in pictures]
    backwards = detector.batch(pictures[::-1])[::-1]
    assert all(map(same, found, alone)) and all(map(same, found, backwards))
    assert detector.batch([]) == []


def test_batches_that_do_not_fit_together_are_taken_apart(detector, pictures, found, monkeypatch):
    monkeypatch.setitem(cascade.SIZE, "cpu", 400_000)
    assert all(map(same, found, detector.batch(pictures)))


def test_a_gpus_canvases_and_batches_find_the_same(detector, pictures, found, monkeypatch):
    for sizes in (cascade.SIDE, cascade.SIZE, cascade.CROPS, cascade.TOGETHER):
        monkeypatch.setitem(sizes, "cpu", sizes["cuda"])
    for faces, others in zip(found, detector.batch(pictures), strict=True):
        assert_close(faces, others)


def test_sums_added_up_on_a_gpu_are_opencvs():
    for shape in ((37, 50, 1), (21, 4, 3)):
        picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        sums = Sums([picture], torch.empty(Sums.room([picture]), dtype=torch.int32)).of(0)
        accumulate(torch.from_numpy(picture), into := torch.empty_like(sums))
        assert torch.equal(into, sums)


def test_the_early_stop_finds_the_largest_faces_as_the_whole_pyramid_does(detector, pictures, found):
    early = detector.batch(pictures, only_largest=True)
    assert len(found[2]) == 2 and len(early[2]) == 1
    for faces, few in zip(found, early, strict=True):
        largest = max((face.area for face in faces), default=0)
        wanted = [face for face in faces if face.area >= largest / 2]
        assert [face.score for face in few] == pytest.approx([face.score for face in wanted], abs=1e-5)
        for face, other in zip(few, wanted, strict=True):
            assert np.abs(face.landmarks - other.landmarks).max() < 0.01


def test_only_faces_below_the_least_share_are_missed(pictures, found):
    (large,) = Detector("cpu", min_share=0.3).batch(pictures[2:3])[0]
    assert overlap(large.box, max(found[2], key=lambda face: face.area).box) > 0.999
    assert provenance(0.3) != provenance() and provenance()["cascade"] == CASCADE


def test_a_grey_picture_in_three_channels_is_looked_at_in_one(pictures):
    tinted = pictures[0].copy()
    tinted[0, 0, 0] ^= 1  # no longer grey: the coloured networks must say the same
    grey, coloured = Cascade("cpu", weight_files(), MIN_FACE, FACTOR)([pictures[0], tinted], sure=MIN_SCORE)
    assert np.abs(grey.landmarks - coloured.landmarks).max() < 0.01


@pytest.mark.parametrize("side", [64, 256])
def test_levels_lie_on_canvases_without_overlap_and_every_window_is_on_one(side):
    wanted = levels(490, 640, 20, 0.709) + levels(37, 210, 20, 0.709)
    taken, windows = set(), [set() for _ in wanted]
    for tile in place(wanted, side):
        assert tile.y + tile.height <= side and (tile.x + tile.width <= side or tile.x == tile.y == 0)
        assert not (tile.y % 2 or tile.x % 2 or tile.top % 2)
        spots = {(tile.canvas, y, x) for y in range(tile.y, tile.y + tile.height) for x in (tile.x, tile.x + 11)}
        assert not spots & taken
        taken |= spots
        windows[tile.source] |= {
            (tile.top + y, x) for y in range(0, tile.height - 11, 2) for x in range(0, tile.width - 11, 2)
        }
    for level, seen in zip(wanted, windows, strict=True):
        assert seen == {(y, x) for y in range(0, level.height - 11, 2) for x in range(0, level.width - 11, 2)}


def test_the_pyramid_is_facenet_pytorchs():
    picture = portrait(1, 123, 217, colour=True)
    sums = Sums([picture], torch.empty(Sums.room([picture]), dtype=torch.int32))
    for level in levels(*picture.shape[:2], 20, 0.709):
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        expected = (imresample(pixels, (level.height, level.width)) - 127.5) * 0.0078125
        assert torch.equal(sums.level(0, level).permute(2, 0, 1), expected[0])


@given(st.integers(0, 2**32 - 1), st.integers(0, 200), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]), st.booleans())
def test_nms_is_torchvisions(seed, num, threshold, whole_pixels):
    """Of ties too: equally sure boxes, equal boxes, boxes without area, boxes that share just the threshold."""
    generator = torch.Generator().manual_seed(seed)
    corner, size = (scale * torch.rand(num, 2, generator=generator) for scale in (60, 30))
    boxes, scores = torch.cat([corner, corner + size], 1), torch.rand(num, generator=generator).round(decimals=1)
    boxes = boxes.round() if whole_pixels else boxes
    for dtype in (torch.float32, torch.float64):
        arguments = boxes.to(dtype), scores.to(dtype), threshold
        assert torch.equal(nms(*arguments), torchvision_nms(*arguments))


def test_the_networks_are_facenet_pytorchs_to_the_bit():
    nets = zip((_p_net(), _r_net(), _o_net()), weight_files(), (PNet(), RNet(), ONet()), strict=True)
    for layers, path, theirs in nets:
        found, expected = _load(layers, path, torch.device("cpu"), 3).state_dict(), theirs.state_dict()
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_weights_are_those_that_manifests_name():
    assert provenance()["weights_sha256"] == "743721dfef3c9612636462a252c4e3d23c1fab4031274a9692fe3c587dbf1fe5"


def test_weights_that_are_not_there_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(detector_module, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    with pytest.raises(DetectionError, match=r"no .*pnet.pt or .*rnet.pt or .*onet.pt; install facenet-pytorch again"):
        weight_files()


def test_the_detector_imports_neither_torchvision_nor_facenet_pytorch():
    code = (
        "import sys, numpy; from fertools.faces.detector import Detector; "
        "Detector('cpu')(numpy.zeros((40, 40, 3), numpy.uint8)); "
        "print({'torchvision', 'facenet_pytorch', 'torch._dynamo'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"


@pytest.fixture
def no_operators():
    nms_module._operators.cache_clear()
    yield
    nms_module._operators.cache_clear()


@pytest.mark.usefixtures("no_operators")
def test_torchvision_without_its_operators_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(nms_module, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    with pytest.raises(FertoolsError, match=f"{tmp_path} has no compiled operators; expected a file like _C"):
        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    (tmp_path / f"_C{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    with pytest.raises(FertoolsError, match="does not load with torch .*install the torchvision that belongs to"):
        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    monkeypatch.setattr(nms_module, "find_spec", lambda _: None)
    with pytest.raises(FertoolsError, match="torchvision is not installed"):
        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


@pytest.mark.parametrize("at_once", [100, 10_000])
def test_suppression_is_torchvisions_group_by_group(at_once, monkeypatch):
    monkeypatch.setitem(cascade.TOGETHER, "cpu", at_once)
    corner, size = 300 * torch.rand(900, 2) - 20, 20 + 60 * torch.rand(900, 2)
    boxes, scores = torch.cat([corner, corner + size], 1), torch.rand(900).round(decimals=2)
    groups = torch.randint(0, 9, (900,))
    kept = suppress(boxes, scores, groups, 0.5)
    for group in range(9):
        rows = (groups == group).nonzero()[:, 0]
        assert kept[groups[kept] == group].tolist() == rows[torchvision_nms(boxes[rows], scores[rows], 0.5)].tolist()


def test_a_box_within_another_goes_and_what_it_would_have_suppressed_stays():
    outer, inner, apart = [0.0, 0, 99, 99], [10.0, 10, 80, 80], [10.0, 10, 40, 40]
    boxes, scores = torch.tensor([inner, outer, apart, outer]), torch.tensor([0.8, 0.9, 0.7, 0.7])
    assert suppress_contained(boxes, scores, torch.tensor([0, 0, 0, 1]), 0.7).tolist() == [1, 3]
    assert suppress_contained(boxes[:1], scores[:1], torch.tensor([0]), 0.7).tolist() == [0]


def test_openvino_finds_the_same_faces(pictures, found):
    pytest.importorskip("openvino")
    for only_largest in (False, True):
        answers = Detector("openvino").batch(pictures, only_largest=only_largest)
        for faces, others in zip(answers, found, strict=True):
            assert len(faces) == len(others) or only_largest
            for face, other in zip(faces, others, strict=False):
                assert np.abs(face.landmarks - other.landmarks).max() < 1e-2
                assert overlap(face.box, other.box.tolist()) > 0.999 and abs(face.score - other.score) < 1e-4


def test_what_openvino_detected_is_prepared_anew_for_torch(monkeypatch):
    assert provenance(device="openvino") != provenance(device="cpu") == provenance(device="cuda")
    monkeypatch.setattr("fertools.faces.detector.find_spec", lambda _: None)
    with pytest.raises(DetectionError, match=r"install it: pip install 'fertools\[fast\]'"):
        pick_detector_device("openvino")


@pytest.mark.gpu
@pytest.mark.parametrize("only_largest", [False, True])
@pytest.mark.parametrize("numbers", [400_000, cascade.SIZE["cuda"]])
def test_a_gpu_finds_the_same(only_largest, numbers, detector, pictures, monkeypatch):
    monkeypatch.setitem(cascade.SIZE, "cuda", numbers)
    expected = detector.batch(pictures, only_largest=only_largest)
    for faces, others in zip(Detector("cuda").batch(pictures, only_largest=only_largest), expected, strict=True):
        assert len(faces) == len(others)
        for face, other in zip(faces, others, strict=True):
            assert overlap(face.box, other.box) > 0.99
            moved = (face.landmarks - other.landmarks) @ align.crop_matrix(other.landmarks)[:, :2].T
            assert np.abs(moved).max() < 0.5


@pytest.mark.gpu
@pytest.mark.parametrize("colour", [False, True])
def test_a_gpu_finds_what_facenet_pytorch_finds_there_in_batches(colour):
    stack = np.stack([portrait(number, 240, 320, colour=colour) for number in range(8)])
    reference = MTCNN(min_face_size=MIN_FACE, factor=FACTOR, keep_all=True, device="cuda")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        theirs = reference.detect(stack, landmarks=True)
    ours = Detector("cuda").batch(list(stack))
    assert sum(map(len, ours)) >= 6
    for faces, *others in zip(ours, *theirs, strict=True):
        assert_as_theirs(faces, *others, shared=0.99, moved=0.5)
