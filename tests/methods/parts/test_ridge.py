"""Ridge regression in closed form, against the normal equations and scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import Ridge as SklearnRidge

from metabench.methods.feature.ridge import ridge
from metabench.methods.parts.ridge import ridge_weights


def test_both_forms_of_the_solution_agree():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 9, generator=g, dtype=torch.float64)
    y = torch.randn(2, 4, 3, generator=g, dtype=torch.float64)
    eye = torch.eye(9, dtype=torch.float64)
    primal = torch.linalg.solve(x.mT @ x + 0.2 * eye, x.mT @ y)
    torch.testing.assert_close(ridge_weights(x, y, 0.2), primal)


@pytest.mark.parametrize("support", [4, 20])
def test_outputs_are_those_of_scikit_learn_with_an_intercept(support) -> None:
    g = torch.Generator().manual_seed(0)
    x, y, query = (
        torch.randn(2, *size, generator=g, dtype=torch.float64) + 3
        for size in ((support, 9), (support, 3), (5, 9))
    )
    found = ridge(x, y, query, 0.2)
    for t in range(2):
        wanted = SklearnRidge(alpha=0.2).fit(x[t].numpy(), y[t].numpy()).predict(query[t].numpy())
        torch.testing.assert_close(found[t], torch.from_numpy(wanted))
