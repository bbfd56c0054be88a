"""Training episodes a second against the samplers of easyfsl and learn2learn.

600 classes of 20 images 28×28; 4 tasks of 5 ways, 1 shot, 15 queries, as a training step takes
them, up to network inputs and labels. Images are in memory on all sides. Neither easyfsl 1.5.0 nor
learn2learn 0.2.0 runs with today's torch, so what they do is written here anew, without their
checks of types and their caches: both draw classes and images by ``random.sample``, fetch images
one by one, and stack them.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from benchmarks.timing import compare, configure
from metabench.data.base import ClassInfo, Dataset
from metabench.episodes.sampling import ArraySource

CLASSES, IMAGES = 600, 20
TASKS, WAYS, SHOTS, QUERIES = 4, 5, 1, 15
SIZE = SHOTS + QUERIES
STEPS = 20
"""Training steps' worth of episodes in one timing."""

Item = tuple[Tensor, int]


def dataset() -> Dataset:
    """Noise in the form of a dataset."""
    x = np.random.default_rng(0).integers(0, 256, (CLASSES * IMAGES, 1, 28, 28), dtype=np.uint8)
    classes = tuple(ClassInfo(f"class{i}", "all", "train") for i in range(CLASSES))
    return Dataset("noise", "image", x, np.repeat(np.arange(CLASSES), IMAGES), classes)


class Images(TorchDataset[Item]):
    """An image, as a network takes it, and its class."""

    def __init__(self, data: Dataset):
        self.x, self.y = torch.from_numpy(np.array(data.x)), data.y.tolist()
        self.members: dict[int, list[int]] = {}
        for i, label in enumerate(self.y):
            self.members.setdefault(label, []).append(i)

    def __getitem__(self, i: int) -> Item:
        return self.x[i].float() / 255, self.y[i]


class TaskSampler:
    """easyfsl's: the images of ``count`` tasks, to be batches of a ``DataLoader``."""

    def __init__(self, members: dict[int, list[int]], count: int):
        self.members, self.count = members, count

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(self.count):
            classes = random.sample(sorted(self.members), WAYS)
            drawn = [torch.tensor(random.sample(self.members[c], SIZE)) for c in classes]
            yield torch.cat(drawn).tolist()


def collate(items: list[Item]) -> tuple[Tensor, ...]:
    """easyfsl's: support, its labels, queries and their labels."""
    names = list({label for _, label in items})
    images = torch.cat([image.unsqueeze(0) for image, _ in items])
    images = images.reshape(WAYS, SIZE, *images.shape[1:])
    labels = torch.tensor([names.index(label) for _, label in items]).reshape(WAYS, SIZE)
    return (
        images[:, :SHOTS].reshape(-1, *images.shape[2:]),
        labels[:, :SHOTS].flatten(),
        images[:, SHOTS:].reshape(-1, *images.shape[2:]),
        labels[:, SHOTS:].flatten(),
    )


def learn2learn(images: Images) -> tuple[Tensor, ...]:
    """``NWays``, ``KShots``, ``LoadData`` and ``RemapLabels`` of learn2learn, and the usual split.

    ``NWays`` describes all images of its classes, of which ``KShots`` draws.
    """
    chosen = random.sample(list(images.members), WAYS)
    described = [(i, c) for c in chosen for i in images.members[c]]
    groups: dict[int, list[int]] = {}
    for i, c in described:
        groups.setdefault(c, []).append(i)
    items = [images[i] for group in groups.values() for i in random.sample(group, SIZE)]
    names = random.sample(chosen, WAYS)
    x, y = default_collate([(image, names.index(label)) for image, label in items])
    order = torch.sort(y).indices
    x, y = x[order], y[order]
    support = np.zeros(len(y), dtype=bool)
    support[(np.arange(WAYS) * SIZE)[:, None] + np.arange(SHOTS)] = True
    of_support, of_queries = torch.from_numpy(support), torch.from_numpy(~support)
    return x[of_support], y[of_support], x[of_queries], y[of_queries]


def main(repeats: int = 9) -> dict[str, float]:
    """Time the samplers; prints episodes a second."""
    configure()
    data = dataset()
    source, images = ArraySource(data, 0, torch.device("cpu")), Images(data)
    steps, count = itertools.count(), TASKS * STEPS
    for parts in (collate([images[i] for i in range(0, 80)]), learn2learn(images)):
        assert [len(part) for part in parts] == [5, 5, 75, 75]

    def drawn(episodes: Iterable[object]) -> None:
        deque(episodes, maxlen=0)  # as in training, nothing is kept

    functions: dict[str, Callable[[], object]] = {
        "metabench, all tasks of a step at once": lambda: drawn(
            source.episodes(next(steps), TASKS, WAYS, SHOTS, QUERIES) for _ in range(STEPS)
        ),
        "easyfsl's sampler and loader": lambda: drawn(
            DataLoader(images, batch_sampler=TaskSampler(images.members, count), collate_fn=collate)
        ),
        "learn2learn's transforms": lambda: drawn(learn2learn(images) for _ in range(count)),
    }
    least = compare(functions, repeats)
    for name, seconds in least.items():
        print(f"{name:40} {count / seconds:9.0f} episodes/s")
    return least


if __name__ == "__main__":
    main()
