"""Where everything is, below a project's root. Light: a stage's driver imports this, not torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from metabench.config import Level

if TYPE_CHECKING:
    from metabench.pipeline.pretrainings import Pretraining


@dataclass(frozen=True)
class Layout:
    """Paths of a project.

    Attributes:
        root: the working directory unless said otherwise.
        level: of backbones, learners and results; None for those that spend nothing.
        split: of the datasets' classes.
        split_anew: datasets that have other splits than the first.
    """

    root: Path = Path()
    level: Level | None = field(default=None, kw_only=True)
    split: int = field(default=0, kw_only=True)
    split_anew: frozenset[str] = field(default=frozenset(), kw_only=True)

    def at(self, level: Level | None) -> Self:
        """The same for the cells of one level."""
        return replace(self, level=level)

    def raw(self, dataset: str) -> Path:
        """Verified downloads."""
        return self.root / "data/raw" / dataset

    def processed(self, dataset: str) -> Path:
        """Arrays."""
        return self.root / "data/processed" / self._of_split(dataset)

    def episodes(self, dataset: str, partition: str) -> Path:
        """Frozen episodes."""
        return self.root / "data/episodes" / self._of_split(dataset) / partition

    def embeddings(self, dataset: str) -> Path:
        """Vectors of frozen encoders."""
        return self.root / "data/embeddings" / self._of_split(dataset)

    def backbone(self, source: str, pretraining: Pretraining, seed: int) -> Path:
        """A pretrained backbone, for all learners of a source that ask for it."""
        return self._of_level("backbones", source) / str(pretraining) / str(seed)

    def learner(self, source: str, method: str, seed: int) -> Path:
        """A trained learner."""
        return self._of_level("runs", source, method) / str(seed)

    def result(self, source: str, method: str, seed: int) -> Path:
        """Per-episode results; the record is beside it, with suffix ``.json``."""
        return self._of_level("results", source, method) / f"{seed}.parquet"

    def split_for(self, dataset: str) -> int:
        """The split of ``dataset``: the first where it has no other."""
        return self.split if dataset in self.split_anew else 0

    def _of_split(self, dataset: str) -> str:
        split = self.split_for(dataset)
        return f"{dataset}-split-{split}" if split else dataset

    def _of_level(self, *names: str) -> Path:
        return self.root.joinpath(*names, *([str(self.level)] if self.level else []))

    @property
    def digests(self) -> Path:
        """Digests of files, remembered."""
        return self.root / "data/digests.json"
