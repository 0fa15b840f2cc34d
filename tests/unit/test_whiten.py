import tracemalloc

import numpy as np
import pytest

from fertools.folds.whitening import WhiteningError, centre, fit_zca


def faces_of(num, generator, side=12):
    """Smooth random pictures: neighbouring pixels go together, as in faces."""
    waves = np.sin(np.arange(side)[:, None] * np.arange(1, 7) / 3)
    weights = generator.normal(0, 1, (num, 6, 6)) / np.outer(np.arange(1, 7), np.arange(1, 7))
    pictures = 128 + 30 * waves @ weights @ waves.T + generator.normal(0, 4, (num, side, side))
    return pictures.clip(0, 255).astype(np.uint8)


def exact(faces, epsilon):
    """ZCA by definition: the inverse square root of the whole covariance."""
    data = faces.reshape(len(faces), -1) / 255
    values, vectors = np.linalg.eigh(np.cov(data.T) + epsilon * np.eye(data.shape[1]))
    return data.mean(0), (vectors / np.sqrt(values)) @ vectors.T


def test_it_is_exact_zca_where_no_component_is_left_out():
    faces = faces_of(300, np.random.default_rng(0))
    mean, matrix = exact(faces, 0.01)
    white = fit_zca(faces, rank=144, epsilon=0.01).apply(faces[:20])
    np.testing.assert_allclose(white.reshape(20, -1), (faces[:20].reshape(20, -1) / 255 - mean) @ matrix, atol=2e-3)


def test_truncation_stays_close_to_exact_on_new_faces():
    generator = np.random.default_rng(0)
    faces, new = faces_of(400, generator), faces_of(50, generator)
    mean, matrix = exact(faces, 0.1)
    wanted = (new.reshape(50, -1) / 255 - mean) @ matrix
    got = fit_zca(faces, rank=36, epsilon=0.1).apply(new).reshape(50, -1)
    assert np.linalg.norm(got - wanted) / np.linalg.norm(wanted) < 0.05


def test_whitened_variance_is_even_where_the_data_has_any():
    faces = faces_of(2000, np.random.default_rng(0))
    zca = fit_zca(faces, rank=60, epsilon=1e-6)
    along = zca.apply(faces).reshape(2000, -1) @ zca.components.T
    np.testing.assert_allclose(along.var(0, ddof=1), 1, rtol=0.02)


def test_it_holds_the_faces_as_numbers_once():
    faces = faces_of(1000, np.random.default_rng(0), side=48)
    fit_zca(faces[:10])  # what it imports is no part of the peak
    tracemalloc.start()
    fit_zca(faces, rank=8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * 4 * faces.size


def test_too_few_faces_are_refused():
    with pytest.raises(WhiteningError, match="2 training faces"):
        fit_zca(faces_of(2, np.random.default_rng(0)))


def test_the_centre_is_what_a_network_sees():
    crops = np.zeros((1, 144, 144), np.uint8)
    crops[:, 16:128, 16:128] = 1
    assert centre(crops).shape == (1, 112, 112) and centre(crops).all()
