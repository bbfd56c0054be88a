"""Memory-Augmented Neural Networks (Santoro et al., ICML 2016).

An LSTM controller writes the labelled support, item by item, into an external memory ``M`` and
answers queries by what it reads. At step t it emits keys ``k_t``; with usage ``w^u`` and the
least-used slots ``w^lu`` (indicators), Least Recently Used Access is (paper, eq. 2-7)

    w^w_t = σ(α) w^r_{t−1} + (1 − σ(α)) w^lu_{t−1}      M_t(i) = M_{t−1}(i) + w^w_t(i) k_t
    w^r_t(i) ∝ exp(β_t cos(k_t, M_t(i)))                r_t = Σ_i w^r_t(i) M_t(i)
    w^u_t = γ w^u_{t−1} + w^r_t + w^w_t

and the least-used slots are set to zero before they are written. The key strength β_t is that of
the Neural Turing Machine (Graves et al. 2014, eq. 5). An item comes with its label, a query with
the null label. Every query starts from the state that the support left and writes nothing. Memory
and controller start empty in every episode.

Differs from the paper: two additions make it learn within a small budget; without them it stays at
chance there: features are layer-normalised, and keys, gate and strength see the controller's input
beside its state. The strength β_t is 10 + softplus, where the Turing Machine has the softplus
alone, so that reading is sharp from the start. The gate α is emitted at each step and for each head
(paper: a scalar). Inputs are features of the backbone and not pixels, as for every method here.
Labels come with their item and not one step late, the loss is that of queries after the whole
support and not of every item in turn, and a query writes nothing: queries must not see each other.
Slots are taken in order of appearance and not at random, which is the same to a support in random
order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import BelowOne, Depth, Width
from metabench.episodes import Episodes, one_hot, restore_names
from metabench.methods.base import Queries, Settings, Task, Tasks
from metabench.methods.parts.slots import SequenceMethod, to_slots


class MANNSettings(Settings):
    """Sizes. Many small steps (one task, few queries) learn to address the memory soonest.

    Attributes:
        controller: width of the LSTM.
        slots: rows of the memory (N).
        width: length of a row (W).
        reads: read heads (R), each with its own key; as many slots are written a step.
        decay: γ of the usage.
    """

    tasks: Tasks = 1
    queries: Queries = 5
    controller: Width = 200
    slots: Width = 128
    width: Width = 40
    reads: Depth = 4
    decay: BelowOne = 0.95


class Memory(NamedTuple):
    """``rows`` ``[T, N, W]``, ``usage`` ``[T, N]``, last ``read`` weights ``[T, R, N]``."""

    rows: Tensor
    usage: Tensor
    read: Tensor


def attention(keys: Tensor, strength: Tensor, rows: Tensor) -> Tensor:
    """``w^r``: keys ``[T, R, W]``, strengths ``[T, R]`` and rows ``[T, N, W]`` to ``[T, R, N]``."""
    cosine = F.normalize(keys, dim=-1, eps=1e-6) @ F.normalize(rows, dim=-1, eps=1e-6).mT
    return (strength.unsqueeze(-1) * cosine).softmax(-1)


def write(memory: Memory, keys: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Write ``keys`` ``[T, R, W]`` with ``gate`` σ(α) ``[T, R]``: new rows, and ``w^w``."""
    n, reads = memory.usage.shape[1], keys.shape[1]
    order = memory.usage.argsort(dim=1, stable=True)[:, :reads]  # of equals, the first
    least_used = one_hot(order, n, keys)  # [T, R, N]
    weights = gate.unsqueeze(-1) * memory.read + (1 - gate.unsqueeze(-1)) * least_used
    kept = 1 - least_used.sum(1).unsqueeze(-1)
    return memory.rows * kept + weights.mT @ keys, weights


class MANN(SequenceMethod):
    """Support written to memory item by item; each query reads it by itself."""

    paper = "Santoro et al. 2016"
    Settings = MANNSettings

    def __init__(self, backbone: Backbone, task: Task, settings: MANNSettings):
        super().__init__(backbone, task, settings)
        read = settings.reads * settings.width
        self.controller = nn.LSTMCell(backbone.feature_dim + task.ways + read, settings.controller)
        seen = settings.controller + backbone.feature_dim + task.ways
        self.norm = nn.LayerNorm(backbone.feature_dim)
        self.keys = nn.Linear(seen, read)
        self.gates = nn.Linear(seen, 2 * settings.reads)  # write gate, strength
        self.output = nn.Linear(settings.controller + read, task.ways)

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``."""
        episodes, slot = to_slots(features, self.task.ways)
        labels = one_hot(episodes.support_y, self.task.ways, episodes.support_x)
        state, read, memory = self.remember(episodes.support_x, labels)
        logits = self.recall(episodes.query_x, state, read, memory)
        return restore_names(logits[..., : slot.shape[1]], slot)

    def step(
        self, x: Tensor, read: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor, Tensor]:
        """Controller: state, keys ``[B, R, W]``, write gate and key strength ``[B, R]``."""
        state = self.controller(torch.cat([x, read], dim=-1), state)
        seen = torch.cat([state[0], x], dim=-1)
        keys = self.keys(seen).tanh().unflatten(-1, (self.settings.reads, -1))
        gate, strength = self.gates(seen).chunk(2, dim=-1)
        return state, keys, gate.sigmoid(), 10 + F.softplus(strength)

    def remember(self, x: Tensor, labels: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor, Memory]:
        """Controller state, last reading and memory after support ``x`` ``[T, S, D]``."""
        s, t = self.settings, len(x)
        state = (x.new_zeros(t, s.controller), x.new_zeros(t, s.controller))
        read = x.new_zeros(t, s.reads * s.width)
        memory = Memory(
            x.new_zeros(t, s.slots, s.width),
            x.new_zeros(t, s.slots),
            x.new_zeros(t, s.reads, s.slots),
        )
        for item in torch.cat([x, labels], dim=-1).unbind(1):
            state, keys, gate, strength = self.step(item, read, state)
            rows, written = write(memory, keys, gate)
            weights = attention(keys, strength, rows)
            usage = s.decay * memory.usage + (weights + written).sum(1)
            memory = Memory(rows, usage, weights)
            read = (weights @ rows).flatten(1)
        return state, read, memory

    def recall(
        self, x: Tensor, state: tuple[Tensor, Tensor], read: Tensor, memory: Memory
    ) -> Tensor:
        """Slot logits ``[T, Q, task.ways]`` of queries ``[T, Q, D]`` with the null label."""
        t, q = x.shape[:2]
        h, c, read = (v.repeat_interleave(q, 0) for v in (*state, read))
        null = x.new_zeros(t * q, self.task.ways)
        (h, _), keys, _, strength = self.step(
            torch.cat([x.flatten(0, 1), null], dim=-1), read, (h, c)
        )
        keys, strength = (v.unflatten(0, (t, q)).flatten(1, 2) for v in (keys, strength))
        read = (attention(keys, strength, memory.rows) @ memory.rows).reshape(t * q, -1)
        return self.output(torch.cat([h, read], dim=-1)).unflatten(0, (t, q))
