"""The ensemble against its members, each run by itself as fine-tuning."""

from __future__ import annotations

from collections import Counter

import torch

from metabench.methods.parameter.ensemble import Ensemble, EnsembleSettings
from metabench.methods.parameter.fine_tune import FineTune
from metabench.methods.parts import fine_tuning
from tests.methods.small import build, episodes

GRID = {"finetune_lr": 0.02, "head_lr": 0.1, "momentum": 0.8, "steps": 6}


def test_probabilities_are_the_mean_of_runs_at_each_rate_and_number_of_steps() -> None:
    settings = EnsembleSettings(**GRID, rates=3, spread=4.0, checkpoints=2)
    batch = episodes(support=8)
    found = build(Ensemble, settings).predict(batch)
    members = []
    for finetune_lr, head_lr in [(0.005, 0.025), (0.02, 0.1), (0.08, 0.4)]:
        for steps in (3, 6):
            chosen = GRID | {"finetune_lr": finetune_lr, "head_lr": head_lr, "steps": steps}
            members.append(build(FineTune, FineTune.Settings(**chosen)).predict(batch).softmax(-1))
    torch.testing.assert_close(found.exp(), torch.stack(members).mean(0))
    assert (members[0] - members[-1]).abs().max() > 0.01


def test_an_ensemble_of_one_is_fine_tuning() -> None:
    batch = episodes(support=8)
    alone = build(Ensemble, EnsembleSettings(**GRID, rates=1, checkpoints=1)).predict(batch)
    fine_tuned = build(FineTune, FineTune.Settings(**GRID)).predict(batch)
    torch.testing.assert_close(alone, fine_tuned.log_softmax(-1))


def test_checkpoints_are_shared_and_settings_are_as_before(monkeypatch) -> None:
    learner, descend, taken = (
        build(Ensemble, EnsembleSettings(**GRID)),
        fine_tuning.descend,
        Counter(),
    )

    def counted(loss, weights, learning_rate, momentum, steps, velocity):
        taken[round(learning_rate("backbone", 0), 6)] += len(steps)
        return descend(loss, weights, learning_rate, momentum, steps, velocity)

    monkeypatch.setattr(fine_tuning, "descend", counted)
    given = learner.settings
    learner.predict(episodes())
    assert taken == {0.006667: 6, 0.02: 6, 0.06: 6}  # for checkpoints after 2, 4 and 6 steps
    assert learner.settings is given
