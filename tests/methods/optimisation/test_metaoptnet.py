"""MetaOptNet: its dual solver against scikit-learn's Crammer-Singer SVM and scipy's QP."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from sklearn.svm import LinearSVC

from metabench.methods.optimisation.metaoptnet import (
    MetaOptNet,
    MetaOptNetSettings,
    project_simplex,
    solve_svm,
)
from tests.methods.small import WAYS, build, check_slopes, episodes

C = 0.4


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    batch = episodes(support=9)
    return batch.support_x, batch.support_y


def test_the_weights_equal_scikit_learns_crammer_singer_svm():
    x, y = problem()
    labels = torch.eye(WAYS, dtype=torch.float64)[y]
    alpha = solve_svm(x @ x.mT, labels, C, iterations=3000)
    for t in range(len(x)):
        svm = LinearSVC(
            multi_class="crammer_singer", C=C, fit_intercept=False, tol=1e-10, max_iter=100_000
        ).fit(x[t].numpy(), y[t].numpy())
        np.testing.assert_allclose((alpha[t].T @ x[t]).numpy(), svm.coef_, atol=1e-6)


def test_the_dual_variables_reach_the_optimum_that_scipy_finds():
    x, y = problem()
    x, y = x[0].numpy(), y[0].numpy()
    labels = np.eye(WAYS)[y]
    kernel = x @ x.T

    def objective(flat: np.ndarray) -> float:
        a = flat.reshape(labels.shape)
        return 0.5 * np.trace(a.T @ kernel @ a) - (a * labels).sum()

    reference = scipy.optimize.minimize(
        objective,
        np.zeros(labels.size),
        bounds=[(None, C * v) for v in labels.ravel()],
        constraints={"type": "eq", "fun": lambda f: f.reshape(labels.shape).sum(1)},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    ours = solve_svm(torch.tensor(kernel)[None], torch.tensor(labels)[None], C, 3000)[0].numpy()
    assert objective(ours.ravel()) == pytest.approx(reference.fun, abs=1e-8)
    np.testing.assert_allclose(ours.sum(1), 0, atol=1e-12)
    assert (ours <= C * labels + 1e-12).all()


def test_the_default_number_of_iterations_is_close_to_the_optimum():
    x, y = problem()
    labels = torch.eye(WAYS, dtype=torch.float64)[y]
    far = solve_svm(x @ x.mT, labels, 0.1, iterations=3000)
    near = solve_svm(x @ x.mT, labels, 0.1, MetaOptNetSettings().iterations)
    gap = (x.mT @ (near - far)).norm(dim=(1, 2)) / (x.mT @ far).norm(dim=(1, 2))
    assert gap.max() < 0.01


def test_the_gradient_through_the_solver_equals_finite_differences():
    method = build(MetaOptNet, MetaOptNetSettings(C=C, iterations=300))
    batch = episodes()
    check_slopes(method, lambda: method.loss(batch, 0.0))


def test_logits_are_the_scaled_scores_of_the_svm():
    method, batch = (
        build(MetaOptNet, MetaOptNetSettings(C=C, iterations=3000, scale=3.0)),
        episodes(),
    )
    logits, embedded = method.predict(batch), batch.map(method.backbone)
    x, y = embedded.support_x[0].detach().numpy(), batch.support_y[0].numpy()
    svm = LinearSVC(
        multi_class="crammer_singer", C=C, fit_intercept=False, tol=1e-10, max_iter=100_000
    ).fit(x, y)
    expected = 3 * svm.decision_function(embedded.query_x[0].detach().numpy())
    np.testing.assert_allclose(logits[0].detach(), expected, atol=1e-5)


def test_projection_on_the_simplex_is_the_nearest_point():
    z = torch.tensor([[0.5, 0.2, -1.0], [3.0, 0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[0.65, 0.35, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(project_simplex(z, 1.0), expected)
