"""What references of this family share: one example at a time, in numpy, from named arrays."""

from __future__ import annotations

import numpy as np

from metabench.methods.base import Method
from tests.methods.small import WAYS

Arrays = dict[str, np.ndarray]


def arrays(method: Method) -> Arrays:
    return {name: p.detach().numpy() for name, p in method.named_parameters()}


def linear(p: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return p[f"{name}.weight"] @ x + p[f"{name}.bias"]


def perceptron(p: Arrays, name: str, layers: int, x: np.ndarray) -> np.ndarray:
    """``layers`` linear layers with ReLU between them."""
    for i in range(layers):
        x = linear(p, f"{name}.{2 * i}", np.maximum(x, 0) if i > 0 else x)
    return x


def feature(p: Arrays, x: np.ndarray) -> np.ndarray:
    """Layer-normalised output of the backbone, a perceptron with one hidden layer."""
    f = np.maximum(linear(p, "backbone.layers.0", x), 0)
    f = (f - f.mean()) / np.sqrt(f.var() + 1e-5)
    return f * p["norm.weight"] + p["norm.bias"]


def slots(labels: list[int]) -> list[int]:
    """The class in each slot: by appearance in the support, then those that are not in it."""
    seen = list(dict.fromkeys(labels))
    return seen + [k for k in range(WAYS) if k not in seen]


def one_hot(labels: list[int]) -> np.ndarray:
    return np.eye(WAYS)[[slots(labels).index(k) for k in labels]]


def by_name(slot_logits: np.ndarray, labels: list[int]) -> np.ndarray:
    return np.array([slot_logits[slots(labels).index(k)] for k in range(WAYS)])


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
