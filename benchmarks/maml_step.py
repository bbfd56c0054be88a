"""One outer step of MAML against a loop over tasks.

5-way 1-shot, 15 queries a class, 5 inner steps, 4 tasks, Conv4-64 on 28×28, second order; loss and
outer gradient. The loop is what one writes with ``torch.func.functional_call``; with ``higher``
installed, its ``innerloop_ctx`` runs too. Both normalise queries by the queries' own moments, as
public MAML code does, which costs less than this package's rule (the support's moments: support
rides along with the queries). That all make the same inner steps is checked.
"""

from __future__ import annotations

import importlib
import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import compare, configure
from metabench.backbones import build_backbone
from metabench.episodes import Episodes
from metabench.episodes.sampling import assemble
from metabench.methods.base import Task
from metabench.methods.optimisation.maml import MAML, MAMLSettings

WAYS, SHOTS, QUERIES, TASKS, STEPS, RATE = 5, 1, 15, 4, 5, 0.1


def plain_network(width: int = 64) -> nn.Sequential:
    """Conv4 and a linear head, of torch's own layers."""

    def block(channels: int) -> nn.Sequential:
        norm = nn.BatchNorm2d(width, track_running_stats=False)
        conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        return nn.Sequential(conv, norm, nn.ReLU(), nn.MaxPool2d(2))

    return nn.Sequential(
        block(1), *(block(width) for _ in range(3)), nn.Flatten(), nn.Linear(width, WAYS)
    )


def names(maml: MAML) -> dict[str, Tensor]:
    """MAML's weights under the plain network's names."""
    parts = {"conv.weight": "0.weight", "norm.weight": "1.weight", "norm.bias": "1.bias"}
    own = dict(maml.backbone.named_parameters())
    blocks = {f"{i}.{b}": own[f"blocks.{i}.{a}"] for i in range(4) for a, b in parts.items()}
    head = maml.head.start(WAYS)
    return blocks | {"5.weight": head["head.weight"], "5.bias": head["head.bias"]}


def adapt(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Weights after the inner loop of one task."""
    weights: dict[str, Tensor] = dict(network.named_parameters())
    for _ in range(STEPS):
        loss = F.cross_entropy(torch.func.functional_call(network, weights, (x,)), y)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {n: w - RATE * g for (n, w), g in zip(weights.items(), gradients, strict=True)}
    return weights


def loop(network: nn.Module, batch: Episodes) -> None:
    """One outer gradient, task by task."""
    network.zero_grad()
    for t in range(len(batch)):
        adapted = adapt(network, batch.support_x[t], batch.support_y[t])
        logits = torch.func.functional_call(network, adapted, (batch.query_x[t],))
        (F.cross_entropy(logits, batch.query_y[t]) / len(batch)).backward()


def with_higher(network: nn.Module, batch: Episodes) -> None:
    """One outer gradient by ``higher`` (Grefenstette et al. 2019), task by task."""
    higher = importlib.import_module("higher")
    network.zero_grad()
    descent = torch.optim.SGD(network.parameters(), lr=RATE)
    for t in range(len(batch)):
        with higher.innerloop_ctx(network, descent, copy_initial_weights=False) as (net, steps):
            for _ in range(STEPS):
                steps.step(F.cross_entropy(net(batch.support_x[t]), batch.support_y[t]))
            loss = F.cross_entropy(net(batch.query_x[t]), batch.query_y[t])
            (loss / len(batch)).backward()


def ours(maml: MAML, batch: Episodes) -> None:
    """One outer gradient, all tasks at once."""
    maml.zero_grad()
    maml.loss(batch, progress=0).backward()


def main(repeats: int = 7) -> dict[str, float]:
    """Check that the inner loops agree, then time them."""
    configure()
    torch.manual_seed(0)
    settings = MAMLSettings(inner_lr=RATE, steps=STEPS)
    backbone = build_backbone("conv4", (1, 28, 28), width=64)
    maml = MAML(backbone, Task("image", WAYS, classes=64), settings).train()
    batch = assemble(torch.rand(TASKS, WAYS, SHOTS + QUERIES, 1, 28, 28), SHOTS)
    network = plain_network()
    network.load_state_dict(names(maml))

    found = maml.adapt(batch, STEPS, second_order=False)["head.weight"][0]
    wanted = adapt(network, batch.support_x[0], batch.support_y[0])["5.weight"]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)

    functions = {
        "metabench, tasks as a batch": lambda: ours(maml, batch),
        "loop over tasks (torch.func)": lambda: loop(network, batch),
    }
    if importlib.util.find_spec("higher"):
        functions["loop over tasks (higher)"] = lambda: with_higher(network, batch)
    return compare(functions, repeats)


if __name__ == "__main__":
    main()
