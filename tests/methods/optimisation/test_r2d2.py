"""R2-D2: its head against numpy's least squares; gradients through the solution."""

from __future__ import annotations

import numpy as np
import pytest

from metabench.methods.optimisation.r2d2 import R2D2, R2D2Settings
from tests.methods.small import WAYS, build, close, episodes, gradients, numeric_gradients


@pytest.mark.parametrize("support", [4, 12])  # fewer and more than the seven dimensions
@pytest.mark.parametrize("regression", [False, True])
def test_the_answers_equal_numpys_ridge_regression(support, regression):
    """Ridge is least squares on data with √λ-scaled unit rows and zero targets below."""
    method = build(R2D2, R2D2Settings(penalty=0.3, scale=2.0), outputs=int(regression))
    method.bias.data.fill_(0.7)
    batch = episodes(support=support, regression=regression)
    outputs = method.predict(batch)
    embedded = batch.map(method.backbone)
    scale = 1.0 if regression else 2.0
    for t in range(len(batch)):
        x, q = embedded.support_x[t].detach().numpy(), embedded.query_x[t].detach().numpy()
        y = batch.support_y[t].numpy()
        targets = y if regression else np.eye(WAYS)[y]
        below = np.sqrt(method.log_penalty.exp().item()) * np.eye(x.shape[1])
        zeros = np.zeros((x.shape[1], targets.shape[1]))
        weights, *_ = np.linalg.lstsq(np.r_[x, below], np.r_[targets, zeros], rcond=None)
        np.testing.assert_allclose(outputs[t].detach(), scale * q @ weights + 0.7, rtol=1e-9)


def test_the_gradient_through_the_solution_equals_finite_differences():
    method, batch = build(R2D2, R2D2Settings(penalty=0.3, scale=2.0)), episodes()
    numeric = numeric_gradients(method, lambda: method.loss(batch, 0.0))
    close(gradients(method, batch), numeric, rtol=1e-6)
