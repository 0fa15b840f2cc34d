"""Subject-disjoint folds, and official splits."""

from collections.abc import Sequence

import numpy as np

from fertools.errors import FertoolsError


class FoldError(FertoolsError):
    """The requested folds cannot be made."""


def step_folds(subjects: Sequence[str | None], num_folds: int) -> list[int]:
    """Deal subjects, sorted by id, to folds in turn: 1, 2, ..., num_folds, 1, 2, ...

    With 10 folds this is the published CK+ protocol (CK+_10-fold_sample_IDascendorder_step10).

    Args:
        subjects: one id a face.
        num_folds: how many folds; fold k is the test part of split k, fold k + 1 its validation part.

    Returns:
        One fold a face, from 1.

    Raises:
        FoldError: a face has no subject, or there are fewer subjects than folds.
    """
    if unknown := sum(subject is None for subject in subjects):
        raise FoldError(
            f"{unknown} of {len(subjects)} faces have no subject, so folds cannot keep people apart; "
            "name the people (the subject column of --labels), group the faces (fertools group, then --by group), "
            "or use an official split (--by official)"
        )
    known = sorted(set(subjects), key=str)
    if num_folds > len(known):
        raise FoldError(f"{num_folds} folds asked of {len(known)} subjects; a fold needs a subject")
    fold_of = {subject: rank % num_folds + 1 for rank, subject in enumerate(known)}
    return [fold_of[subject] for subject in subjects]


def official_folds(
    splits: Sequence[str | None], people: Sequence[str], num_folds: int, generator: np.random.Generator
) -> list[int | None]:
    """Return fold 1 for the official test part, 2 for validation, 3 for training; null for what is in no part.

    Where no validation part is published, one in `num_folds` people of the training part validate, drawn by chance.

    Args:
        splits: train, validation or test, or null, one a face.
        people: who it shows; give a face of an unknown person a name of its own.
        num_folds: one in how many people.
        generator: the source of chance.

    Raises:
        FoldError: there is no test or no training part.
    """
    if missing := {"train", "test"} - set(splits):
        raise FoldError(
            f"no face is in an official {' or '.join(sorted(missing))} part; deal folds by subject or by group"
        )
    known = sorted({person for person, split in zip(people, splits, strict=True) if split == "train"})
    drawn = set() if "validation" in splits else {known[i] for i in generator.permutation(len(known))[::num_folds]}
    fold_of = {"test": 1, "validation": 2, "train": 3, None: None}
    return [
        2 if split == "train" and person in drawn else fold_of[split]
        for person, split in zip(people, splits, strict=True)
    ]
