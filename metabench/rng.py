"""Counter-based randomness: every draw has a name, so no draw depends on the draws before it.

A result must not depend on the number of workers, on the number of tasks in a batch or on whether
training was resumed. So nothing here reads or advances a global generator: a draw is named, for
example ``(seed, "episode", step)``, and the name alone decides its value.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def seed_of(*name: str | int) -> int:
    """A 63-bit seed that depends on every part of ``name`` and on nothing else."""
    text = "/".join(f"{type(part).__name__}:{part}" for part in name)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(*name: str | int) -> np.random.Generator:
    """A numpy generator (Philox, itself counter-based) for the draw called ``name``."""
    return np.random.Generator(np.random.Philox(seed_of(*name)))


def torch_generator(*name: str | int) -> torch.Generator:
    """A torch CPU generator for the draw called ``name``."""
    return torch.Generator().manual_seed(seed_of(*name))
