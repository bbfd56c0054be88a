from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from metabench.reports.statistics import crossed as st


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
        st.paired(
            [e + draw.normal(0, 0.01, (3, 1)) + draw.normal(0, 0.05, (3, 200))],
            [e + draw.normal(0, 0.01, (3, 1)) + draw.normal(0, 0.05, (3, 200))],
        ).p
        < 0.05
        for e in episode
    ]
    assert 0.025 <= np.mean(alarms) <= 0.075


def test_with_one_seed_the_paired_test_is_the_paired_t_test() -> None:
    draw = np.random.default_rng(2)
    first, second = draw.random((1, 80)), draw.random((1, 80))
    found = st.paired([first], [second])
    assert found.p == pytest.approx(stats.ttest_rel(first[0], second[0]).pvalue)
    gap = (first - second)[0]
    assert found.d_z == pytest.approx(gap.mean() / gap.std(ddof=1))
    assert found.better == np.mean(gap > 0)


def test_holm_by_hand() -> None:
    assert st.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06}
    )
    assert st.holm({}) == {}


def test_holm_is_that_of_statsmodels() -> None:
    values = {str(i): p for i, p in enumerate(np.random.default_rng(0).random(30) ** 4)}
    expected = multipletests(list(values.values()), method="holm")[1]
    found = st.holm(values)
    assert [found[name] for name in values] == pytest.approx(expected)


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
    assert st.shot_weights([1, 4, 16]) @ list(means.values()) == pytest.approx(0.675)
    assert st.shot_weights([1, 5]) @ [0.5, 0.7] == pytest.approx(0.6)
    assert st.shot_weights([5]) == [1]
    assert st.shots_to_reach(means, 0.6) == pytest.approx(2.0)
    assert st.shots_to_reach(means, 0.4) == 1
    assert st.shots_to_reach(means, 0.9) is None


def test_a_table_with_holes_is_refused() -> None:
    frame = pd.DataFrame({"seed": [0, 0, 1], "episode": [0, 1, 0], "value": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match="every seed"):
        st.table_of(frame)


def test_a_drop_between_targets_is_covered_95_times_in_100() -> None:
    draw, hits = np.random.default_rng(11), 0
    for _ in range(1000):
        skill = draw.normal(0, 0.01, (3, 1))  # a lucky seed is lucky on both targets
        home = 0.8 + skill + draw.normal(0, 0.1, (1, 200)) + draw.normal(0, 0.05, (3, 200))
        away = skill + draw.normal(0, 0.01, (3, 1)) + draw.normal(0, 0.1, (1, 100))
        away = 0.5 + away + draw.normal(0, 0.05, (3, 100))
        found = st.contrast([home, away], [1, -1])
        hits += found.low <= 0.3 <= found.high
    assert 930 <= hits <= 980


def test_the_bootstrap_agrees_where_seeds_are_many_and_is_too_narrow_where_they_are_few() -> None:
    draw = np.random.default_rng(4)
    many = simulate(20, 25, 200, 0.02, draw)
    widths = [np.diff(st.bootstrap_interval(t))[0] / (2 * st.half_width(t)) for t in many]
    assert 0.9 <= np.mean(widths) <= 1.1
    few = simulate(200, 3, 100, 0.02, draw)
    inside = [
        low <= 0.7 <= high for low, high in (st.bootstrap_interval(t, draws=500) for t in few)
    ]
    assert np.mean(inside) < 0.92


@pytest.mark.parametrize("gaps", [[0.0] * 7, [0, 0.002, 0.002, 0.2, 0.2, 0.2, 0.2]])
def test_the_truly_best_method_is_among_those_tied_with_the_best(gaps: list[float]) -> None:
    draw, runs, kept = np.random.default_rng(9), 200, 0
    for _ in range(runs):
        episode = draw.normal(0.7, 0.1, (1, 100))
        tables = {
            str(m): [episode - g + draw.normal(0, 0.01, (3, 1)) + draw.normal(0, 0.05, (3, 100))]
            for m, g in enumerate(gaps)
        }
        kept += st.against_best(tables)["0"].p > 0.05
    assert kept >= 0.95 * runs


def test_the_best_method_is_told_from_a_clearly_worse_one() -> None:
    draw = np.random.default_rng(3)
    tables = {m: [q + draw.normal(0, 0.02, (3, 50))] for m, q in [("a", 0.5), ("b", 0.9)]}
    found = st.against_best(tables)
    assert found["b"].p == 1.0 and found["a"].p < 1e-3 and found["a"].interval.mean > 0.35


def test_nemenyi_pairs_and_the_critical_difference_agree_with_scikit_posthocs() -> None:
    draw = np.random.default_rng(6)
    scores = pd.DataFrame(draw.random((12, 5)) + np.arange(5) * 0.4, columns=list("abcde"))
    found = st.ranking(scores)
    assert found.ranks.idxmin() == "e"
    for a in scores:
        for b in scores:
            gap = abs(found.ranks[a] - found.ranks[b])
            assert (gap > found.critical_difference) == (found.pairs.loc[a, b] < 0.05)


def test_calibration_error_vanishes_for_true_confidences_and_is_the_gap_for_false_ones() -> None:
    import torch

    from metabench.learning.metrics.classification import confidence_bins

    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(40, 1000, 3, generator=generator)
    labels = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=generator).reshape(
        40, 1000
    )

    def calibration(logits: torch.Tensor) -> tuple[float, pd.DataFrame]:
        bins = confidence_bins(logits, labels)
        return st.calibration(pd.DataFrame({name: list(v.numpy()) for name, v in bins.items()}))

    honest, _ = calibration(logits)
    boastful, table = calibration(3 * logits)
    assert honest < 0.01
    confidence = (3 * logits).softmax(-1).amax(-1).mean().item()
    accuracy = (logits.argmax(-1) == labels).double().mean().item()
    assert boastful == pytest.approx(confidence - accuracy, abs=0.005)
    assert table["count"].sum() == 40_000
