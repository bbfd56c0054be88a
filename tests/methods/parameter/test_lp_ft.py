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


def probe(learner, batch, t) -> LogisticRegression:
    with torch.no_grad():
        x = F.normalize(learner.backbone(batch.support_x[t][None])[0], dim=1).numpy()
    return LogisticRegression(C=C, tol=1e-12, max_iter=10_000).fit(x, batch.support_y[t].numpy())


def test_after_no_step_it_is_the_probe_of_scikit_learn() -> None:
    learner, batch = build(LPFT, LPFTSettings(c=C, steps=0)), episodes(support=9)
    found = learner.predict(batch).softmax(-1).numpy()
    for t in range(len(batch)):
        with torch.no_grad():
            q = F.normalize(learner.backbone(batch.query_x[t][None])[0], dim=1).numpy()
        np.testing.assert_allclose(found[t], probe(learner, batch, t).predict_proba(q), atol=1e-5)


def test_from_there_everything_adapts_by_sgd_with_momentum() -> None:
    settings = LPFTSettings(c=C, finetune_lr=0.05, head_lr=0.2, momentum=0.8, steps=6)
    learner, batch = build(LPFT, settings), episodes(support=9)
    found = learner.predict(batch)
    for t in range(len(batch)):
        net, fitted = copy.deepcopy(learner.backbone), probe(learner, batch, t)
        head = nn.Linear(net.feature_dim, WAYS).double()
        head.weight.data = torch.from_numpy(fitted.coef_)
        head.bias.data = torch.from_numpy(fitted.intercept_)
        groups = [
            {"params": list(net.parameters()), "lr": 0.05},
            {"params": list(head.parameters()), "lr": 0.2},
        ]
        optimiser = torch.optim.SGD(groups, momentum=0.8)
        for _ in range(6):
            optimiser.zero_grad()
            features = F.normalize(net(batch.support_x[t][None])[0], dim=1)
            F.cross_entropy(head(features), batch.support_y[t]).backward()
            optimiser.step()
        expected = head(F.normalize(net(batch.query_x[t][None])[0], dim=1)).detach()
        torch.testing.assert_close(
            found[t].softmax(-1), expected.softmax(-1), rtol=1e-4, atol=1e-5
        )  # scikit-learn stops a little before the minimum
