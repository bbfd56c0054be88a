"""The open-set score against a count over pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from metabench.backbones.mlp import MLP
from metabench.data.base import ClassInfo, Dataset
from metabench.episodes.frozen_episodes import freeze
from metabench.learning.open_set import auroc
from metabench.learning.scoring import EpisodeSet
from metabench.methods.base import Task
from metabench.methods.metric.protonet import ProtoNet
from metabench.methods.parameter.fine_tune import FineTune
from metabench.reports.open_set import open_set_figure, open_set_rows


@pytest.fixture
def episodes() -> EpisodeSet:
    draw = np.random.default_rng(0)
    x = (3 * np.eye(4)[:, None] + draw.normal(size=(4, 10, 4))).reshape(-1, 4).astype(np.float32)
    classes = tuple(ClassInfo(str(i), "g", "test") for i in range(4))
    made = Dataset("made", "vector", x, np.repeat(np.arange(4), 10), classes)
    return EpisodeSet.of(freeze(made, "test", 4, 2, 5, 2, ""), made, None, torch.device("cpu"))


@pytest.mark.parametrize("method", [ProtoNet, FineTune])
def test_auroc_is_the_share_of_pairs_in_the_right_order(method, episodes) -> None:
    torch.manual_seed(0)
    learner = method(MLP((4,), (8,)), Task("vector", 4, 4), method.Settings()).eval()
    outside = torch.randn(7, 4)
    task, _ = episodes.frozen.episodes(slice(0, 1), episodes.table)
    x = torch.cat([task.query_x, outside[None]], dim=1)
    asked = type(task)(task.support_x, task.support_y, x, torch.zeros(1, x.shape[1]).long(), 4)
    top = learner.predict(asked)[0].detach().softmax(-1).amax(-1)
    inside, strangers = top[:20], top[20:]
    expected = (inside[:, None] > strangers).float().mean()
    assert auroc(learner, episodes, outside) == pytest.approx(float(expected), abs=1e-3)


def test_the_figure_has_the_methods_that_were_measured_alone(tmp_path) -> None:
    records = pd.DataFrame(
        [
            {"method": "a", "family": "feature", "open_set_auroc": {"t/9w1s": 0.9}},
            {"method": "a", "family": "feature", "open_set_auroc": {"t/9w1s": 0.7}},
            {"method": "b", "family": "metric", "open_set_auroc": {}},
        ]
    )
    assert open_set_rows(records).to_dict("records") == [
        {"setting": "t/9w1s", "method": "a", "family": "feature", "auroc": pytest.approx(0.8)}
    ]
    open_set_figure(records, tmp_path / "figure.svg")
    assert "9w1s" in (tmp_path / "figure.svg").read_text()
    open_set_figure(records[2:], tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
