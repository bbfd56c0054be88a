"""Regression tasks: the sinusoids of MAML, and sums of two of them."""

from __future__ import annotations

import numpy as np

from metabench.data.base import Builder, TaskFamily


def sinusoid(tasks: int, points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``y = A sin(x + φ)``, ``A ~ U[0.1, 5]``, ``φ ~ U[0, π]``, ``x ~ U[-5, 5]``.

    Finn et al. 2017, section 5.1. Their code has ``sin(x - φ)``: as ``φ`` and ``π - φ`` are equally
    likely, that is the same distribution mirrored in ``y``. The paper's text leaves the sign open.

    Returns:
        ``x`` and ``y``, ``[tasks, points, 1]``.
    """
    amplitude = rng.uniform(0.1, 5, (tasks, 1, 1))
    phase = rng.uniform(0, np.pi, (tasks, 1, 1))
    x = rng.uniform(-5, 5, (tasks, points, 1))
    return x.astype(np.float32), (amplitude * np.sin(x + phase)).astype(np.float32)


def harmonics(tasks: int, points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``y = a₁ sin(ωx + b₁) + a₂ sin(2ωx + b₂)``, all drawn by task; a harder family.

    After the harmonic tasks of Lacoste et al. 2018, noise-free and with ranges of our own, so that
    ``x`` and the size of ``y`` are as in :func:`sinusoid`: ``ω ~ U[1/2, 2]``, ``a ~ U[0.1, 2.5]``
    and ``b ~ U[0, 2π]`` for each sinusoid, ``x ~ U[-5, 5]``.

    Returns:
        ``x`` and ``y``, ``[tasks, points, 1]``.
    """
    frequency = rng.uniform(0.5, 2, (tasks, 1, 1)) * np.array([1.0, 2.0])
    amplitude = rng.uniform(0.1, 2.5, (tasks, 1, 2))
    phase = rng.uniform(0, 2 * np.pi, (tasks, 1, 2))
    x = rng.uniform(-5, 5, (tasks, points, 1))
    y = (amplitude * np.sin(frequency * x + phase)).sum(2, keepdims=True)
    return x.astype(np.float32), y.astype(np.float32)


SINUSOID = Builder(
    "sinusoid",
    "regression",
    citation="Finn et al. 2017, Model-Agnostic Meta-Learning, section 5.1",
    family=TaskFamily("sinusoid", 1, 1, sinusoid),
)

HARMONICS = Builder(
    "harmonics",
    "regression",
    citation="sum of two sinusoids, after Lacoste et al. 2018, Uncertainty in Multitask Transfer "
    "Learning",
    family=TaskFamily("harmonics", 1, 1, harmonics),
)
