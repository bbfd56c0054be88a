from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm

from metabench.evaluation import statistics as st


def simulate(
    runs: int, seeds: int, episodes: int, seed_sd: float, draw: np.random.Generator
) -> np.ndarray:
    """``[runs, S, E]`` scores with true mean 0.7, episode s.d. 0.1 and noise s.d. 0.05."""
    a = draw.normal(0, seed_sd, (runs, seeds, 1))
    b = draw.normal(0, 0.1, (runs, 1, episodes))
    return 0.7 + a + b + draw.normal(0, 0.05, (runs, seeds, episodes))


def coverage(table: np.ndarray) -> float:
    return float((np.abs(table.mean((1, 2)) - 0.7) <= st.half_width(table)).mean())


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.004, 0.02])
def test_the_interval_covers_the_true_mean_95_times_in_100(seeds: int, seed_sd: float) -> None:
    if seeds == 1 and seed_sd:
        pytest.skip("one seed says nothing about other seeds; the leaderboard flags it")
    share = coverage(simulate(1000, seeds, 600, seed_sd, np.random.default_rng(7)))
    assert 0.93 <= share <= (0.99 if seeds == 2 else 0.975)


def test_an_interval_over_episodes_alone_would_cover_far_too_little() -> None:
    table = simulate(1000, 3, 600, 0.02, np.random.default_rng(1))
    flat = table.reshape(1000, -1)
    half = 1.96 * flat.std(1, ddof=1) / np.sqrt(flat.shape[1])
    assert (np.abs(flat.mean(1) - 0.7) <= half).mean() < 0.5


def test_mean_squares_are_those_of_statsmodels() -> None:
    table = simulate(1, 3, 20, 0.02, np.random.default_rng(3))[0]
    frame = pd.DataFrame(
        [(s, e, table[s, e]) for s in range(3) for e in range(20)], columns=["seed", "episode", "y"]
    )
    anova = anova_lm(smf.ols("y ~ C(seed) + C(episode)", frame).fit())
    ms = anova["mean_sq"]
    by_seeds, by_episodes = st.variance_parts(table)
    assert by_seeds == pytest.approx(ms["C(seed)"] / 60, rel=1e-9)
    assert by_episodes == pytest.approx((ms["C(episode)"] - ms["Residual"]) / 60, rel=1e-9)


def test_one_seed_gives_the_ordinary_t_interval() -> None:
    table = np.random.default_rng(0).random((1, 50))
    low, high = stats.t.interval(0.95, 49, table.mean(), stats.sem(table[0]))
    found = st.interval(table)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_paired_test_raises_false_alarms_at_its_level() -> None:
    draw = np.random.default_rng(5)
    episode = draw.normal(0, 0.1, (600, 1, 200))
    alarms = [
        st.paired(*(e + draw.normal(0, 0.01, (2, 3, 1)) + draw.normal(0, 0.05, (2, 3, 200)))).p
        < 0.05
        for e in episode
    ]
    assert 0.025 <= np.mean(alarms) <= 0.075


def test_with_one_seed_the_paired_test_is_the_paired_t_test() -> None:
    draw = np.random.default_rng(2)
    first, second = draw.random((1, 80)), draw.random((1, 80))
    found = st.paired(first, second)
    assert found.p == pytest.approx(stats.ttest_rel(first[0], second[0]).pvalue)
    gap = (first - second)[0]
    assert found.d_z == pytest.approx(gap.mean() / gap.std(ddof=1))
    assert found.better == np.mean(gap > 0)


def test_holm_by_hand() -> None:
    assert st.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06}
    )


def test_ranks_and_critical_difference_of_demsar() -> None:
    scores = pd.DataFrame(
        {"x": [3.0, 3, 3, 2], "y": [2.0, 2, 2, 3], "z": [1.0, 1, 1, 1]}, index=list("abcd")
    )
    found = st.ranking(scores)
    assert found.ranks.to_dict() == {"x": 1.25, "y": 1.75, "z": 3.0}
    assert found.critical_difference == pytest.approx(2.343 * np.sqrt(3 * 4 / 24), abs=2e-3)
    assert found.p == pytest.approx(stats.friedmanchisquare(*scores.to_numpy().T).pvalue)
    with pytest.raises(ValueError, match="2 blocks and 3 methods"):
        st.ranking(scores[["x", "y"]])


def test_calibration_error_by_hand() -> None:
    frame = pd.DataFrame(
        {
            "bin_count": [[2, 0], [2, 4]],
            "bin_correct": [[1, 0], [1, 4]],
            "bin_confidence": [[0.8, 0.0], [0.8, 3.6]],
        }
    )
    error, table = st.calibration(frame)
    assert error == pytest.approx((abs(2 - 1.6) + abs(4 - 3.6)) / 8)
    assert table["accuracy"].tolist() == [0.5, 1.0]


def test_label_need_in_one_number_and_shots_to_reach_a_level() -> None:
    means = {1: 0.5, 4: 0.7, 16: 0.8}
    assert st.area_under_shots(means) == pytest.approx((0.6 * 2 + 0.75 * 2) / 4)
    assert st.shots_to_reach(means, 0.6) == pytest.approx(2.0)
    assert st.shots_to_reach(means, 0.4) == 1
    assert st.shots_to_reach(means, 0.9) is None


def test_a_table_with_holes_is_refused() -> None:
    frame = pd.DataFrame({"seed": [0, 0, 1], "episode": [0, 1, 0], "value": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match="every seed"):
        st.table_of(frame)
