"""iMAML: the implicit meta-gradient against the explicit one, in closed form on a quadratic."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from metabench.episodes import task_loss
from metabench.methods.optimisation.imaml import (
    IMAML,
    UNSOLVED,
    IMAMLSettings,
    Solution,
    conjugate_gradient,
)
from tests.methods.small import (
    DIM,
    build,
    check_slopes,
    episodes,
    gradients,
    plain_loss,
    plain_network,
)

LAMBDA = 0.5


def imaml(widths: tuple[int, ...], outputs: int, **settings: float) -> IMAML:
    values = {"steps": 400, "inner_lr": 0.2, "regularisation": LAMBDA, "cg_steps": 30} | settings
    return build(IMAML, IMAMLSettings(**values), widths, outputs)


def test_on_a_quadratic_the_meta_gradient_equals_the_closed_form():
    """Linear regression with a ridge towards θ: solution and its derivative are matrices."""
    method, batch = imaml((), outputs=1), episodes(regression=True)
    theta = np.append(method.head.weight.detach().numpy()[0], method.head.bias.item())
    expected = np.zeros(DIM + 1)
    for t in range(len(batch)):
        x, q = (np.c_[v[t].numpy(), np.ones(v.shape[1])] for v in (batch.support_x, batch.query_x))
        y, z = batch.support_y[t, :, 0].numpy(), batch.query_y[t, :, 0].numpy()
        hessian = 2 * x.T @ x / len(x)  # of the mean squared error
        system = hessian + LAMBDA * np.eye(DIM + 1)
        solution = np.linalg.solve(system, 2 * x.T @ y / len(x) + LAMBDA * theta)
        slope = 2 * q.T @ (q @ solution - z) / len(q)
        expected += np.linalg.solve(system, LAMBDA * slope) / len(batch)
    found = gradients(method, batch)
    np.testing.assert_allclose(found["head.weight"][0], expected[:-1], rtol=1e-8)
    np.testing.assert_allclose(found["head.bias"], expected[-1:], rtol=1e-8)


def test_on_a_network_the_meta_gradient_equals_finite_differences_of_the_solved_problem():
    method, batch = imaml((3,), outputs=0, steps=150, regularisation=2.0), episodes()

    def solved() -> torch.Tensor:
        """The query loss at the solution, without the meta-gradient."""
        end = method.adapt(batch, 150, second_order=False)
        return task_loss(method.query_logits(batch, end), batch.query_y).mean()

    check_slopes(method, lambda: method.outer_loss(batch, 0.0), solved)


def test_the_inner_problem_is_solved_with_its_penalty():
    method, batch = imaml((3,), outputs=0, regularisation=2.0), episodes()
    start, end = method.initial(batch), method.adapt(batch, 400, second_order=False)
    end = {name: w.detach().requires_grad_() for name, w in end.items()}
    outputs = method.forward(batch.support_x, end, batch.support_x.shape[1])
    loss = torch.nn.functional.cross_entropy(
        outputs.flatten(0, 1), batch.support_y.flatten()
    ) * len(batch)
    loss = loss + sum((end[n] - start[n].detach()).square().sum() for n in end)  # λ/2 = 1
    for slope in torch.autograd.grad(loss, list(end.values())):
        assert slope.abs().max() < 1e-8


def test_conjugate_gradient_solves_each_tasks_system():
    g = torch.Generator().manual_seed(0)
    root = torch.randn(3, 6, 6, generator=g, dtype=torch.float64)
    system = root @ root.mT + torch.eye(6, dtype=torch.float64)
    b = torch.randn(3, 6, generator=g, dtype=torch.float64)

    def product(v: list[torch.Tensor]) -> list[torch.Tensor]:
        whole = torch.cat([v[0].flatten(1), v[1]], dim=1)
        image = (system @ whole.unsqueeze(-1)).squeeze(-1)
        return [image[:, :4].unflatten(1, (2, 2)), image[:, 4:]]

    def solved(steps: int) -> tuple[torch.Tensor, Solution]:
        found = conjugate_gradient(product, [b[:, :4].unflatten(1, (2, 2)), b[:, 4:]], steps)
        return torch.cat([found.x[0].flatten(1), found.x[1]], dim=1), found

    x, _ = solved(12)
    torch.testing.assert_close(x, torch.linalg.solve(system, b))
    x, found = solved(3)
    left = b - (system @ x.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found.residual, left.norm(dim=1) / b.norm(dim=1))
    assert not found.negative.any()


@pytest.mark.parametrize("steps", [1, 5])
def test_negative_curvature_at_once_leaves_the_first_order_gradient(steps):
    b = torch.tensor([[1.0, 2.0, 3.0]])
    found = conjugate_gradient(lambda v: [-v[0]], [b], steps)
    assert torch.equal(found.x[0], b)  # not zero: the task would teach nothing
    assert found.negative.tolist() == [True]


def test_negative_curvature_later_ends_the_search_with_what_it_has():
    system = torch.diag(torch.tensor([1.0, -0.5], dtype=torch.float64))
    b = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    one = conjugate_gradient(lambda v: [v[0] @ system], [b], 1)
    many = conjugate_gradient(lambda v: [v[0] @ system], [b], 9)
    # step length bᵀb / bᵀAb = 2 / 0.5; the next direction curves down
    torch.testing.assert_close(one.x[0], 4 * b)
    assert torch.equal(many.x[0], one.x[0])
    assert not one.negative.any() and many.negative.all()


def test_an_inner_problem_that_is_solved_is_measured_as_such_and_does_not_warn():
    method, batch = imaml((3,), outputs=0, regularisation=2.0), episodes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method.loss(batch, 0.5)
    assert method.measured["inner_residual"] < 1e-8 and method.measured["cg_residual"] < 1e-8
    assert method.measured["negative_curvature"] == 0


def test_how_far_the_inner_problem_is_from_solved_is_measured_and_warned_of_once():
    method, batch = imaml((3,), outputs=0, steps=2), episodes()
    with pytest.warns(UserWarning, match="imaml: the inner problem is not solved: .*`steps`"):
        method.outer_loss(batch, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method.outer_loss(batch, 0.5)
        imaml((3,), outputs=0, steps=2).outer_loss(batch, 0.4)  # as long as weights are random
    start, end = method.initial(batch), method.adapt(batch, 2, second_order=False)
    ratios = []
    for t in range(len(batch)):
        left = {}
        for name, weights in (("start", start), ("end", end)):
            w = {n: v[t].detach().requires_grad_() for n, v in weights.items()}
            plain = {f"backbone.{n}" if n.startswith("layers") else n: v for n, v in w.items()}
            loss = plain_loss(plain_network(batch.support_x[t], plain), batch.support_y[t])
            loss = loss + LAMBDA / 2 * sum((w[n] - start[n][t].detach()).square().sum() for n in w)
            slopes = torch.autograd.grad(loss, list(w.values()))
            left[name] = torch.cat([slope.flatten() for slope in slopes]).norm()
        ratios.append(left["end"] / left["start"])
    expected = torch.stack(ratios).mean().item()
    assert method.measured["inner_residual"] == pytest.approx(expected)
    assert expected > UNSOLVED


def test_the_proximal_step_stays_stable_under_a_penalty_that_plain_descent_cannot_take():
    method, batch = imaml((3,), outputs=0, regularisation=100.0, steps=60), episodes()
    method.loss(batch, 0.0)  # α λ = 20, and descent needs 2
    assert method.measured["inner_residual"] < 1e-8
