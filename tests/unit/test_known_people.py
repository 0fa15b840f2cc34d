"""Pages must not say "people" where a dataset names nobody."""

import pytest

from trainer.evaluation.reporting.known_people import heading, over


@pytest.mark.parametrize(
    ("named", "grouped", "drawn_over", "words"),
    [
        (12, 0, "people", "people that no training saw"),
        (0, 12, "faces", "as far as an embedder's groups tell"),
        (0, 0, "faces", "not all named: some may be in the training part too"),
        (8, 0, "people, of 4 faces over faces", "not all named"),
    ],
)
def test_people_are_claimed_only_where_all_are_named(named, grouped, drawn_over, words):
    scores = {"people": {"faces": 12, "named": named, "grouped": grouped}}
    assert over(scores) == drawn_over and words in heading(scores)


def test_scores_that_do_not_say_claim_nothing():
    assert "no training saw" not in heading({}) and over({}) == "people, where they are named"
