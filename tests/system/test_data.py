from collections import Counter
from pathlib import Path

import albumentations
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from manifest_files import copy_manifest

from fertools.folds.make_folds import make_folds
from fertools.folds.whitening import centre, fit_zca
from manifests import files
from manifests.schema import DEFAULT_CROP, Crop, ManifestError
from trainer.data.augment import variant_grids
from trainer.data.fold_data import FoldData, standardize, whitener
from trainer.methods.base import Faces, Pairs

CPU = torch.device("cpu")


@pytest.fixture
def data(patterns):
    return FoldData(patterns, 1, CPU)


def turned(crops, crop=DEFAULT_CROP):
    """All 14 variants of (n, 144, 144) crops: (14, n, 112, 112)."""
    grids = variant_grids(crop)
    crops = torch.as_tensor(crops)[:, None].float()
    return [F.grid_sample(crops, grid.expand(len(crops), -1, -1, -1), align_corners=False)[:, 0] for grid in grids]


@pytest.mark.parametrize("crop", [DEFAULT_CROP, Crop(256)])
def test_no_variant_invents_a_corner(crop):
    for variant in turned(np.full((1, *crop.shape), 255, np.uint8), crop):
        torch.testing.assert_close(variant, torch.full((1, crop.face, crop.face), 255.0))


def test_the_upright_variant_is_the_centre_and_its_flip_the_mirror():
    crops = np.random.default_rng(0).integers(0, 256, (2, 144, 144), dtype=np.uint8)
    variants = turned(crops)
    upright = torch.as_tensor(centre(crops)).float()
    torch.testing.assert_close(variants[3], upright, atol=1e-2, rtol=0)
    torch.testing.assert_close(variants[10], upright.flip(2), atol=1e-2, rtol=0)


def test_the_variants_are_those_of_albumentations(drawn_manifest):
    """In any order: which of two senses is positive does not matter, all are there once."""
    crop = files.read_images(drawn_manifest, np.array([0]))[0]
    theirs = []
    for image in (crop, crop[:, ::-1].copy()):
        for angle in (-15, -10, -5, 0, 5, 10, 15):
            turn = albumentations.Rotate((angle, angle), interpolation=1, p=1)
            theirs.append(turn(image=image.astype(np.float32))["image"][16:-16, 16:-16])
    ours = [variant[0].numpy() for variant in turned(crop[None])]
    far = np.array([[np.abs(our - their).mean() for their in theirs] for our in ours])  # grey levels
    assert sorted(far.argmin(1)) == list(range(14)) and far.min(1).max() < 0.5 < 2 < np.sort(far, axis=1)[:, 1].min()


def test_an_epoch_shows_every_training_face_once(data):
    for batch_size in (5, 7, 1000):
        seen = Counter()
        for batch in data.batches(Faces, batch_size, epoch=0, seed=0):
            assert 1 < len(batch.image) <= batch_size
            seen.update(batch.expression.tolist())
        assert seen == Counter(data.classes("train").tolist())


def test_pairs_share_the_expression_and_show_two_people(patterns):
    # in these pictures the person is the background's grey, the expression the square's column
    data = FoldData(patterns, 1, CPU)
    data.whiten = lambda faces: faces
    data._grids = data._grids[3:4]  # upright
    for batch in data.batches(Pairs, 8, epoch=3, seed=1):
        people = [side[:, 0, :8, :8].mean((1, 2)) * 255 for side in (batch.anchor, batch.partner)]
        assert ((people[0] - people[1]).abs() > 7).all()
        columns = [side[:, 0].amax(1).argmax(1).sub(14) // 26 for side in (batch.anchor, batch.partner)]
        assert (columns[0] == columns[1]).all() and len(batch.expression) == len(columns[0])


def test_epochs_differ_and_a_seed_repeats_one(data):
    def first(epoch, seed):
        return next(iter(data.batches(Pairs, 16, epoch, seed))).partner

    assert torch.equal(first(0, 5), first(0, 5))
    assert not torch.equal(first(0, 5), first(1, 5)) and not torch.equal(first(0, 5), first(0, 6))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("reads", "balanced"), [(Faces, False), (Pairs, False), (Pairs, True)])
@pytest.mark.parametrize("num_ranks", [2, 3])
def test_equal_shares_of_all_ranks_are_the_batches_of_one(reads, balanced, plain, num_ranks, patterns):
    data = FoldData(patterns, 1, CPU, plain=plain)
    whole = list(data.batches(reads, 6, 2, 5, balanced, first=1))
    shares = [
        list(data.batches(reads, 6, 2, 5, balanced, first=1, share=(rank, num_ranks))) for rank in range(num_ranks)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert {len(part.expression) for part in parts} == {len(batch.expression) / num_ranks}
        for name in batch._fields:
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))


@pytest.mark.parametrize("plain", [False, True])
def test_faces_are_cut_alike_however_many_at_once(plain, patterns, monkeypatch):
    data = FoldData(patterns, 1, CPU, plain=plain)
    (whole,) = data.batches(Faces, 24, 0, 0)
    monkeypatch.setattr("trainer.data.fold_data.CUT_AT_ONCE", 5)
    (parts,) = data.batches(Faces, 24, 0, 0)
    assert torch.equal(whole.image, parts.image) and torch.equal(whole.expression, parts.expression)


def test_training_and_evaluation_do_not_touch_the_test_part(data):
    with pytest.raises(KeyError):
        next(data.upright("test"))
    data.open_test()
    assert sum(len(images) for images in data.upright("test")) == len(data.rows["test"])


def test_whitening_on_the_device_is_fertools_whitening(drawn_manifest):
    data = FoldData(drawn_manifest, 2, CPU)
    white = next(data.upright("validation"))[:, 0].numpy()
    train = centre(files.read_images(drawn_manifest, data.rows["train"]))
    validation = centre(files.read_images(drawn_manifest, data.rows["validation"]))
    np.testing.assert_allclose(white, fit_zca(train).apply(validation), atol=2e-3)


def test_standardised_images_have_mean_0_and_spread_1_and_a_flat_one_stays_finite():
    images = torch.rand(3, 1, 112, 112)
    images[2] = 0.5
    out = standardize(images)
    torch.testing.assert_close(out.mean((1, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std((1, 2, 3), correction=0), torch.tensor([1.0, 1, 0]), atol=1e-4, rtol=0)


def test_no_whitening_is_the_range_from_minus_one_to_one():
    plain = whitener(Path(), 1, "none", CPU)
    torch.testing.assert_close(plain(torch.tensor([0.0, 0.5, 1])), torch.tensor([-1.0, 0, 1]))


def test_pairs_of_other_folds_are_refused(patterns, tmp_path):
    copy = copy_manifest(patterns, tmp_path / "set.parquet")
    folds = files.read(copy)["fold"].to_pylist()
    files.write_column(copy, "fold", [fold % 4 + 1 for fold in folds], files.read_metadata(copy))
    with pytest.raises(ManifestError, match=r"drawn for other rows or folds \(fold differ\); .*make-folds set"):
        FoldData(copy, 1, CPU)


def test_faces_without_expressions_are_nothing_to_train_on(make_faces, tmp_path):
    manifest = tmp_path / "set.parquet"
    subject = [f"p{row // 4}" for row in range(40)]
    files.write([make_faces(subject=subject, expression=[None] * 40)], manifest, {})
    make_folds(manifest, 5, "none", 0)
    with pytest.raises(ManifestError, match="no face has an expression: there is nothing to train it on"):
        FoldData(manifest, 1, CPU)
