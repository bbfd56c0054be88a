"""Settings chosen on the support, or by an oracle: among which, by what, and without queries."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
import pytest
import torch
from torch import Tensor

from metabench.backbones.mlp import MLP
from metabench.config.bounds import Positive, Whole
from metabench.config.search import ADAPTS, Choice, Log
from metabench.data.base import ClassInfo, Dataset
from metabench.data.sinusoid import SINUSOID
from metabench.episodes import Episodes, class_means
from metabench.episodes.frozen_episodes import freeze, freeze_tasks
from metabench.learning.scoring import EpisodeSet, evaluate
from metabench.learning.selection import candidates, folds, selected, support_scores
from metabench.methods.base import Diverged, FeatureMethod, Method, Settings, Task

CPU = torch.device("cpu")


class MixedSettings(Settings):
    """``power``: of the features; ``steps``: of nothing."""

    power: Annotated[Positive, Log(0.05, 20), ADAPTS] = 0.05
    steps: Annotated[Whole, Choice(1, 2, 3), ADAPTS] = 1
    width: Annotated[Whole, Choice(1, 2, 3)] = 1


class Mixed(FeatureMethod):
    """Nearest class mean of features with an exponent; keeps the queries that it is asked."""

    family, paper, source_training = "control", "made up", "none"
    kinds = frozenset({"vector"})
    Settings = MixedSettings

    def embed(self, x: Tensor) -> Tensor:
        return x.sign() * x.abs() ** self.settings.power

    def classify(self, features: Episodes) -> Tensor:
        assert not features.query_y.any()
        means = class_means(features.support_x, features.support_y, features.ways)
        return -torch.cdist(features.query_x, means)


def learner(**settings) -> Mixed:
    return Mixed(MLP((6,), (8,)), Task("vector", 4, 6), MixedSettings(**settings))


def episodes(shots: int = 4, draws: str = "") -> EpisodeSet:
    draw = np.random.default_rng(0)
    x = (2 * np.eye(6)[:, None] + draw.normal(size=(6, 20, 6))).reshape(-1, 6).astype(np.float32)
    classes = tuple(ClassInfo(str(i), "g", "test") for i in range(6))
    made = Dataset("made", "vector", x, np.repeat(np.arange(6), 20), classes)
    return EpisodeSet.of(freeze(made, "test", 4, shots, 5, 40, "", draws), made, None, CPU)


def test_candidates_are_the_own_settings_and_draws_of_what_adapts_alike_for_all() -> None:
    found = candidates(learner(width=3, by_shots={5: {"steps": 2}}), 4, 6)
    assert len(found) == 6 and found[0].steps == 2 and {s.width for s in found} == {3}
    assert len({s.power for s in found}) == 6 and all(0.05 <= s.power <= 20 for s in found)
    others = candidates(learner(), 1, 4)
    assert [s.power for s in others[1:]] == [s.power for s in found[1:4]]

    class Same(Settings):
        steps: Annotated[Whole, Choice(1, 2, 3), ADAPTS] = 1

    class Other(Mixed):
        Settings = Same

    method = Other(MLP((6,), (8,)), Task("vector", 4, 6), Same())
    assert [s.steps for s in candidates(method, 1, 6)[1:]] == [s.steps for s in found[1:]]


def test_folds_hold_every_support_example_once_and_each_class_evenly() -> None:
    asked, _ = episodes(shots=7).ask(slice(0, 3))
    parts = list(folds(asked, 5, "name"))
    assert [part.query_x.shape[1] for part in parts] == [8, 8, 4, 4, 4]
    for t in range(3):
        held = torch.cat([part.query_x[t] for part in parts])
        assert sorted(held.tolist()) == sorted(asked.support_x[t].tolist())
        for part in parts:
            both = torch.cat([part.support_x[t], part.query_x[t]])
            assert sorted(both.tolist()) == sorted(asked.support_x[t].tolist())
            assert len(set(part.query_y[t].bincount().tolist())) == 1
            assert len(set(part.support_y[t].bincount().tolist())) == 1
    assert any((part.query_y[0].diff() < 0).any() for part in parts)  # not class by class


def test_the_score_on_the_support_is_that_of_leaving_examples_out_one_by_one() -> None:
    sets, method = episodes(shots=3), learner(power=2.0)
    found = support_scores(method, sets)
    for e in (0, 17):
        asked, _ = sets.ask(slice(e, e + 1))
        x = method.embed(asked.support_x[0].float()).numpy()
        y = asked.support_y[0].numpy()
        right = []
        for fold in range(3):
            held = np.array([np.flatnonzero(y == k)[fold] for k in range(4)])
            rest = np.setdiff1d(np.arange(12), held)
            means = np.stack([x[rest][y[rest] == k].mean(0) for k in range(4)])
            right += [np.linalg.norm(means - x[i], axis=1).argmin() == y[i] for i in held]
        assert found[e] == pytest.approx(np.mean(right))


def test_other_queries_change_no_choice_on_the_support() -> None:
    sets, method = episodes(), learner()
    rows = sets.frozen.indices.copy()
    rows[:, :, 4:] = rows[:, ::-1, 4:]
    other = replace(sets, frozen=replace(sets.frozen, indices=rows))
    for settings in candidates(method, 4, 4):
        method.settings = settings
        assert support_scores(method, sets).tolist() == support_scores(method, other).tolist()


def test_each_rule_chooses_among_the_same_and_the_oracle_is_the_best_of_them() -> None:
    sets, method = episodes(), learner()
    own = method.settings
    found = selected(method, sets, ("support", "oracle"), 6)
    assert method.settings is own and found.groupby("selection").size().eq(40).all()
    by_hand, chosen = [], []
    for settings in candidates(method, 4, 6):
        other = learner(**settings.model_dump())
        by_hand.append(evaluate(other, [sets], temperatures={})["value"].to_numpy())
        chosen.append(support_scores(other, sets))
    oracle, support = (found.loc[found.selection == r, "value"] for r in ("oracle", "support"))
    best = np.argmax([values.mean() for values in by_hand])
    assert oracle.tolist() == by_hand[best].tolist() and best != 0
    picks = np.argmax(chosen, axis=0)
    assert support.tolist() == [by_hand[c][e] for e, c in enumerate(picks)] and len(set(picks)) > 1
    assert by_hand[0].mean() < support.mean() <= oracle.mean()


def test_one_shot_leaves_nothing_to_choose_by_and_a_method_without_candidates_has_no_rows() -> None:
    found = selected(learner(), episodes(shots=1), ("support", "oracle"), 3)
    assert set(found["selection"]) == {"oracle"}
    assert selected(learner(), episodes(shots=1), ("support",), 3).empty

    class Plain(Mixed):
        Settings = Settings

    plain = Plain(MLP((6,), (8,)), Task("vector", 4, 6), Settings())
    assert candidates(plain, 1, 6) == [Settings()]
    assert selected(plain, episodes(), ("support", "oracle"), 3).empty


class Jumping(Method):
    """Regression: predicts its setting, and diverges with the larger half of the candidates."""

    family, paper, source_training = "control", "made up", "none"
    kinds = frozenset({"regression"})
    Settings = MixedSettings

    def predict(self, episodes: Episodes) -> Tensor:
        power = self.settings.power
        return torch.full_like(episodes.query_y, power if power < 1 else torch.inf)


def test_in_regression_less_is_better_and_a_candidate_that_diverges_is_none() -> None:
    assert SINUSOID.family is not None
    sets = EpisodeSet.of(freeze_tasks(SINUSOID.family, "test", 5, 10, 12), None, None, CPU)
    method = Jumping(MLP((1,), (8,)), Task("regression", 0, 0, 1), MixedSettings(power=0.9))
    found = selected(method, sets, ("support", "oracle"), 8)
    own = evaluate(method, [sets])["value"]
    means = found.groupby("selection")["value"].mean()
    assert means["oracle"] < own.mean() and np.isfinite(found["value"]).all()
    powers = [s.power for s in candidates(method, 5, 8)]
    assert min(powers) < 1 < max(powers)
    method.settings = MixedSettings(power=2.0)
    assert (support_scores(method, sets) == -np.inf).all()
    with pytest.raises(Diverged):
        evaluate(method, [sets])
