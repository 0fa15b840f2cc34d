import numpy as np
import pytest
from representations import codes_of, sequences, subjects

from trainer.metrics.retrieval import retrieval


def test_retrieval_of_a_perfect_code_reaches_its_ceiling():
    found = retrieval(codes_of(subjects, 0.01), subjects, sequences)
    for k in (1, 5, 10):
        assert found[f"precision@{k}"] == pytest.approx(found[f"ceiling@{k}"])
    assert found["ceiling@10"] == pytest.approx(6 / 10)  # 8 pictures a person, 2 of them of the query's own sequence
    assert found["chance"] == pytest.approx(6 / 94)


def test_retrieval_excludes_the_query_even_where_codes_are_equal():
    same = np.ones((4, 2), np.float32)
    found = retrieval(same, np.array(["a", "b", "c", "d"]), np.arange(4))
    assert np.isnan(found["chance"])  # nobody has anybody to find
