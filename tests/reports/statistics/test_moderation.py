from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from benchmarks.worlds import World
from metabench.reports.statistics.moderation import GRID, Part, moderate, seed_parts


def moderated(spread: np.ndarray, df: float, weight: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    k = spread.shape[-1]
    return moderate(spread, np.full(k, df), np.zeros(k), np.full(k, weight))


def test_a_sample_variance_over_that_of_the_prior_has_an_f_distribution() -> None:
    d, d0, s0, s2 = 2.0, 5.0, 1.5, 0.7

    def joint(variance: float) -> float:
        prior = stats.invgamma.pdf(variance, d0 / 2, scale=d0 * s0 / 2)
        return float(prior * stats.gamma.pdf(s2, d / 2, scale=2 * variance / d))

    marginal, _ = integrate.quad(joint, 0, np.inf)
    assert stats.f.pdf(s2, d, d0, scale=s0) == pytest.approx(marginal)


@pytest.mark.parametrize("spread", [[0.2, 1.0, 1.3, 6.0], [1.0, 1.1, 0.9, 0.8]])
def test_the_prior_is_the_most_likely_one_averaged_over_its_degrees_of_freedom(spread) -> None:
    s2, df = np.array(spread), np.array([2.0, 2.0, 4.0, 4.0])
    logs, scales = [], []
    for d0 in GRID:
        found = optimize.minimize_scalar(
            lambda log, d0=d0: -stats.f.logpdf(s2, df, d0, scale=np.exp(log)).sum(),
            bounds=(-5, 5), method="bounded", options={"xatol": 1e-9},
        )  # fmt: skip
        logs.append(-found.fun)
        scales.append(found.x)
    weight = np.exp(logs) / np.exp(logs).sum()
    d0 = 1 / (1 / np.exp(weight @ np.log(GRID)) + 1 / 3)
    expected = (d0 * np.exp(weight @ scales) + df * s2) / (d0 + df)
    variance, freedom = moderate(s2, df, np.zeros(4), np.ones(4))
    np.testing.assert_allclose(variance, expected, rtol=1e-4)
    np.testing.assert_allclose(freedom, np.minimum(d0 + df, 12), rtol=1e-4)


def test_the_prior_that_variances_were_drawn_from_is_found() -> None:
    draw, d0, s0, d = np.random.default_rng(0), 6.0, 2.0, 4.0
    true = s0 * d0 / draw.chisquare(d0, 20_000)
    spread = true * draw.chisquare(d, 20_000) / d
    variance, df = moderated(spread, d)
    assert df.max() == pytest.approx(d0 + d, rel=0.1)
    np.testing.assert_allclose(variance, (d0 * s0 + d * spread) / (d0 + d), rtol=0.1)


def test_methods_that_vary_alike_share_their_degrees_of_freedom() -> None:
    spread = np.random.default_rng(1).chisquare(2, 45) / 2
    variance, df = moderated(spread, 2.0)
    assert (df > 12).all() and np.ptp(variance) < 0.2 * np.ptp(spread)
    assert variance.mean() == pytest.approx(1, rel=0.3)


def test_two_methods_never_make_the_prior_certain() -> None:
    _, df = moderated(np.array([1.0, 1.0]), 2.0)
    assert (df <= 4).all()


def test_ten_methods_with_one_learner_count_as_one() -> None:
    alone = np.array([0.5, 1.0, 3.0, 2.0])
    ten = np.concatenate([alone[:3], np.full(10, 2.0)])
    weight = np.array([1, 1, 1, *[0.1] * 10])
    variance, df = moderate(ten, np.full(13, 2.0), np.zeros(13), weight)
    expected, expected_df = moderated(alone, 2.0)
    np.testing.assert_allclose(variance[:4], expected)
    np.testing.assert_allclose(df[:4], expected_df)


def test_deterministic_learners_have_no_variance_and_do_not_lower_that_of_others() -> None:
    moments, _ = World((1.5,) * 6, 3).draw(5, np.random.default_rng(2))
    still = np.arange(6) < 3
    mixed = replace(
        moments, deterministic=still, spread=np.where(still, 0.0, moments.spread),
    )  # fmt: skip
    parts = seed_parts(mixed)
    assert (parts.moderated.variance[:, still] == 0).all() and (
        parts.own.variance[:, still] == 0
    ).all()
    only = replace(
        moments, mean=moments.mean[:, 3:], spread=moments.spread[:, 3:], seeds=moments.seeds[3:],
        noise=moments.noise[:, 3:], deterministic=still[3:], shared=moments.shared[3:],
    )  # fmt: skip
    np.testing.assert_allclose(parts.moderated.variance[:, 3:], seed_parts(only).moderated.variance)


def test_a_method_with_one_seed_varies_as_its_neighbours_do() -> None:
    moments, _ = World((1.5,) * 12, 3).draw(1, np.random.default_rng(3))
    seeds = np.array([1] + [3] * 11)
    spread = moments.spread.copy()
    spread[:, 0] = 0
    parts = seed_parts(replace(moments, seeds=seeds, spread=spread))
    assert np.isinf(parts.own.variance[0, 0]) and np.isfinite(parts.own.variance[0, 1:]).all()
    assert parts.moderated.variance[0, 0] == pytest.approx(2.25 + 64 / 600, rel=0.6)


def test_variances_never_fall_below_the_noise_that_is_known() -> None:
    variance, _ = moderate(np.full(5, 0.01), np.full(5, 2.0), np.full(5, 0.5), np.ones(5))
    assert (variance == 0.5).all()


def test_degrees_of_freedom_of_a_sum_are_satterthwaites() -> None:
    total = Part(np.array([2.0, 0.0]), np.array([4.0, 4.0])) + Part(
        np.array([2.0, 0.0]), np.array([4.0, 4.0])
    )
    assert total.variance.tolist() == [4, 0] and total.df.tolist() == [8, 1]
