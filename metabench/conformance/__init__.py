"""Conformance: the properties that every method must have, third-party ones too.

``check`` trains a small learner of a method on made-up data of each kind that the method applies
to, in double precision, and tries to catch it: a query that depends on other queries, a task that
depends on other tasks or on earlier calls, query labels that leak, class names that matter, state
that is not saved.
A property is a function that gets a :class:`Subject` and returns what is wrong with it, in words;
there is a file for each theme.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch

from metabench.conformance import declaring, independence, learning, predicting, support
from metabench.conformance.subject import (
    BACKBONES_USED,
    NO_PREDICTION,
    PREDICTS,
    NoPrediction,
    NotApplicable,
    Subject,
    raised,
)
from metabench.data.base import Kind
from metabench.files import InputError
from metabench.methods import METHODS
from metabench.methods.base import Method, Settings

KINDS: tuple[Kind, ...] = get_args(Kind)
Property = Callable[[Subject], str | None]
DECLARES = "declares what it is"
SETTINGS = "has settings that are checked and can be stored"
TRAINS = "trains with finite loss and gradients"
EVERY_WEIGHT = "can learn every weight that it trains"
PROPERTIES: dict[str, Property] = {
    DECLARES: declaring.declares,
    SETTINGS: declaring.settings,
    PREDICTS: predicting.predicts,
    TRAINS: learning.trains,
    EVERY_WEIGHT: learning.every_weight,
    "trains no weights outside of its budget": learning.within_budget,
    "gives the same result for the same seed": learning.same_for_a_seed,
    "is left unchanged by predict": predicting.unchanged,
    "remembers nothing of earlier calls": independence.calls_apart,
    "answers each query by itself": independence.queries_apart,
    "answers each task by itself": independence.tasks_apart,
    "does not care how classes are called": support.class_names,
    "does not care about the order of the support": support.order,
    "accepts an unbalanced support": support.unbalanced,
    "predicts the same after saving and loading": predicting.saved,
    "does not read the labels of queries": independence.labels_hidden,
    "answers other numbers of ways": support.other_ways,
    "answers after any list of steps, in its order": predicting.any_steps,
    "embeds each example by itself": independence.embeds,
    "classifies embedded examples as it predicts": independence.classifies,
    "augments a support by what it is alone": independence.augments,
    "stays at chance when labels mean nothing": learning.chance,
    "learns an easy problem": learning.learns,
}
"""What a method must have, as a sentence, and the function that tries it."""
STANDS_ALONE = (DECLARES, SETTINGS, PREDICTS, TRAINS)
"""Properties that say something about a method that predicts nothing."""


@dataclass(frozen=True)
class Verdict:
    """Whether a method has a property, on one kind of data.

    Attributes:
        property: a sentence.
        passed: False if it is broken; ``None`` if it does not apply.
        detail: what is wrong and what to do about it, or why the property does not apply.
    """

    property: str
    kind: Kind
    passed: bool | None
    detail: str = ""


def check(method: type[Method] | str, kinds: Sequence[Kind] | None = None) -> list[Verdict]:
    """Examine a method on every kind of data that it declares and that there is data for.

    Args:
        method: the class, a registered name, or ``package.module:Class``.
        kinds: restrict the examination to these.

    Returns:
        A verdict for each property and kind; an exception of the method is a verdict, too.

    Raises:
        InputError: there is no such method, it is no method at all, or its settings are none.
    """
    cls = METHODS.load(method) if isinstance(method, str) else method
    name = method if isinstance(method, str) else cls.__name__
    if not (inspect.isclass(cls) and issubclass(cls, Method)):
        raise InputError(f"{name} is not a class that extends metabench.methods.base.Method")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise InputError(f"{name} does not implement {missing}")
    if not (inspect.isclass(cls.Settings) and issubclass(cls.Settings, Settings)):
        raise InputError(f"{name}: Settings does not extend metabench.methods.base.Settings")
    unknown = set(cls.kinds) - set(KINDS)
    if unknown or not cls.kinds:
        raise InputError(f"{name}: kinds is {set(cls.kinds)}, allowed are {', '.join(KINDS)}")
    wanted = [k for k in kinds or KINDS if k in cls.kinds and k in BACKBONES_USED]
    verdicts = []
    for kind in wanted:
        subject = Subject(cls, kind)
        for sentence, function in PROPERTIES.items():
            verdicts.append(_judge(sentence, function, subject))
    return verdicts


def _judge(sentence: str, function: Property, subject: Subject) -> Verdict:
    passed: bool | None
    try:
        if sentence not in STANDS_ALONE and subject.fault is not None:
            raise NotApplicable(NO_PREDICTION)
        wrong = function(subject)
        passed, detail = wrong is None, wrong or ""
    except NotApplicable as reason:
        passed, detail = None, str(reason)
    except NoPrediction as error:
        passed, detail = False, f"in this case, {error}"
    except Exception as error:
        passed, detail = False, f"raises {raised(error, subject.method)}"
    finally:
        torch.set_grad_enabled(True)
    return Verdict(sentence, subject.kind, passed, detail)
