import numpy as np
import pytest

from metabench.data.sinusoid import HARMONICS, SINUSOID


def draw(builder, tasks, points, seed=0):
    return builder.family.sample(tasks, points, np.random.default_rng(seed))


@pytest.mark.parametrize("builder", [SINUSOID, HARMONICS])
def test_points_have_the_declared_shape_and_range(builder):
    x, y = draw(builder, 50, 40)
    assert x.shape == (50, 40, 1)
    assert y.shape == (50, 40, 1)
    assert x.dtype == y.dtype == np.float32
    assert x.min() >= -5
    assert x.max() <= 5
    assert np.abs(y).max() <= 5.0001


def test_a_sinusoid_is_recovered_with_amplitude_and_phase_in_the_published_ranges():
    x, y = draw(SINUSOID, 400, 20)
    amplitudes, phases = [], []
    for task in range(400):
        basis = np.hstack([np.sin(x[task]), np.cos(x[task])]).astype(float)
        (a, b), *_ = np.linalg.lstsq(basis, y[task, :, 0], rcond=None)
        np.testing.assert_allclose(basis @ [a, b], y[task, :, 0], atol=1e-4)
        amplitudes.append(np.hypot(a, b))
        phases.append(np.arctan2(b, a))  # A sin(x + φ) = A cos φ sin x + A sin φ cos x
    assert 0.1 - 1e-3 < min(amplitudes) < 0.3
    assert 4.8 < max(amplitudes) < 5 + 1e-3
    assert -1e-2 < min(phases) < 0.1
    assert np.pi - 0.1 < max(phases) < np.pi + 1e-2


def test_a_harmonic_task_is_the_sum_of_a_frequency_and_its_double():
    x, y = draw(HARMONICS, 5, 60)
    for task in range(5):
        residuals = []
        for w in np.linspace(0.5, 2, 1501):
            t = w * x[task].astype(float)
            basis = np.hstack([np.sin(t), np.cos(t), np.sin(2 * t), np.cos(2 * t)])
            best, *_ = np.linalg.lstsq(basis, y[task, :, 0], rcond=None)
            residuals.append(np.abs(basis @ best - y[task, :, 0]).max())
        assert min(residuals) < 0.02
        assert np.median(residuals) > 0.05


def test_tasks_depend_on_the_generator_alone():
    first, again, other = (draw(SINUSOID, 3, 4, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
