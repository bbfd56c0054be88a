"""Logistic regression of many tasks at once, against scikit-learn and by its own objective."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from metabench.methods.parts.logistic import logistic


def tasks(
    count: int, ways: int, shots: int, dim: int, spread: float = 0.5
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features of classes around means; support, its labels, queries."""
    g = torch.Generator().manual_seed(0)
    means = spread * torch.randn(count, ways, 1, dim, generator=g, dtype=torch.double)
    x = means + torch.randn(count, ways, shots + 4, dim, generator=g, dtype=torch.double)
    x = F.normalize(x.relu(), dim=-1)
    labels = torch.arange(ways).repeat_interleave(shots).expand(count, -1)
    return x[:, :, :shots].flatten(1, 2), labels, x[:, :, shots:].flatten(1, 2)


def scikit_learn(x: Tensor, y: Tensor, query: Tensor, c: float) -> Tensor:
    fitted = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(x.numpy(), y.numpy())
    return torch.from_numpy(fitted.predict_proba(query.numpy()))


@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float32, 5e-4), (torch.float64, 1e-5)], ids=["single", "double"]
)
@pytest.mark.parametrize("c", [0.1, 10.0, 100.0])
@pytest.mark.parametrize(
    "form", [(5, 1, 32), (5, 5, 64), (3, 20, 16)], ids=["one shot", "in the span", "not in it"]
)
def test_probabilities_and_decisions_are_those_of_scikit_learn(form, c, dtype, near) -> None:
    x, y, query = tasks(3, *form)
    found = logistic(x.to(dtype), y, query.to(dtype), form[0], c)
    assert found.dtype == dtype
    for t in range(3):
        wanted = scikit_learn(x[t], y[t], query[t], c)
        torch.testing.assert_close(found[t].double().softmax(-1), wanted, rtol=0, atol=near)
        assert torch.equal(found[t].argmax(-1), wanted.argmax(-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_examples_that_are_alike_and_features_that_never_vary_do_no_harm(dtype) -> None:
    x, y, query = tasks(1, 4, 5, 40)
    x[:, 1] = x[:, 0]
    x[:, 7] = x[:, 0]  # of another class
    x[..., 6:] = 0  # 20 examples, 6 directions
    found = logistic(x.to(dtype), y, query.to(dtype), 4, 100.0)[0].double().softmax(-1)
    query[..., 6:] = 0
    torch.testing.assert_close(found, scikit_learn(x[0], y[0], query[0], 100.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("distance", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("c", [0.1, 10.0])
def test_features_that_are_nearly_alike_end_at_the_answer_of_double_precision(distance, c) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(40, 1, 32, generator=draw)
    x = x + distance * torch.randn(40, 2, 32, generator=draw)
    y = torch.tensor([[0, 1]]).expand(40, -1)
    found, exact = logistic(x, y, x, 2, c), logistic(x.double(), y, x.double(), 2, c)
    torch.testing.assert_close(found.softmax(-1).double(), exact.softmax(-1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("form", [(5, 5, 40), (3, 20, 16)])
def test_no_step_ever_raises_the_objective(form) -> None:
    x, y, _ = tasks(2, *form)
    ways, _, dim, c = *form, 1e4
    probe = torch.cat([torch.zeros(1, dim), torch.eye(dim)]).double().expand(2, -1, -1)
    values = []
    for limit in range(40):
        at = logistic(x, y, probe, ways, c, limit)  # b, then the columns of W + b
        w, b = at[:, 1:] - at[:, :1], at[:, :1]
        loss = F.cross_entropy((x @ w + b).flatten(0, 1), y.flatten(), reduction="none")
        values.append(0.5 * w.square().sum((1, 2)) + c * loss.view_as(y).sum(1))
    falls = -torch.stack(values).diff(dim=0)
    assert (falls > 0).all() and (values[-1] < 0.1 * values[0]).all()


def test_another_task_changes_no_bit_though_it_takes_longer() -> None:
    x, y, query = tasks(2, 5, 5, 64)
    easy = torch.stack([x[0], x[0]]).float()
    mixed = torch.stack([x[0], 30 * x[1].roll(7, 0)]).float()  # wrong labels, long vectors
    query = query[:1].expand(2, -1, -1).float()
    one, other = (logistic(support, y, query, 5, 10.0) for support in (easy, mixed))
    assert torch.equal(one[0], other[0]) and not torch.equal(one[1], other[1])
    assert torch.equal(one[0], logistic(easy, y, query, 5, 10.0, limit=20)[0])
    assert not torch.equal(other[1], logistic(mixed, y, query, 5, 10.0, limit=20)[1])
