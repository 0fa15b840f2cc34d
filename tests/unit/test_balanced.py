"""Catches a balanced epoch that prefers a class or a partner, pairs one person, or hangs on faces it must not see."""

import pytest
import torch
from manifest_files import with_column
from scipy.stats import chisquare

from fertools.folds.make_folds import make_folds
from manifests import files, schema
from manifests.schema import ManifestError
from trainer.data.balanced import ClassIndex, PairIndex, _draw_below
from trainer.data.fold_data import FoldData
from trainer.methods.base import Faces, Pairs

CLASSES = torch.tensor([2, 0, 0, 2, 0, 5, 5, 0, 2, 0, 0, 7, 7])  # of 7 one person alone shows: nobody is its partner
PEOPLE = torch.tensor([3, 1, 1, 4, 1, 3, 4, 2, 9, 3, 3, 1, 1])
PARTNERS = {  # by hand, face by face
    0: {3, 8}, 3: {0, 8}, 8: {0, 3}, 5: {6}, 6: {5}, 7: {1, 2, 4, 9, 10},
    1: {7, 9, 10}, 2: {7, 9, 10}, 4: {7, 9, 10}, 9: {1, 2, 4, 7}, 10: {1, 2, 4, 7},
}  # fmt: skip
NUM = 60_000


def is_even(counts):
    return chisquare(counts).pvalue > 1e-4


def test_every_class_anchor_and_partner_is_drawn_as_often_as_it_should():
    anchors, partners = PairIndex.of(CLASSES, PEOPLE).draw(NUM, torch.Generator().manual_seed(3))
    drawn = {(int(a), int(p)) for a, p in zip(anchors, partners, strict=True)}
    assert drawn == {(anchor, partner) for anchor, allowed in PARTNERS.items() for partner in allowed}
    counts = torch.bincount(CLASSES[anchors])
    assert is_even(counts[[0, 2, 5]]) and counts.sum() == NUM
    for shown in (0, 2, 5):
        assert is_even(torch.bincount(anchors, minlength=len(CLASSES))[shown == CLASSES])
    for anchor, allowed in PARTNERS.items():
        assert len(allowed) == 1 or is_even(
            torch.bincount(partners[anchors == anchor], minlength=len(CLASSES))[sorted(allowed)]
        )


def test_single_faces_are_drawn_evenly_by_class_then_by_face():
    faces = ClassIndex.of(CLASSES).draw(NUM, torch.Generator().manual_seed(3))
    assert is_even(torch.bincount(CLASSES[faces])[[0, 2, 5, 7]])
    for shown in (0, 2, 5, 7):
        assert is_even(torch.bincount(faces, minlength=len(CLASSES))[shown == CLASSES])


def test_a_balanced_epoch_is_as_long_and_draws_every_class_of_a_skewed_manifest(skewed):
    data = FoldData(skewed, 1, torch.device("cpu"))
    plain, balanced = (
        torch.cat([batch.expression for batch in data.batches(Pairs, 16, 0, 0, how)]) for how in (False, True)
    )
    assert len(plain) == len(balanced)
    assert plain.bincount().float().std() > 3 * balanced.bincount().float().std()


def test_the_pairs_file_is_not_read_for_a_balanced_epoch(skewed, monkeypatch):
    data = FoldData(skewed, 1, torch.device("cpu"))
    monkeypatch.setattr(files, "read_pairs", lambda *_: pytest.fail("it was read"))
    assert len(list(data.batches(Pairs, 16, 0, 0, balanced=True)))
    assert len(list(data.batches(Faces, 16, 0, 0, balanced=True)))


def test_groups_made_since_the_pairs_were_drawn_refuse_a_balanced_epoch_and_no_other(make_faces, tmp_path):
    """Whom a face shows is then read from the groups, and the hash of the pairs file is all that a run says of them."""
    manifest = tmp_path / "set.parquet"
    files.write([make_faces(expression=["anger", "fear"] * 20, split=["train"] * 30 + ["test"] * 10)], manifest, {})
    make_folds(manifest, 5, "none", 0, by="official")
    with_column(manifest, "group", [f"g{row // 2}" for row in range(40)])
    data = FoldData(manifest, 1, torch.device("cpu"))
    assert list(data.batches(Pairs, 16, 0, 0)) and list(data.batches(Faces, 16, 0, 0, balanced=True))
    with pytest.raises(ManifestError, match="drawn for other groups; draw it again with: fertools make-folds set"):
        next(data.batches(Pairs, 16, 0, 0, balanced=True))
    make_folds(manifest, 5, "none", 0, by="official")
    assert list(FoldData(manifest, 1, torch.device("cpu")).batches(Pairs, 16, 0, 0, balanced=True))


def test_an_expression_that_one_person_shows_everywhere_has_no_pairs(make_faces, tmp_path):
    manifest = tmp_path / "set.parquet"
    names = ["anger", "fear", "sadness", "neutral", "disgust"]
    files.write([make_faces(subject=names, expression=names)], manifest, {})
    make_folds(manifest, 5, "none", 0)
    data = FoldData(manifest, 1, torch.device("cpu"), expressions=("neutral", "disgust", "sadness", "fear", "anger"))
    with pytest.raises(ManifestError, match="one person alone shows each expression, so no face has a partner"):
        next(data.batches(Pairs, 2, 0, 0, balanced=True))


@pytest.mark.parametrize("label", ["anger", "fear", "surprise"])  # first, in the middle and last of the names
@pytest.mark.parametrize("balanced", [False, True])
def test_another_label_of_a_test_face_changes_no_training_pair(balanced, label, skewed):
    """Neither of the pairs file, nor of a balanced epoch: classes are numbered by their names, not as they come."""
    faces = files.read(skewed)
    train, test = (schema.parts(faces, 1)[name] for name in ("train", "test"))
    assert test[0] < train[0]  # its label is the first that is read

    def pairs():
        data = FoldData(skewed, 1, torch.device("cpu"))
        drawn = list(data.batches(Pairs, 16, 3, 0, balanced))
        sides = [torch.cat([getattr(batch, side) for batch in drawn]) for side in ("anchor", "partner")]
        named = [[data.expressions[number] for number in batch.expression] for batch in drawn]
        return sides, named, files.read_pairs(skewed, 1, data.table)["partner"].tolist()

    before = pairs()
    expression = faces["expression"].to_pylist()
    assert expression[test[0]] != label
    expression[test[0]] = label
    with_column(skewed, "expression", expression)
    make_folds(skewed, 5, "none", 0)
    after = pairs()
    assert all(map(torch.equal, before[0], after[0])) and before[1:] == after[1:]


def test_no_pair_is_beyond_what_can_be_drawn():
    """Once 2^24 pairs were all that an epoch was drawn from; here 36 million are possible."""
    num = 6000
    sides = PairIndex.of(torch.zeros(num).long(), torch.arange(num)).draw(NUM, torch.Generator().manual_seed(3))
    numbers = sides[0] * num + sides[1]
    assert is_even(torch.bincount(numbers * 12 // num**2, minlength=12)) and numbers.max() > 2**25
    drawn = _draw_below(torch.full((NUM,), 2**40), torch.Generator().manual_seed(3))
    assert is_even((drawn % 16).bincount()) and is_even((drawn >> 36).bincount())


@pytest.fixture
def skewed(make_faces, tmp_path):
    """A manifest with folds: ten people, each with 8 faces of happiness and one or two of others."""
    manifest = tmp_path / "skewed.parquet"
    expression = [*["happiness"] * 8, "fear", "sadness", "sadness"]
    people = [f"p{person}" for person in range(10) for _ in expression]
    files.write([make_faces(subject=people, expression=expression * 10)], manifest, {})
    make_folds(manifest, 5, "none", 0)
    return manifest
