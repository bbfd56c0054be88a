"""Training episodes a second against a sampler that goes class by class and image by image.

600 classes of 20 images 28×28; 4 tasks of 5 ways, 1 shot, 15 queries, as a training step takes
them, up to network inputs. The plain sampler draws as ``easyfsl`` does (``random.sample`` of
classes, then of each class's images, which are indexed one by one and stacked), also from memory.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import compare, configure
from metabench.data.base import ClassInfo, Dataset
from metabench.episodes.sampling import ArraySource

CLASSES, IMAGES = 600, 20
TASKS, WAYS, SHOTS, QUERIES = 4, 5, 1, 15
STEPS = 20
"""Training steps' worth of episodes in one timing."""


def dataset() -> Dataset:
    """Noise in the form of a dataset."""
    x = np.random.default_rng(0).integers(0, 256, (CLASSES * IMAGES, 1, 28, 28), dtype=np.uint8)
    classes = tuple(ClassInfo(f"class{i}", "all", "train") for i in range(CLASSES))
    return Dataset("noise", "image", x, np.repeat(np.arange(CLASSES), IMAGES), classes)


def plain(x: Tensor, members: dict[int, list[int]]) -> list[Tensor]:
    """Support, its labels, queries, their labels, of one task."""
    size = SHOTS + QUERIES
    parts: tuple[list[Tensor], ...] = ([], [], [], [])
    for label, name in enumerate(random.sample(sorted(members), WAYS)):
        images = torch.stack([x[i].float() / 255 for i in random.sample(members[name], size)])
        labels = torch.full((size,), label)
        for part, piece in zip(
            parts, (images[:SHOTS], labels[:SHOTS], images[SHOTS:], labels[SHOTS:]), strict=True
        ):
            part.append(piece)
    return [torch.cat(part) for part in parts]


def main(repeats: int = 7) -> dict[str, float]:
    """Time the samplers; prints episodes a second."""
    configure()
    data = dataset()
    source = ArraySource(data, 0, torch.device("cpu"))
    x, y = torch.from_numpy(np.array(data.x)), data.y.tolist()
    members = {c: [i for i, label in enumerate(y) if label == c] for c in range(CLASSES)}
    steps, count = itertools.count(), TASKS * STEPS
    functions: dict[str, Callable[[], object]] = {
        "metabench, all tasks of a step at once": lambda: [
            source.episodes(next(steps), TASKS, WAYS, SHOTS, QUERIES) for _ in range(STEPS)
        ],
        "class by class, in Python": lambda: [plain(x, members) for _ in range(count)],
    }
    medians = compare(functions, repeats)
    for name, seconds in medians.items():
        print(f"{name:40} {count / seconds:9.0f} episodes/s")
    return medians


if __name__ == "__main__":
    main()
