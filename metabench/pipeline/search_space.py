"""What is tried of a method in a search: draws that are named, and that its source can serve."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from metabench import rng
from metabench.backbones import BACKBONES
from metabench.config import Config
from metabench.config.search import adapts
from metabench.data import Dataset
from metabench.data.builders import builder_of
from metabench.files import InputError
from metabench.methods.base import RECIPES, Settings
from metabench.methods.searching import AUGMENTATION, EPISODE_FORM, drawn, place, searched
from metabench.pipeline.layout import Layout
from metabench.pipeline.validation import learner_class, learner_settings

LEAST_STEPS = 50
"""Fewer outer steps than these are not drawn: they would be spent before anything is learned."""
ATTEMPTS = 100
"""So often a trial is drawn again, until the source can serve it and no earlier one is the same."""


class NothingToTune(InputError):
    """A method has no setting that is searched."""


class Space:
    """The settings of a method that are searched on a source.

    Attributes:
        ranges: where each is searched; what has no effect on the source is not there.
        names: of them.

    Raises:
        NothingToTune: there are none.
    """

    def __init__(self, config: Config, root: Path, source: str, method: str):
        self._config, self._root, self._source, self._method = config, root, source, method
        self._task_type = config.task_type_of(source)
        self._cls = learner_class(self._task_type.variant(method).method)
        self._backbone = BACKBONES.load(self._task_type.backbone_of(method).name)
        builder, idle = builder_of(config, source), set[str]()
        if builder.family is not None:
            idle |= {"ways"}
        if not builder.augmentation:
            idle |= AUGMENTATION
        ranges = searched(self._cls, self._backbone)
        self.ranges = {name: str(found) for name, found in ranges.items() if name not in idle}
        self.names = list(self.ranges)
        if not self.names:
            raise NothingToTune(f"{method}: has no setting that is searched")

    @cached_property
    def base(self) -> dict[str, Any]:
        """The settings in ``params.yaml``, with the defaults of those that are searched."""
        given = dict(self._config.settings_of(self._source, self._method))
        given.pop("by_shots", None)  # would hide what is tried
        found = learner_settings(self._config, self._source, self._method)
        every = found.model_dump(mode="json")  # as it is written in params.yaml
        return given | {name: every[name] for name in self.names}

    def trials(self, count: int) -> list[dict[str, Any]]:
        """Settings that differ, :attr:`base` first: fewer than ``count`` where there are no more.

        However many are asked for, the first ones are the same.
        """
        found = [self.base]
        for number in range(1, count):
            draws = (self._draw(number, again) for again in range(ATTEMPTS))
            new = next((settings for settings in draws if settings not in found), None)
            found += [new] if new else []
        return found

    def _draw(self, number: int, again: int) -> dict[str, Any]:
        """The settings of a trial but the first: a draw that the source can serve."""
        # what trains after its pretraining shall not have the same rates for both in each trial
        shift = RECIPES // 2 if "pretraining_share" in self.names else 0
        for attempt in range(ATTEMPTS):

            def share(name: str, attempt: int = attempt) -> float:
                form = attempt if name in EPISODE_FORM else 0
                return place(number + shift * (name == "pretraining"), name, form, again)

            values = self._values(share)
            found = self._cls.Settings.model_validate(self.base | values)
            if self.can_be_served(found):
                break
        else:
            values |= {name: self.base[name] for name in EPISODE_FORM & values.keys()}
        return self.base | json.loads(json.dumps(values))  # as a table holds them

    @property
    def adaptation(self) -> list[str]:
        """Those of :attr:`names` that prediction alone uses."""
        fields = self._cls.Settings.model_fields
        return [name for name in self.names if adapts(fields[name])]

    def adapted(self, number: int) -> dict[str, Any]:
        """A draw of the settings of adaptation."""
        values = self._values(lambda name: rng.generator("adaptation", number, name).random())
        return {name: values[name] for name in self.adaptation}

    def _values(self, share: Callable[[str], float]) -> dict[str, Any]:
        values = drawn(self._cls, self._backbone, share)
        return {name: values[name] for name in self.names}

    def can_be_served(self, settings: Settings) -> bool:
        """Whether the source has such training episodes, and the budget some steps of them."""
        if self._cls.source_training != "episodic":
            return True
        training, examples = self._task_type.training, self._task_type.budget.level.examples
        if "pretraining_share" in self.names:
            examples = round(examples * (1 - settings.pretraining_share))
        size = max(settings.shots or training.shots) + (settings.queries or training.queries)
        ways = settings.ways or training.ways or 1
        classes = round(self._task_type.budget.level.classes * len(self.sizes))
        enough = not self.sizes or (ways <= classes and size <= min(self.sizes))
        return enough and settings.tasks * ways * size * LEAST_STEPS <= examples

    @cached_property
    def sizes(self) -> list[int]:
        """Examples of each training class; none of a family of tasks."""
        if builder_of(self._config, self._source).family is not None:
            return []
        dataset = Dataset.load(Layout(self._root).processed(self._source))
        return [len(rows) for rows in dataset.members("train")]
