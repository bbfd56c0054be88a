"""LP-FT: its start against scikit-learn, its descent against torch's own optimiser."""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

from metabench.methods.parameter.lp_ft import LPFT, LPFTSettings
from tests.methods.small import WAYS, build, episodes

C = 3.0
SETTINGS = {"c": C, "finetune_lr": 0.05, "head_lr": 0.2, "momentum": 0.8}


def probe(learner, batch, t) -> tuple[LogisticRegression, float]:
    """Fitted to features of mean length one, and what they were divided by."""
    with torch.no_grad():
        x = learner.backbone(batch.support_x[t][None])[0].numpy()
    size = np.mean([np.linalg.norm(row) for row in x])
    fitted = LogisticRegression(C=C, tol=1e-12, max_iter=10_000)
    return fitted.fit(x / size, batch.support_y[t].numpy()), size


def test_after_no_step_it_is_the_probe_of_scikit_learn() -> None:
    learner, batch = build(LPFT, LPFTSettings(**SETTINGS, steps=0)), episodes(support=9)
    found = learner.predict(batch).softmax(-1).numpy()
    for t in range(len(batch)):
        fitted, size = probe(learner, batch, t)
        with torch.no_grad():
            q = learner.backbone(batch.query_x[t][None])[0].numpy()
        np.testing.assert_allclose(found[t], fitted.predict_proba(q / size), atol=1e-5)


def test_from_there_everything_adapts_by_sgd_with_momentum() -> None:
    learner, batch = build(LPFT, LPFTSettings(**SETTINGS, steps=6)), episodes(support=9)
    found = learner.predict(batch).softmax(-1)
    for t in range(len(batch)):
        net, (fitted, size) = copy.deepcopy(learner.backbone), probe(learner, batch, t)
        head = nn.Linear(net.feature_dim, WAYS).double()
        head.weight.data = torch.from_numpy(fitted.coef_) / size
        head.bias.data = torch.from_numpy(fitted.intercept_)
        groups = [
            {"params": list(net.parameters()), "lr": 0.05},
            {"params": list(head.parameters()), "lr": 0.2},
        ]
        optimiser = torch.optim.SGD(groups, momentum=0.8)
        for _ in range(6):
            optimiser.zero_grad()
            logits = head(net(batch.support_x[t][None])[0])
            F.cross_entropy(logits, batch.support_y[t]).backward()
            optimiser.step()
        expected = head(net(batch.query_x[t][None])[0]).detach().softmax(-1)
        # as close as scikit-learn comes to the minimum
        torch.testing.assert_close(found[t], expected, rtol=1e-4, atol=1e-5)


def test_how_long_features_are_does_not_matter_to_the_probe() -> None:
    learner, batch = build(LPFT, LPFTSettings(**SETTINGS, steps=0)), episodes(support=9)
    found = learner.predict(batch)
    for p in learner.backbone.layers[-1].parameters():
        p.data *= 100
    torch.testing.assert_close(learner.predict(batch), found)
