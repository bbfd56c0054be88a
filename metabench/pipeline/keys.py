"""Keys of cells: the digest of all that a cell's outcome depends on."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

from metabench.config import Config, TaskType
from metabench.data.base import header_of
from metabench.episodes.frozen_episodes import FrozenEpisodes
from metabench.files import once
from metabench.pipeline import cell_fingerprints as of
from metabench.pipeline.fingerprint import key_of
from metabench.pipeline.layout import Layout
from metabench.pipeline.pretrainings import Pretraining, pretraining_of

CHAMPIONS = "champions"
"""Folder of the episodes, and name of their draws, on which the camps' champions are chosen."""


class Keys:
    """The keys of all cells of a project.

    What cells share is looked up once: params and code for each (source, method), data for each
    dataset. The key of one more seed costs microseconds; what changes meanwhile is not seen.

    All methods raise :class:`~metabench.files.InputError` where data are missing or damaged that
    the key depends on.
    """

    def __init__(self, config: Config, layout: Layout):
        self._config, self._layout = config, layout
        self._data = cache(self._look_at_data)
        self._pretraining = cache(self._look_at_pretraining)
        self._training = cache(self._look_at_training)
        self._by_shots = cache(partial(of.by_shots, config))
        self._evaluation = cache(self._look_at_evaluation)

    def dataset(self, name: str) -> str:
        """Of the arrays of a dataset."""
        split = self._layout.split_for(name)
        found = of.dataset_fingerprint(self._config, name, self._layout.root)
        return key_of(fingerprint=found, split=split)

    def episodes(self, name: str) -> str:
        """Of the frozen episodes of a dataset."""
        content = content_of(self._layout, name)
        found = of.episodes_fingerprint(self._config, name, self._layout.root)
        return key_of(data=content, fingerprint=found)

    def backbone(self, source: str, pretraining: Pretraining, seed: int) -> str:
        """Of the pretrained backbone of (source, pretraining, seed)."""
        found = self._pretraining(source, pretraining)
        return key_of(seed=seed, data=self._data(source), fingerprint=found)

    def learner(self, source: str, method: str, seed: int) -> str:
        """Of the learner of (source, method or variant, seed)."""
        trained = self.training(source, method, seed)
        by_shots = self._by_shots(source, method)
        return key_of(trained=trained, by_shots=by_shots) if by_shots else trained

    def training(self, source: str, method: str, seed: int) -> str:
        """Of what training makes of it: learners with other settings by shots share that."""
        pretraining, found = self._training(source, method)
        start = self.backbone(source, pretraining, seed) if pretraining else None
        return key_of(seed=seed, data=self._data(source), start=start, fingerprint=found)

    def result(self, source: str, method: str, seed: int) -> str:
        """Of the result of (source, method or variant, seed)."""
        learner = self.learner(source, method, seed)
        return key_of(learner=learner, fingerprint=self._evaluation(source, method))

    def _look_at_data(self, source: str) -> str:
        val = sorted(self._layout.episodes(source, "val").glob("*.npz"))
        content = content_of(self._layout, source)
        return key_of(data=content, val=[episode_hash(path) for path in val])

    def _look_at_pretraining(self, source: str, pretraining: Pretraining) -> str:
        return key_of(fingerprint=of.pretrain_fingerprint(self._config, source, pretraining))

    def _look_at_training(self, source: str, method: str) -> tuple[Pretraining | None, str]:
        found = key_of(fingerprint=of.learner_fingerprint(self._config, source, method))
        return pretraining_of(self._config, source, method), found

    def _look_at_evaluation(self, source: str, method: str) -> str:
        task_type, layout = self._config.task_type_of(source), self._layout
        files = [
            path
            for find in (evaluation_files, champion_files)
            for path in find(task_type, layout, source, method)
        ]
        return key_of(
            fingerprint=of.evaluation_fingerprint(self._config, source, layout.root),
            episodes=[episode_hash(path) for path in files],
            out_of_scope={
                target: content_of(layout, name) for target, name in task_type.out_of_scope.items()
            },
        )


def frozen_episodes_of(folder: Path) -> list[FrozenEpisodes]:
    """All frozen episodes of a folder, by name."""
    return [FrozenEpisodes.load(path) for path in sorted(folder.glob("*.npz"))]


def content_of(layout: Layout, name: str) -> str:
    """Digest of the examples of a dataset."""
    return once(_content, layout.processed(name) / "classes.json")


def _content(path: Path) -> str:
    return header_of(path.parent).digest


def episode_hash(path: Path) -> str:
    """Hash of frozen episodes.

    Raises:
        InputError: missing or damaged.
    """
    return once(_hash, path)


def _hash(path: Path) -> str:
    return FrozenEpisodes.load(path).hash


def evaluation_files(task_type: TaskType, layout: Layout, source: str, name: str) -> list[Path]:
    """Files of the test episodes that (source, name) answers, in the order of ``params.yaml``.

    A setting of more ways than the target has test classes asks for classes that learners of the
    same source were trained on: they do not take part.
    """
    found = []
    for target, setting in task_type.evaluations_of(name):
        trained_on = target == source and setting.ways > count_test_classes(layout, target)
        if not trained_on:
            found.append(layout.episodes(target, "test") / f"{setting.label}.npz")
    return found


def champion_files(task_type: TaskType, layout: Layout, source: str, name: str) -> list[Path]:
    """Files of the ``val`` episodes on which (source, name) is scored to choose champions.

    One for each setting that it answers, of the most ways up to the setting's that there are.
    """
    folder, found = layout.episodes(source, CHAMPIONS), []
    for _, setting in task_type.evaluations_of(name):
        forms = (setting.model_copy(update={"ways": w}) for w in range(setting.ways, -1, -1))
        files = (folder / f"{form.label}.npz" for form in forms)
        found += [path for path in files if path.exists()][:1]
    return list(dict.fromkeys(found))


def count_test_classes(layout: Layout, name: str) -> float:
    """Number of test classes of a dataset; no limit where tasks are drawn from a family."""
    return once(_count, layout.processed(name) / "classes.json")


def _count(path: Path) -> float:
    header = header_of(path.parent)
    if header.kind == "regression":
        return float("inf")
    return sum(c.partition == "test" for c in header.classes)
