"""Any ``nn.Module`` as a backbone.

A plain layer has one set of weights. Where they differ from task to task, as in MAML, the network
is called as a function of them (``torch.func.functional_call``), for all tasks at once
(``torch.vmap``).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from metabench.backbones.base import Backbone
from metabench.backbones.layers import Weights, scope


class ModuleBackbone(Backbone):
    """A network from examples ``[B, ...]`` to features ``[B, D]``, of layers that know no tasks.

    A subclass says what it reads (``kinds``); its constructor, whose arguments are the settings in
    ``params.yaml``, hands over the network.

    Batch norms follow the policy of :class:`~metabench.backbones.layers.TaskBatchNorm2d`:
    ``support=S`` takes the moments of the task's own first ``S`` examples; otherwise they are the
    batch's in training and the running ones in evaluation. All else that a forward pass changes, or
    that lets examples see each other, is refused: it would carry one task's data into another's.

    Args:
        network: with fresh weights.
        input_shape: of one example.

    Raises:
        ValueError: the network does not take such examples, returns no ``[B, D]``, or leaks.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, ...]):
        super().__init__()
        self.network = network
        self.feature_dim = _examined(copy.deepcopy(network), _sample(self.kinds, input_shape))
        self.block_prefixes = tuple(f"network.{part}" for part in blocks(network))

    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """``[T, N, ...] -> [T, N, D]``."""
        return run(self.network, x, scope(weights, "network"), support)


def run(
    network: nn.Module, x: Tensor, weights: Weights | None, support: int | None, *options: object
) -> Tensor:
    """What ``network(x[t], *options)`` gives for each task, ``[T, N, ...]``.

    Args:
        x: ``[T, N, ...]``.
        weights: replacements of the network's parameters, with or without a leading task axis.
        support: see :meth:`~metabench.backbones.base.Backbone.forward`.
    """
    own, call = dict(network.named_parameters()), torch.func.functional_call
    given = dict(weights or {})
    per_task = {name: w for name, w in given.items() if w.dim() > own[name].dim()}
    normalised = any(isinstance(part, _BatchNorm) for part in network.modules())
    if not per_task and (support is None or not normalised):
        return call(network, given, (x.flatten(0, 1), *options)).unflatten(0, x.shape[:2])
    if normalised and support is None and network.training:
        raise RuntimeError("per-task weights need eval mode or support moments")

    def one_task(x: Tensor, mine: dict[str, Tensor]) -> Tensor:
        return call(network, given | mine | neutral, (x, *options))

    with support_moments(network, support) as neutral:
        return torch.vmap(one_task, randomness="different")(x, per_task)


@contextlib.contextmanager
def support_moments(network: nn.Module, size: int | None) -> Iterator[dict[str, Tensor]]:
    """Make batch norms use the moments of the first ``size`` examples; yields buffers to call with.

    ``None`` leaves everything as it is.

    A hook standardises the input of each batch norm; the layer itself, in eval mode, gets moments
    that change nothing and only scales and shifts. Running moments stay as they are.
    """

    def standardise(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        (x,) = inputs
        axes = (0, *range(2, x.dim()))
        var, mean = torch.var_mean(x[:size], dim=axes, correction=0, keepdim=True)
        return ((x - mean) * torch.rsqrt(var + norm.eps),)

    neutral, hooks, modes = {}, [], []
    for name, norm in network.named_modules():
        if size is not None and isinstance(norm, _BatchNorm):
            assert norm.running_mean is not None and norm.running_var is not None
            neutral[f"{name}.running_mean"] = torch.zeros_like(norm.running_mean)
            neutral[f"{name}.running_var"] = torch.full_like(norm.running_var, 1 - norm.eps)
            hooks.append(norm.register_forward_pre_hook(standardise))
            modes.append((norm, norm.training))
            norm.eval()
    try:
        yield neutral
    finally:
        for hook in hooks:
            hook.remove()
        for norm, training in modes:
            norm.train(training)


def blocks(network: nn.Module) -> Iterator[str]:
    """Prefixes of the network's parts from input to output that hold more than normalisation."""
    for name, part in network.named_children():
        listed = isinstance(part, nn.Sequential | nn.ModuleList)
        parts = part.named_children() if listed else [("", part)]
        for inner, module in parts:
            if any(p.dim() > 1 for p in module.parameters()):
                yield f"{name}." + (f"{inner}." if inner else "")


def _sample(kinds: frozenset[str], input_shape: tuple[int, ...]) -> Tensor:
    """Four different examples."""
    source = torch.Generator().manual_seed(0)
    if kinds == {"text"}:
        return torch.randint(1, 100, (4, *input_shape), generator=source, dtype=torch.int32)
    return torch.rand(4, *input_shape, generator=source)


def _examined(network: nn.Module, x: Tensor) -> int:
    """Length of the features of examples ``x``, if the network can be a backbone.

    Raises:
        ValueError: it cannot; which part is why.
    """
    for name, part in network.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            raise ValueError(
                f"{name}: with track_running_stats=False a batch norm mixes the queries of a task"
            )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = {name: buffer.clone() for name, buffer in network.named_buffers()}
        network.train()(x)
        for name, buffer in network.named_buffers():
            owner = network.get_submodule(name.rpartition(".")[0])
            if not isinstance(owner, _BatchNorm) and not torch.equal(buffer, before[name]):
                raise ValueError(
                    f"{name}: a buffer of {type(owner).__name__} that changes as examples pass "
                    "would carry one task's data into another's. Take a layer without it"
                )
        network.eval()
        together, alone = network(x), torch.cat([network(one) for one in x.split(1)])
        try:
            run(network, x[None], {name: w[None] for name, w in network.named_parameters()}, 2)
        except RuntimeError as error:  # such as a branch that depends on values
            raise ValueError(f"cannot be called for several tasks at once ({error})") from error
    if together.dim() != 2:
        raise ValueError(
            f"the network returns {list(together.shape)} for {len(x)} examples. It must return one "
            "feature vector for each, [examples, features]: end it with nn.Flatten()"
        )
    if not torch.allclose(together, alone, rtol=1e-3, atol=1e-4):
        raise ValueError("in eval mode, the features of an example depend on the others with it")
    return together.shape[1]
