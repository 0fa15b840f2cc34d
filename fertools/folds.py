"""Subject-disjoint folds."""

from collections.abc import Sequence

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
            "name the people (the subject column of --labels), or use an official split"
        )
    known = sorted(set(subjects), key=str)
    if num_folds > len(known):
        raise FoldError(f"{num_folds} folds asked of {len(known)} subjects; a fold needs a subject")
    fold_of = {subject: rank % num_folds + 1 for rank, subject in enumerate(known)}
    return [fold_of[subject] for subject in subjects]
