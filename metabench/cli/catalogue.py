"""What there is to choose from: methods, backbones, datasets, metrics."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from metabench.cli.base import command, console, say, table_of
from metabench.cli.completing import own_data, registered
from metabench.config.messages import glance, nearest
from metabench.config.names import BACKBONE
from metabench.files import InputError

if TYPE_CHECKING:
    from metabench.backbones.base import Backbone
    from metabench.config.search import Range
    from metabench.data import Builder
    from metabench.methods.base import Method
    from metabench.registry import Registry


@command("Start")
def _list(
    what: Annotated[
        Literal["methods", "backbones", "datasets", "metrics"], typer.Argument(help="what to list")
    ] = "methods",
) -> None:
    """List all methods, backbones, datasets or metrics, with the kinds of data that they take."""
    from metabench.backbones import BACKBONES
    from metabench.data import DATASETS
    from metabench.data.entries import own_builder
    from metabench.learning.metrics import METRICS
    from metabench.methods import METHODS

    if what == "methods":
        table = table_of("method", "family", "data", "paper", "source training", "start", "flags")
        for name in METHODS.names():
            cls = METHODS.load(name)
            flags = {"transductive": cls.transductive, "fixed ways": not cls.variable_ways}
            training = (cls.source_training, cls.start, ", ".join(f for f in flags if flags[f]))
            table.add_row(name, cls.family, _kinds(cls), cls.paper, *training)
    elif what == "backbones":
        table = table_of("backbone", "data", "what it is")
        for name in BACKBONES.names():
            backbone = BACKBONES.load(name)
            text = inspect.getdoc(backbone) or ""
            table.add_row(name, _kinds(backbone), text.partition("\n")[0])
    elif what == "metrics":
        table = table_of("metric", "what it is")
        for name in METRICS.names():
            table.add_row(name, (inspect.getdoc(METRICS.load(name)) or "").partition("\n")[0])
    else:
        table = table_of("dataset", "data", "paper or source", "download")
        for name in DATASETS.names():
            if DATASETS.module(name) != "metabench.data.own":  # what bench is given
                builder = DATASETS.load(name)
                table.add_row(name, builder.kind, builder.citation, _download(builder))
        for name, entry in own_data().items():
            builder = own_builder(name, entry)
            table.add_row(name, builder.kind, builder.citation, _download(builder))
    console.print(table)


@command("Start")
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="a method, a backbone or a dataset, each also as my_pkg:Mine; `backbone` means "
            "the pretraining that methods share",
            autocompletion=registered,
        ),
    ],
) -> None:
    """Show the paper, equation and settings of a method, or describe a backbone or dataset."""
    from metabench.backbones import BACKBONES
    from metabench.data import DATASETS
    from metabench.data.entries import own_builder
    from metabench.methods import METHODS
    from metabench.pipeline.validation import learner_class

    if _is_of(BACKBONES, name):
        _show_backbone(name, BACKBONES.load(name))
    elif _is_of(DATASETS, name):
        _show(name, _facts_of(DATASETS.load(name)))
        say(inspect.getdoc(sys.modules[DATASETS.module(name)]) or "")
    elif entry := own_data().get(name):
        own = entry.model_dump(
            mode="json", exclude_defaults=True, exclude={"augmentation", "imagenet"}
        )
        _show(name, _facts_of(own_builder(name, entry)) | own)
    elif name == BACKBONE or name in METHODS.names() or ":" in name:
        _show_method(name, learner_class(name))
    else:
        known = [*METHODS.names(), *BACKBONES.names(), *DATASETS.names(), *own_data()]
        hint = nearest(name, known)
        raise InputError(f"no method, backbone or dataset is called {glance(name)}. {hint}")


def _facts_of(builder: Builder) -> dict[str, Any]:
    facts = {"data": builder.kind, "paper or source": builder.citation}
    facts["augmentation"] = ", ".join(builder.augmentation) or "none"
    if builder.kind == "image":
        facts["classes of ImageNet-1k"] = builder.imagenet or "unknown"
    return facts | {"download": _download(builder)}


def _is_of(registry: Registry[Any], name: str) -> bool:
    """Whether the name is registered there, or is the dotted path of such a thing."""
    if ":" not in name:
        return name in registry.names()
    try:
        registry.load(name)
    except InputError:
        return False
    return True


def _show_method(name: str, cls: type[Method]) -> None:
    from metabench.config.search import adapts
    from metabench.methods.base import Settings
    from metabench.methods.searching import effective, searched

    facts: dict[str, Any] = {"family": cls.family, "paper": cls.paper, "data": _kinds(cls)}
    for declared in ("source_training", "start", "transductive", "variable_ways"):
        facts[declared] = getattr(cls, declared)
    _show(name, facts | {"order_sensitive": cls.order_sensitive, "class": _place(cls)})
    say(_text_of(cls))
    ranges = searched(cls)
    table = table_of("setting", "default", "searched", "by shots")
    for field in effective(cls):
        found = cls.Settings.model_fields[field]
        default = json.dumps(found.get_default(call_default_factory=True), default=str)
        by_shots = "yes" if adapts(found) else ""
        table.add_row(field, default, _searched(ranges.get(field)), by_shots)
    if not table.row_count:
        say("\nIt has no settings.")
        return
    say(f"\nSettings, for params.yaml at settings.<source>.{name}:")
    console.print(table)
    for own in cls.Settings.__mro__:
        doc = (own.__doc__ if issubclass(own, Settings) else "") or ""  # getdoc would inherit
        if text := _of_settings(inspect.cleandoc(doc), effective(cls)):
            say(f"\n{text}")


def _searched(within: Range | None) -> str:
    """A range in words; a long one of whole numbers by its ends."""
    values: tuple[Any, ...] = getattr(within, "values", ())
    if len(values) > 10 and values == tuple(range(len(values))):
        return f"{values[0]} … {values[-1]}"
    return str(within or "")


def _of_settings(text: str, names: Iterable[str]) -> str:
    """A docstring of settings without attributes that are none of ``names``; empty without any."""
    head, title, attributes = text.partition("\nAttributes:\n")
    if not title:
        return text
    entries = re.split(r"\n(?=    \S)", attributes.rstrip())
    wanted = set(names)
    kept = [e for e in entries if wanted & set(re.findall(r"\w+", e.partition(":")[0]))]
    return "\n".join([head + title.rstrip(), *kept]) if kept else ""


def _show_backbone(name: str, cls: type[Backbone]) -> None:
    facts = {"data": _kinds(cls), "external pretraining": cls.external_pretraining}
    _show(name, facts | {"class": _place(cls)})
    say(_text_of(cls))
    table = table_of("setting", "default")
    _, _, *parameters = inspect.signature(cls.__init__).parameters.values()  # self, input_shape
    for found in parameters:
        default = "" if found.default is found.empty else json.dumps(found.default, default=str)
        table.add_row(found.name, default)
    if table.row_count:
        say("\nSettings, for params.yaml at backbone.settings of a task type:")
        console.print(table)


def _show(name: str, facts: dict[str, Any]) -> None:
    table = table_of(name, "")
    for fact, value in facts.items():
        text = ("no", "yes")[value] if isinstance(value, bool) else str(value)
        table.add_row(fact.replace("_", " "), text)
    console.print(table)


def _kinds(cls: type[Method] | type[Backbone]) -> str:
    return ", ".join(sorted(cls.kinds))


def _text_of(cls: type) -> str:
    """What the module and the class say of themselves: idea, equation, deviations."""
    texts: Iterable[str | None] = (inspect.getdoc(sys.modules[cls.__module__]), cls.__doc__)
    return "\n\n".join(inspect.cleandoc(text) for text in texts if text)


def _place(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _download(builder: Builder) -> str:
    return f"{len(builder.files)} file{'s' * (len(builder.files) > 1)}" if builder.files else "none"
