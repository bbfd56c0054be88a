"""Seeds nested in splits of the classes: intervals over splits, and for these classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from metabench.reports.statistics.board import board
from metabench.reports.statistics.champions import champions
from metabench.reports.statistics.intervals import for_these_classes, intervals
from metabench.reports.statistics.tables import Block
from tests.reports.statistics.scores import scores


def nested(
    truth: list[float],
    draw: np.random.Generator,
    splits: int = 3,
    seeds: int = 2,
    own: float = 0.01,
) -> tuple[Block, np.ndarray]:
    """A block, and what each method would score on the classes of these splits.

    Classes are worth 3 points to all methods and ``own`` to each by itself.
    """
    classes = draw.normal(0, 0.03, splits) + draw.normal(0, own, (len(truth), splits))
    parts = [
        scores(list(np.add(truth, classes[:, k])), draw, seeds, episodes=60, scatter=0.01)
        for k in range(splits)
    ]
    names = tuple(f"m{i}" for i in range(len(truth)))
    of = tuple(np.repeat(np.arange(splits), seeds).tolist())
    return Block(
        names, (np.concatenate(parts, 1),), splits=of, nested=frozenset({0})
    ), truth + classes.mean(1)


def test_over_splits_the_interval_is_students_of_the_splits_means() -> None:
    block, _ = nested([0.6, 0.5], np.random.default_rng(0))
    means = block.sets[0].mean(2).reshape(2, 3, 2).mean(2)
    low, high = stats.t.interval(0.95, 2, means[0].mean(), stats.sem(means[0]))
    mean, half = intervals(block)["m0"]
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_two_methods_are_compared_within_splits() -> None:
    block, _ = nested([0.6, 0.5], np.random.default_rng(0), splits=12)
    means = block.sets[0].mean(2).reshape(2, 12, 2).mean(2)
    moments = block.moments()
    assert moments.deviation.sum() == pytest.approx((means[0] - means[1]).var(ddof=1))
    assert moments.deviation.sum() < moments.spread.sum() / 2  # the classes' luck is not in it


def test_both_intervals_cover_what_they_are_of_and_alarms_are_few() -> None:
    draw, covered, these, alarms = np.random.default_rng(1), [], [], []
    for _ in range(150):
        block, here = nested([0.6] * 5, draw)
        covered += [abs(mean - 0.6) <= half for mean, half in intervals(block).values()]
        found = for_these_classes(block).values()
        these += [abs(mean - true) <= half for (mean, half), true in zip(found, here, strict=True)]
        alarms.append((board(block).table["verdict"] == "behind").any())
    assert 0.91 < np.mean(covered) < 0.99
    assert np.mean(these) > 0.93
    assert np.mean(alarms) < 0.06


def test_these_classes_are_known_better_than_all_classes() -> None:
    block, _ = nested([0.6, 0.5, 0.4], np.random.default_rng(2), splits=5)
    narrow, wide = for_these_classes(block), intervals(block)
    assert all(narrow[m][0] == pytest.approx(wide[m][0]) for m in block.methods)
    assert all(narrow[m][1] < wide[m][1] for m in block.methods)


def test_without_a_second_seed_in_a_split_these_classes_have_no_interval() -> None:
    block, _ = nested([0.6, 0.5], np.random.default_rng(3), seeds=1)
    assert np.isinf([half for _, half in for_these_classes(block).values()]).all()
    assert np.isfinite([half for _, half in intervals(block).values()]).all()


def test_champions_are_compared_within_splits_too() -> None:
    block, _ = nested([0.66, 0.6], np.random.default_rng(4), splits=5, own=0.003)
    found = champions(block, {"m0": 1.0, "m1": 1.0}, {"one": ["m0"], "other": ["m1"]})
    assert found is not None and found.comparison.words.tolist() == ["best", "behind"]


def test_what_more_would_decide_is_counted_in_splits() -> None:
    block, _ = nested([0.6, 0.59], np.random.default_rng(5), own=0.03)
    found = board(block)
    assert found.seeds == 3 and (found.table["seeds_needed"].dropna() > 3).all()


def test_each_seed_must_have_a_split() -> None:
    with pytest.raises(ValueError, match="2 splits, 3 seeds"):
        Block(("a",), (np.zeros((1, 3, 5)),), splits=(0, 1))


def test_episodes_that_all_splits_share_add_their_own_part_to_the_interval() -> None:
    block, _ = nested([0.6, 0.5], np.random.default_rng(6), splits=4)
    crossed = replace(block, nested=frozenset()).moments()
    means = block.sets[0].reshape(2, 4, 2, 60).mean(2)
    cov = np.cov(means.mean(1)) / 60
    rest = means - means.mean(2, keepdims=True) - means.mean(1, keepdims=True)
    rest += means.mean((1, 2))[:, None, None]
    own = (rest**2).sum((1, 2)) / (3 * 59) / 60
    np.testing.assert_allclose(crossed.episodes, cov - np.diag(own / 4))
    assert not block.moments().episodes.any()


def test_both_intervals_cover_where_all_splits_have_the_same_episodes() -> None:
    draw, covered, these = np.random.default_rng(7), [], []
    for _ in range(150):
        classes = draw.normal(0, 0.003, 5) + draw.normal(0, 0.003, (4, 5))
        learners = 0.6 + np.repeat(classes, 2, axis=1) + draw.normal(0, 0.005, (4, 10))
        ease = draw.normal(0, 0.03, 100) + draw.normal(0, 0.1, (4, 1, 100))
        table = learners[:, :, None] + ease + draw.normal(0, 0.08, (4, 10, 100))
        block = Block(tuple("abcd"), (table,), splits=tuple(np.repeat(range(5), 2).tolist()))
        covered += [abs(mean - 0.6) <= half for mean, half in intervals(block).values()]
        true, found = 0.6 + classes.mean(1), for_these_classes(block).values()
        these += [abs(mean - t) <= half for (mean, half), t in zip(found, true, strict=True)]
    assert np.mean(covered) > 0.92 and np.mean(these) > 0.92
