from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm

from benchmarks.worlds import World
from metabench.reports.statistics.tables import Block
from tests.reports.statistics.scores import scores

NAMES = ("a", "b", "c")


def block(seed: int = 0, **facts: object) -> Block:
    return Block(NAMES, (scores((0.7, 0.6, 0.5), np.random.default_rng(seed)),), **facts)


def test_moments_are_the_mean_squares_of_statsmodels() -> None:
    found = block()
    table = found.sets[0][1]
    rows = [(s, e, y) for s, line in enumerate(table) for e, y in enumerate(line)]
    frame = pd.DataFrame(rows, columns=["seed", "episode", "y"])
    squares = anova_lm(smf.ols("y ~ C(seed) + C(episode)", frame).fit())["mean_sq"]
    moments = found.moments()
    assert moments.spread[1] == pytest.approx(squares["C(seed)"] / 200)
    assert moments.noise[1] == pytest.approx(squares["Residual"] / 200)
    by_episode = (squares["C(episode)"] - squares["Residual"]) / (4 * 200)
    assert moments.episodes[1, 1] == pytest.approx(by_episode)
    assert moments.mean[1] == pytest.approx(table.mean()) and moments.episode_df == 199


def test_a_missing_seed_leaves_a_method_with_the_others() -> None:
    whole = block()
    holes = whole.sets[0].copy()
    holes[1, 2] = np.nan
    found = Block(NAMES, (holes,)).moments()
    alone = Block(("b",), (np.delete(whole.sets[0][1:2], 2, axis=1),)).moments()
    for name in ("mean", "spread", "seeds", "noise"):
        assert getattr(found, name)[1] == pytest.approx(getattr(alone, name)[0])
        assert getattr(found, name)[0] == pytest.approx(getattr(whole.moments(), name)[0])


def test_what_cannot_be_compared_is_refused() -> None:
    torn = block().sets[0].copy()
    torn[0, 0, 5] = np.nan
    with pytest.raises(ValueError, match="every seed must have every episode"):
        Block(NAMES, (torn,))
    torn[0] = np.nan
    with pytest.raises(ValueError, match="no seed at all"):
        Block(NAMES, (torn,))
    with pytest.raises(ValueError, match="2 sets of episodes, 1 weights"):
        Block(NAMES, block().sets * 2)


def test_learners_on_which_a_seed_has_no_influence_are_found() -> None:
    table = block().sets[0].copy()
    table[2] = table[2, :1]
    assert Block(NAMES, (table,)).moments().deterministic.tolist() == [False, False, True]
    declared = Block(NAMES, (table,), deterministic={"a"}).moments().deterministic
    assert declared.tolist() == [True, False, True]


def test_weights_make_a_score_of_several_sets_of_episodes() -> None:
    home, away = block(1), block(2)
    drop = Block(NAMES, (*home.sets, *away.sets), (1, -1)).moments()
    one, other = home.moments(), away.moments()
    np.testing.assert_allclose(drop.mean, one.mean - other.mean)
    np.testing.assert_allclose(drop.episodes, one.episodes + other.episodes)
    by_seed = (home.sets[0].mean(2) - away.sets[0].mean(2)).var(1, ddof=1)
    np.testing.assert_allclose(drop.spread, by_seed)


def test_what_methods_share_is_taken_out_of_their_deviation() -> None:
    draw = np.random.default_rng(3)
    luck = draw.normal(0, 0.3, (1, 4, 1))  # far more than the methods' own
    table = scores((0.7, 0.6, 0.5), draw)
    table[:2] += luck
    found = Block(NAMES, (table,), shared={"a": "backbone", "b": "backbone", "c": "none"}).moments()
    assert found.shared.tolist() == [0, 0, -1] and found.deviation[2] == 0
    gap = (table[0] - table[1]).mean(1).var(ddof=1)
    np.testing.assert_allclose(found.deviation[:2].sum(), gap)
    assert (found.deviation[:2] < 0.02 * found.spread[:2]).all()


def test_simulated_statistics_are_those_of_scores_drawn_one_by_one() -> None:
    draw, truth, scatter = np.random.default_rng(4), (70.0, 60.0, 50.0), (1, 2, 3)
    drawn = [
        Block(NAMES, (100 * scores(np.divide(truth, 100), draw, 3, 30, np.divide(scatter, 100)),))
        for _ in range(600)
    ]
    one_by_one = [block.moments() for block in drawn]
    at_once, _ = World(scatter, 3, 30, truth).draw(6000, draw)
    for name in ("mean", "spread", "noise", "episodes"):
        values = np.stack([getattr(m, name) for m in one_by_one])
        same = getattr(at_once, name)
        error = values.std(0) / np.sqrt(600)
        assert (np.abs(values.mean(0) - same.mean(0)) < 4 * error).all(), name
        assert values.std(0) == pytest.approx(same.std(0), rel=0.3), name
