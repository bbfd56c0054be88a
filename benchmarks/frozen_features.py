"""Heads on frozen features: all episodes at once against scikit-learn, one episode after another.

100 episodes of 5 ways, 5 shots and 15 queries on unit features of 64 dimensions: logistic
regression (C = 10, as ``linear_probe``) and ridge. That both give the same logits is checked.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from torch import Tensor

from benchmarks.timing import compare, configure
from metabench.episodes import Episodes, one_hot
from metabench.episodes.sampling import assemble
from metabench.methods.feature.ridge import ridge
from metabench.methods.parts.logistic import logistic

EPISODES, WAYS, SHOTS, QUERIES, WIDTH = 100, 5, 5, 15, 64
C, PENALTY = 10.0, 1.0


def episodes() -> Episodes:
    """Noisy class means on the unit sphere, in double precision as features are fitted in."""
    torch.manual_seed(0)
    means = torch.randn(EPISODES, WAYS, 1, WIDTH, dtype=torch.double)
    x = means + torch.randn(EPISODES, WAYS, SHOTS + QUERIES, WIDTH, dtype=torch.double)
    return assemble(F.normalize(x, dim=-1), SHOTS)


def sklearn_logistic(e: Episodes, tolerance: float) -> Tensor:
    """Logits of a loop over episodes."""
    logits = []
    for x, y, q in zip(e.support_x.numpy(), e.support_y.numpy(), e.query_x.numpy(), strict=True):
        fitted = LogisticRegression(C=C, max_iter=1000, tol=tolerance).fit(x, y)
        logits.append(fitted.decision_function(q))
    return torch.from_numpy(np.stack(logits))


def sklearn_ridge(e: Episodes) -> Tensor:
    """Outputs of a loop over episodes."""
    outputs = []
    targets = one_hot(e.support_y, WAYS, e.support_x).numpy()
    for x, y, q in zip(e.support_x.numpy(), targets, e.query_x.numpy(), strict=True):
        outputs.append(SklearnRidge(alpha=PENALTY).fit(x, y).predict(q))
    return torch.from_numpy(np.stack(outputs))


def main(repeats: int = 5) -> dict[str, float]:
    """Check that both agree, then time them."""
    configure()
    e = episodes()
    targets = one_hot(e.support_y, WAYS, e.support_x)

    def batched() -> Tensor:
        return logistic(e.support_x, e.support_y, e.query_x, WAYS, C)

    def batched_ridge() -> Tensor:
        return ridge(e.support_x, targets, e.query_x, PENALTY)

    few = slice(0, 10)
    found, wanted = batched()[few], sklearn_logistic(e[few], 1e-8)
    centred = [logits - logits.mean(-1, keepdim=True) for logits in (found, wanted)]
    torch.testing.assert_close(*centred, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(batched_ridge(), sklearn_ridge(e))

    medians = compare(
        {
            "logistic, metabench": batched,
            "logistic, scikit-learn (its tolerance)": lambda: sklearn_logistic(e, 1e-4),
        },
        repeats,
    )
    return medians | compare(
        {"ridge, metabench": batched_ridge, "ridge, scikit-learn": lambda: sklearn_ridge(e)},
        repeats,
    )


if __name__ == "__main__":
    main()
