"""Small float64 tasks and networks on which methods are compared with slow references."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.backbones.mlp import MLP
from metabench.episodes import Episodes
from metabench.methods.base import Method, Settings, Task
from metabench.methods.parts.inner_loop import GradientMethod

WAYS, DIM = 3, 5


def episodes(
    tasks: int = 2, support: int = 6, queries: int = 4, regression: bool = False
) -> Episodes:
    """Unbalanced, unordered tasks."""
    g = torch.Generator().manual_seed(1)
    sx = torch.randn(tasks, support, DIM, generator=g, dtype=torch.float64)
    qx = torch.randn(tasks, queries, DIM, generator=g, dtype=torch.float64)
    if regression:
        w = torch.randn(tasks, DIM, 1, generator=g, dtype=torch.float64)
        return Episodes(sx, (sx @ w).sin(), qx, (qx @ w).sin(), None)
    sy = torch.randint(WAYS, (tasks, support), generator=g)
    qy = torch.randint(WAYS, (tasks, queries), generator=g)
    return Episodes(sx, sy, qx, qy, WAYS)


def build(
    method: type[Method], settings: Settings, widths: tuple[int, ...] = (7,), outputs: int = 0
) -> Method:
    """``method`` on a multi-layer perceptron, for classification or regression."""
    torch.manual_seed(0)
    kind, ways, classes = ("regression", 0, 0) if outputs else ("vector", WAYS, 10)
    task = Task(kind, ways, classes, outputs)  # type: ignore[arg-type]
    return method(MLP((DIM,), widths), task, settings).double().eval()


def gradients(method: Method, batch: Episodes, progress: float = 0.0) -> dict[str, Tensor]:
    """Gradient of the training loss by every parameter; label slots are the batch's own labels."""
    method.zero_grad()
    loss = method.outer_loss if isinstance(method, GradientMethod) else method.loss
    loss(batch, progress).backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in method.named_parameters()
    }


def numeric_gradients(
    method: Method, value: Callable[[], Tensor], epsilon: float = 1e-6
) -> dict[str, Tensor]:
    """Central differences of ``value()`` by every parameter of ``method``."""
    found = {}
    for name, parameter in method.named_parameters():
        flat, slope = parameter.data.view(-1), torch.zeros(parameter.numel(), dtype=torch.float64)
        for i, start in enumerate(flat.tolist()):
            flat[i] = start + epsilon
            above = value().item()
            flat[i] = start - epsilon
            slope[i] = (above - value().item()) / (2 * epsilon)
            flat[i] = start
        found[name] = slope.view_as(parameter)
    return found


def check_slopes(
    method: Method,
    loss: Callable[[], Tensor],
    value: Callable[[], Tensor] | None = None,
    epsilon: float = 1e-5,
) -> None:
    """Assert that the gradient of ``loss()`` is the slope of ``value()`` (else of ``loss()``) by
    central differences, for every parameter along a random direction of its own.
    """
    g = torch.Generator().manual_seed(2)
    parameters = [p for p in method.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        direction = torch.randn(parameter.shape, generator=g, dtype=torch.float64)
        start, ends = parameter.detach().clone(), []
        for sign in (1, -1):
            parameter.data = start + sign * epsilon * direction
            ends.append((value or loss)().item())
        parameter.data = start
        expected = torch.tensor((ends[0] - ends[1]) / (2 * epsilon), dtype=torch.float64)
        slope = 0.0 * expected if gradient is None else (gradient * direction).sum()
        torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-8)


def plain_network(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """One hidden layer and a head on one task, in plain functional operations."""
    if "backbone.layers.0.weight" in w:
        x = F.relu(F.linear(x, w["backbone.layers.0.weight"], w["backbone.layers.0.bias"]))
    return F.linear(x, w["head.weight"], w["head.bias"])


def plain_weights(method: Method) -> dict[str, Tensor]:
    """The weights of backbone and head for one task of as many ways as in training."""
    return {n: p for n, p in method.named_parameters() if "layers" in n or "head" in n}


def plain_loss(outputs: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy or mean squared error of one task."""
    return F.mse_loss(outputs, y) if y.is_floating_point() else F.cross_entropy(outputs, y)


def plain_descent(
    w: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    rate: Callable[[str, int], Tensor | float],
    steps: int,
    second_order: bool,
    adapted: Callable[[str], bool] = lambda name: True,
) -> list[dict[str, Tensor]]:
    """Weights of one task after 0, 1, … ``steps`` steps of gradient descent."""
    path = [w]
    for step in range(steps):
        names = [name for name in w if adapted(name)]
        loss = plain_loss(plain_network(x, w), y)
        slopes = torch.autograd.grad(loss, [w[n] for n in names], create_graph=second_order)
        w = w | {n: w[n] - rate(n, step) * g for n, g in zip(names, slopes, strict=True)}
        path.append(w)
    return path


def close(a: dict[str, Tensor], b: dict[str, Tensor], rtol: float = 1e-8) -> None:
    """Assert that two dictionaries of gradients agree."""
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=rtol, atol=rtol, msg=f"{name} differs")
