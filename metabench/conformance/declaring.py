"""What a method says of itself."""

from __future__ import annotations

import pickle

from pydantic import ValidationError

from metabench.conformance.subject import Subject
from metabench.methods.base import FAMILIES, Method

DECLARED = tuple(name for name in Method.__annotations__ if name not in ("Settings", "backbone"))
"""What a class says of its learners."""


def declares(subject: Subject) -> str | None:
    """Family, paper, form of training, start and docstring are there, and are such as exist."""
    cls = subject.method
    problems = []
    if getattr(cls, "family", None) not in FAMILIES:
        problems.append(f"family is {getattr(cls, 'family', None)!r}, not one of {FAMILIES}")
    if not str(getattr(cls, "paper", "")).strip():
        problems.append("paper is missing: cite one, or say '–'")
    if cls.source_training not in ("episodic", "supervised", "none"):
        problems.append(f"source_training is {cls.source_training!r}: episodic, supervised or none")
    if cls.start not in ("random", "pretrained"):
        problems.append(f"start is {cls.start!r}: random or pretrained")
    if not vars(cls)["__doc__"]:
        problems.append("the class has no docstring")
    if not problems:
        learner = subject.build()
        problems += [
            f"{name} is {getattr(learner, name)!r} in a learner and {getattr(cls, name)!r} in the "
            "class, which is what results hold: declare it there alone, as a plain value"
            for name in DECLARED
            if getattr(learner, name) != getattr(cls, name)
        ]
    return "; ".join(problems) or None


def settings(subject: Subject) -> str | None:
    """Defaults survive pickling and JSON; an unknown key is refused."""
    model = subject.method.Settings
    settings = model()
    if pickle.loads(pickle.dumps(settings)) != settings:
        return "settings change when they are pickled"
    if model.model_validate(settings.model_dump(mode="json")) != settings:
        return "settings change when they are written as JSON and read again"
    try:
        model.model_validate({"no_such_setting": 1})
    except ValidationError:
        return None
    return "an unknown setting is accepted: keep extra='forbid' in model_config"
