"""Scoring a learner on 600 frozen episodes, against a loop that embeds every episode anew.

5 ways, 1 or 5 shots, 15 queries, of 20 classes of 40 images 28×28; Conv4-64 and a logistic head.
The package embeds each image once and answers 50 episodes at once from the table of features; the
loop predicts episode by episode, as a method is written. It is timed on every twentieth episode.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import compare, configure
from metabench.backbones import build_backbone
from metabench.data.base import ClassInfo, Dataset
from metabench.episodes.frozen_episodes import freeze
from metabench.learning.scoring import EpisodeSet, score
from metabench.methods.base import FeatureMethod, Task
from metabench.methods.feature.linear_probe import LinearProbe, LinearProbeSettings

CLASSES, IMAGES, WAYS, QUERIES, EVERY = 20, 40, 5, 15, 20


def episode_set(shots: int, count: int) -> EpisodeSet:
    """Frozen episodes of noisy patterns, a pattern for each class."""
    draw = np.random.default_rng(0)
    patterns = draw.integers(0, 256, (CLASSES, 1, 1, 28, 28))
    noise = draw.integers(0, 256, (CLASSES, IMAGES, 1, 28, 28))
    x = ((patterns + 2 * noise) // 3).astype(np.uint8).reshape(-1, 1, 28, 28)
    classes = tuple(ClassInfo(f"class{i}", "all", "test") for i in range(CLASSES))
    data = Dataset("noise", "image", x, np.repeat(np.arange(CLASSES), IMAGES), classes)
    frozen = freeze(data, "test", WAYS, shots, QUERIES, count, "")
    return EpisodeSet.of(frozen, data, (1, 28, 28), torch.device("cpu"))


def one_by_one(method: FeatureMethod, episodes: EpisodeSet) -> Tensor:
    """Logits of every twentieth episode ``[E / 20, Q, ways]``: embedded, then classified."""
    parts = []
    for e in range(0, len(episodes.frozen), EVERY):
        task, _ = episodes.ask(slice(e, e + 1))
        parts.append(method.predict(task))
    return torch.cat(parts)


def heads(method: FeatureMethod, episodes: EpisodeSet, table: Tensor) -> None:
    """All episodes, fifty at once, from the features of all images."""
    for start in range(0, len(episodes.frozen), 50):
        method.classify(episodes.ask(slice(start, start + 50), table)[0])


def main(repeats: int = 3, count: int = 600, width: int = 64) -> dict[str, float]:
    """Check that both answer the same, then time them; the ratios."""
    configure()
    torch.manual_seed(0)
    backbone = build_backbone("conv4", (1, 28, 28), width=width)
    method = LinearProbe(backbone, Task("image", WAYS, CLASSES), LinearProbeSettings()).eval()
    ratios = {}
    for shots in (1, 5):
        episodes = episode_set(shots, count)
        found = torch.cat([out for _, out in episodes.predictions(method)])[::EVERY]
        torch.testing.assert_close(found, one_by_one(method, episodes), rtol=1e-3, atol=1e-3)
        table = episodes.features(method)
        whole, loop = f"{WAYS}w{shots}s, whole score", f"every {EVERY}th, one by one"

        least = compare(
            {
                whole: partial(score, method, episodes),
                "embedding, each image once": partial(episodes.features, method),
                "heads": partial(heads, method, episodes, table),
                loop: partial(one_by_one, method, episodes),
            },
            repeats,
        )
        ratios[whole] = EVERY * least[loop] / least[whole]
        print(f"{WAYS}w{shots}s: the loop over all episodes takes ×{ratios[whole]:.1f}\n")
    return ratios


if __name__ == "__main__":
    main()
