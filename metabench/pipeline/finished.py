"""Which cells are finished: seen by a stage before it starts any process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from metabench.config import BackboneChoice, Config
from metabench.files import InputError
from metabench.pipeline.cells import is_done
from metabench.pipeline.data_cells import is_made
from metabench.pipeline.digests import Digests
from metabench.pipeline.embeddings import embedding_key, is_embedded, vectors_path
from metabench.pipeline.evaluating import fault_of
from metabench.pipeline.keys import Keys
from metabench.pipeline.layout import Layout
from metabench.pipeline.pretrainings import Pretraining
from metabench.pipeline.splits import in_split


class Finished:
    """Whether a cell is there, undamaged and of these params and code.

    A context, at the end of which the digests of files are remembered for the next look. Where a
    key cannot be had, as data are missing, a cell is not finished: to compute it says why.
    """

    def __init__(self, config: Config, layout: Layout, digests: Digests | None = None):
        self._layout, self._keys = layout, Keys(config, layout)
        self._digests = digests or Digests(layout.digests)
        self.at = cache(
            lambda level, split: Finished(
                config.at(level), in_split(config, layout.at(level), split), self._digests
            )
        )
        """The same for the cells of a level and split."""

    def __enter__(self) -> Finished:
        return self

    def __exit__(self, *error: object) -> None:
        self._digests.save()

    def dataset(self, name: str) -> bool:
        """The arrays of a dataset."""
        return self._look(is_made, self._layout.processed(name), self._keys.dataset, name)

    def episodes(self, name: str) -> bool:
        """The frozen episodes of a dataset."""
        folder = self._layout.episodes(name, "test").parent
        return self._look(is_made, folder, self._keys.episodes, name)

    def embeddings(self, name: str, frozen: BackboneChoice) -> bool:
        """The vectors of a dataset by an encoder."""
        path = vectors_path(self._layout.embeddings(name), frozen)
        return self._look(is_embedded, path, embedding_key, self._layout.processed(name), frozen)

    def backbone(self, source: str, pretraining: Pretraining, seed: int) -> bool:
        """The pretrained backbone of (source, pretraining, seed)."""
        cell = source, pretraining, seed
        return self._look(is_done, self._layout.backbone(*cell), self._keys.backbone, *cell)

    def learner(self, source: str, method: str, seed: int) -> bool:
        """The learner of (source, method or variant, seed)."""
        cell = source, method, seed
        return self._look(is_done, self._layout.learner(*cell), self._keys.learner, *cell)

    def result(self, source: str, method: str, seed: int) -> bool:
        """The result of (source, method or variant, seed)."""
        cell = source, method, seed
        return self._look(_is_evaluated, self._layout.result(*cell), self._keys.result, *cell)

    def _look(
        self, is_there: Callable[..., bool], path: Any, key: Callable[..., str], *cell: Any
    ) -> bool:
        try:
            return is_there(path, key(*cell), self._digests)
        except InputError:
            return False


def _is_evaluated(path: Path, key: str, digest_of: Callable[[Path], str]) -> bool:
    return fault_of(path, key, digest_of) is None
