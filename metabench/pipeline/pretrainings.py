"""The pretrainings of a source: a short list of recipes that is the same for all methods.

A method that starts pretrained names one of them in its settings. So pretraining and adaptation are
chosen together, by the score of the method itself, and still each pretraining is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass

from metabench.backbones import BACKBONES
from metabench.config import Budget, Config, Level
from metabench.config.names import BACKBONE
from metabench.learning.pretraining import Pretrain, PretrainSettings
from metabench.methods import METHODS
from metabench.methods.base import Method
from metabench.methods.searching import drawn, place
from metabench.pipeline.validation import learner_settings, starts_shared


@dataclass(frozen=True)
class Pretraining:
    """A recipe of the source's list, with ``share`` of a method's examples to spend.

    Each has a schedule of its own, annealed to the end of what it may spend.
    """

    recipe: int = 0
    share: float = 1.0

    def __str__(self) -> str:
        return f"recipe{self.recipe}-share{self.share:g}"

    def budget(self, whole: Budget) -> Budget:
        """What the pretraining may spend of a method's budget."""
        return whole if self.share == 1 else whole.split(self.share)[0]

    def left(self, whole: Budget) -> Budget:
        """What it leaves for the method."""
        return whole.split(self.share)[1]


def recipe(config: Config, source: str, number: int) -> PretrainSettings:
    """Hyper-parameters of a pretraining on ``source``.

    Recipe 0 is ``settings.<source>.backbone``. In recipe n, whatever is searched in pretraining is
    drawn as trial n of any method has it: the same for every source.

    Raises:
        InputError: ``params.yaml`` has other settings than those of the pretraining.
    """
    base: PretrainSettings = learner_settings(config, source, BACKBONE)
    if number == 0:
        return base
    backbone = BACKBONES.load(config.task_type_of(source).backbone.name)
    values = drawn(Pretrain, backbone, lambda name: place(number, name, 0, 0))
    return base.model_copy(update=values)


def spends(config: Config, source: str, name: str) -> bool:
    """Whether (source, method or variant) depends on what its budget offers of the source."""
    task_type = config.task_type_of(source)
    method = METHODS.load(task_type.variant(name).method)
    return (
        method.source_training != "none"
        or method.fit_source_statistics is not Method.fit_source_statistics
        or starts_shared(method, task_type.backbone_of(name))
    )


def levels_of(config: Config, source: str, name: str) -> tuple[Level | None, ...]:
    """The levels at which there are learners; one that spends nothing is the same at all: None."""
    return config.task_type_of(source).budget.levels if spends(config, source, name) else (None,)


def pretraining_of(config: Config, source: str, name: str) -> Pretraining | None:
    """What (source, method or variant) starts from; None where nothing of the source's.

    Raises:
        InputError: wrong settings.
    """
    task_type = config.task_type_of(source)
    method = METHODS.load(task_type.variant(name).method)
    if not starts_shared(method, task_type.backbone_of(name)):
        return None
    settings = learner_settings(config, source, name)
    trains = method.source_training != "none"
    return Pretraining(settings.pretraining, settings.pretraining_share if trains else 1.0)
