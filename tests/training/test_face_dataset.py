"""Catches faces in another order, class or whitening than `trainer fit` shows, and variants that never change."""

import pytest
import torch
from small_runs import CPU
from torch.utils.data import DataLoader

from manifests import files
from manifests.errors import ManifestError
from trainer import FaceDataset
from trainer.data.augment import VARIANTS
from trainer.data.fold_data import FoldData


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_loader_gives_the_faces_of_a_part_as_a_training_shows_them(part, patterns):
    faces, data = FaceDataset(patterns, 2, part), FoldData(patterns, 2, CPU)
    data.open_test()
    batches = list(DataLoader(faces, 5))
    assert torch.equal(torch.cat([images for images, _ in batches]), torch.cat(list(data.upright(part))))
    named = [faces.expressions[place] for _, classes in batches for place in classes]
    assert named == files.read(patterns)["expression"].take(faces.rows).to_pylist()
    image, place = faces[-1]
    assert torch.equal(image, batches[-1][0][-1]) and place == batches[-1][1][-1] and len(faces) == len(named)


def test_variants_are_drawn_by_torch_from_all_fourteen(patterns):
    faces, data = FaceDataset(patterns, 1, "train", variants=True), FoldData(patterns, 1, CPU)
    known = [torch.cat(list(batches))[0] for batches in data.variants("train")]
    drawn = [image for image, _ in faces.__getitems__([0] * 100)]
    which = {min(range(len(VARIANTS)), key=lambda number: (known[number] - image).abs().max()) for image in drawn}
    assert len(which) > 10
    torch.manual_seed(3)
    one = faces[0][0]
    torch.manual_seed(3)
    assert torch.equal(faces[0][0], one)


def test_what_is_not_there_is_refused(patterns, tmp_path, monkeypatch):
    with pytest.raises(ManifestError, match="no fold 9"):
        FaceDataset(patterns, 9, "train")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError, match="no manifest in|is not prepared"):
        FaceDataset("ck+", 1, "train")
