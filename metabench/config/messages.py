"""What is said of bad input: one error with a line for each problem, in plain words."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError

from metabench.files import InputError

LONGEST_VALUE = 80
"""Characters of a value in a message."""
MOST_PROBLEMS = 30
"""More than these are not listed."""

NO_NAMES = ("[key]", "[shares]", "[name]")
"""Pydantic's parts of a place that no file has: a key, and forms of one value."""

_brief = reprlib.Repr()
_brief.maxlevel = 3
_brief.maxstring = _brief.maxlong = _brief.maxother = LONGEST_VALUE

_WORDS = {
    "bool": "must be true or false",
    "dict": "must be a mapping, such as {{key: value}}",
    "finite_number": "must be a finite number",
    "float": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int": "must be a whole number",
    "is_instance_of": "must be a list, such as [0, 1, 2]",  # of a sequence
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "model": "must be a mapping, such as {{key: value}}",
    "string": "must be a text; put it in quotes if it reads as something else",
    "too_short": "must not be empty",
    "tuple": "must be a list, such as [0, 1, 2]",
}
"""Pydantic's kinds of problems, whole or by their first word, as a user would put them."""


def glance(value: Any) -> str:
    """``repr`` of a value, cut to a glance; never slow, whatever the value holds."""
    if isinstance(value, int) and value.bit_length() > 4 * LONGEST_VALUE:
        return f"a whole number of {value.bit_length()} bits"  # repr refuses the longest
    text = _brief.repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def nearest(name: str, known: Collection[str]) -> str:
    """``Did you mean …?``, or all of ``known`` where none is near."""
    near = difflib.get_close_matches(name[:LONGEST_VALUE], known, n=3, cutoff=0.4)
    return f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(known) or 'none'}."


def refusal(problems: Iterable[str], where: str) -> InputError:
    """One error that lists ``problems``, each on a line that begins with ``where``."""
    found = list(islice(problems, MOST_PROBLEMS + 1))
    if len(found) > MOST_PROBLEMS:
        found[-1] = "and more, which will show when these are mended"
    return InputError("\n".join(f"{where}: {line}" for line in dict.fromkeys(found)))


def refuse(problems: Iterable[str], where: str) -> None:
    """Look for problems, as many as are listed.

    Raises:
        InputError: there are some.
    """
    found = list(islice(problems, MOST_PROBLEMS + 1))
    if found:
        raise refusal(found, where)


def explain(error: ValidationError, model: type[BaseModel], where: str) -> InputError:
    """Pydantic's report with one line a problem: key, value, nearest valid names."""
    return refusal((_line(problem, model) for problem in error.errors(include_url=False)), where)


def _line(problem: Any, model: type[BaseModel]) -> str:
    """Key and value of a problem, and what is wrong."""
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    names = [str(part) for part in problem["loc"] if part not in NO_NAMES]
    # what could upset a terminal is quoted
    key = ".".join(n if re.fullmatch(r"[\w.:/-]{1,80}", n) else glance(n) for n in names)
    start = f"{key}: " if key else ""
    if kind == "value_error":
        return f"{start}{context['error']}"
    if kind == "missing":
        return f"{start}required, but missing"
    if kind == "extra_forbidden":
        hint = nearest(names[-1], _fields_at(model, problem["loc"]))
        return f"{start}unknown key (value {glance(value)}). {hint}"
    words = _WORDS.get(kind) or _WORDS.get(kind.partition("_")[0])
    text = words.format(**context) if words else problem["msg"]
    return f"{start}{text} (value {glance(value)})"


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Names that are valid at ``location`` (best effort, for suggestions)."""

    def parts(annotation: Any) -> Iterator[Any]:
        yield annotation
        for inner in getattr(annotation, "__args__", ()):
            yield from parts(inner)

    for part in location[:-1]:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        found = [
            c for c in parts(field.annotation) if isinstance(c, type) and issubclass(c, BaseModel)
        ]
        if not found:
            return []
        model = found[0]
    return list(model.model_fields)
