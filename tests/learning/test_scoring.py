"""What is evaluated when adaptation diverges."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from metabench.backbones.mlp import MLP
from metabench.data.sinusoid import SINUSOID
from metabench.episodes import Episodes
from metabench.episodes.frozen_episodes import freeze_tasks
from metabench.learning.scoring import EpisodeSet, evaluate
from metabench.methods.base import Diverged, Method, Task


class Growing(Method):
    """Answers 1e8 to the power of its steps: infinite in single precision after five."""

    family, paper, source_training = "control", "made up", "nothing"
    kinds = frozenset({"regression"})
    own = 1

    def predict(self, episodes: Episodes) -> Tensor:
        return self.predict_after(episodes, [self.own])[0]

    def predict_after(self, episodes: Episodes, steps: Sequence[int]) -> list[Tensor]:
        return [torch.full_like(episodes.query_y, 1.0) * 1e8**k for k in steps]


@pytest.fixture
def episodes() -> EpisodeSet:
    assert SINUSOID.family is not None
    frozen = freeze_tasks(SINUSOID.family, "test", 5, 10, 3)
    return EpisodeSet.of(frozen, None, None, torch.device("cpu"))


def learner(own: int) -> Growing:
    made = Growing(MLP((1,), (8,)), Task("regression", 1, 1), Growing.Settings())
    made.own = own
    return made


def test_steps_that_lead_to_no_finite_error_have_no_rows(episodes) -> None:
    found = evaluate(learner(own=1), [episodes], steps=(0, 2, 5, 10))
    assert found.groupby("steps").size().to_dict() == {-1: 3, 0: 3, 2: 3}


def test_a_method_s_own_answer_must_be_finite(episodes) -> None:
    with pytest.raises(Diverged, match="predictions on sinusoid are not finite"):
        evaluate(learner(own=5), [episodes], steps=(0,))
