"""The temperature: where it is known in closed form, and what it must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.backbones.mlp import MLP
from metabench.data.base import ClassInfo, Dataset
from metabench.episodes import Episodes, class_means
from metabench.episodes.frozen_episodes import freeze
from metabench.learning.calibration import temperature_for, temperature_of
from metabench.learning.scoring import EpisodeSet, evaluate
from metabench.methods.base import FeatureMethod, Task
from metabench.reports.statistics.curves import calibration


def answers(queries: int = 4000) -> tuple[Tensor, Tensor]:
    """Logits of four classes, and labels that are as frequent as they say."""
    draw = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(queries, 4, generator=draw)
    return logits, torch.multinomial(logits.softmax(-1), 1, generator=draw)[:, 0]


def test_logits_that_are_c_times_the_true_ones_have_temperature_c() -> None:
    counts = torch.tensor([[500, 300, 200], [100, 100, 800], [340, 330, 330]])
    labels = torch.cat([torch.arange(3).repeat_interleave(row) for row in counts])
    logits = counts.log().repeat_interleave(1000, 0)
    for c in (0.05, 1.0, 30.0):  # 3000 queries; labels count as if 3 more had been uniform
        assert temperature_of(c * logits, labels) == pytest.approx(c, rel=0.005)


def test_no_other_temperature_has_less_loss() -> None:
    logits, labels = answers()
    best = temperature_of(logits, labels)
    count, ways = logits.shape
    targets = (count * F.one_hot(labels, ways) + 1) / (count + ways)  # K · 1/K each
    grid = [best * math.exp(step / 10) for step in range(-30, 31)]
    losses = [float(F.cross_entropy(logits.double() / t, targets.double())) for t in grid]
    assert np.argmin(losses) == 30
    assert (np.diff(losses[:31]) < 0).all() and (np.diff(losses[30:]) > 0).all()


def test_answers_that_are_all_right_all_wrong_or_all_alike_have_a_temperature_too() -> None:
    logits, _ = answers()
    spread = float(logits.std())
    assert 0.01 * spread < temperature_of(logits, logits.argmax(-1)) < 0.1 * spread
    assert temperature_of(logits, logits.argmin(-1)) > 1000 * spread  # as good as uniform
    assert temperature_of(torch.full((9, 4), 0.1), torch.zeros(9, dtype=torch.int64)) == 1


def test_a_setting_takes_that_of_as_many_ways_as_val_has() -> None:
    forms = {(5, 1): 0.1, (20, 1): 0.2, (20, 5): 0.3}
    found = [temperature_for(forms, *form) for form in ((77, 1), (20, 5), (19, 1), (150, 5))]
    assert found == [0.2, 0.3, 0.1, 0.3]
    assert math.isnan(temperature_for(forms, 5, 5)) and math.isnan(temperature_for({}, 5, 1))


class Scaled(FeatureMethod):
    """Nearest class mean; its logits have a scale that changes no decision."""

    family, paper, source_training = "control", "made up", "none"
    kinds = frozenset({"vector"})
    scale = 1.0

    def classify(self, features: Episodes) -> Tensor:
        means = class_means(features.support_x, features.support_y, features.ways)
        return -self.scale * torch.cdist(features.query_x, means).square()

    def embed(self, x: Tensor) -> Tensor:
        return x.round(decimals=1)  # so that there are ties


def test_methods_that_differ_in_scale_alone_are_calibrated_alike_and_stay_as_accurate() -> None:
    draw = np.random.default_rng(0)
    x = (np.eye(6)[:, None] + draw.normal(size=(6, 9, 6))).reshape(-1, 6).astype(np.float32)
    classes = tuple(ClassInfo(str(i), "g", "test") for i in range(6))
    made = Dataset("made", "vector", x, np.repeat(np.arange(6), 9), classes)
    val, test = (
        EpisodeSet.of(freeze(made, "test", 4, 2, 5, 30, "", draws), made, None, torch.device("cpu"))
        for draws in ("val", "test")
    )
    found = []
    for scale in (0.2, 50.0):
        method = Scaled(MLP((6,), (8,)), Task("vector", 4, 6), Scaled.Settings())
        method.scale = scale
        fitted = evaluate(method, [val])["temperature"].iloc[0]
        found.append(evaluate(method, [test], temperatures={(4, 2): fitted}))
        plain = evaluate(method, [test], temperatures={})
        assert found[-1]["value"].tolist() == plain["value"].tolist()
        assert found[-1]["raw_nll"].tolist() == plain["nll"].tolist()
        assert found[-1]["nll"].mean() < plain["nll"].mean()
        assert plain["temperature"].isna().all()
    small, large = found
    assert small["nll"].to_numpy() == pytest.approx(large["nll"].to_numpy(), rel=1e-4)
    assert calibration(small)[0] == pytest.approx(calibration(large)[0], abs=1e-3)
    assert calibration(small)[0] < 0.05
    assert min(calibration(rows, "raw_bin")[0] for rows in found) > 0.1
