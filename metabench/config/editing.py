"""Changes of a ``params.yaml`` that leave its comments and its order as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken

from metabench.config.messages import glance
from metabench.config.yaml_file import parse_text
from metabench.files import InputError


def changed(text: str, changes: Iterable[str]) -> str:
    """``text`` with changes from the command line, each ``KEY=VALUE``.

    A key is dotted, ``classification.budget.examples``; a part of it that has dots itself is put in
    double quotes. A value is YAML. What is there already is replaced, all else added.

    Raises:
        InputError: a change has another form, or leads through something that holds no keys.
    """
    document = opened(text)
    for change in changes:
        key, equals, value = change.partition("=")
        names = [part.strip('"') for part in re.findall(r'"[^"]+"|[^."]+', key)]
        if not equals or not names:
            raise InputError(f"--set {change}: must be KEY=VALUE, such as 'seeds=[0, 1]'")
        parse_text(value, f"--set {key}")
        put(document, names, _round_trip().load(value), f"--set {key}")
    return written(document)


def opened(text: str) -> CommentedMap:
    """The document of a valid ``params.yaml``, with its comments."""
    document: CommentedMap = _round_trip().load(text)
    return document


def written(document: CommentedMap) -> str:
    """The text of a document."""
    text = StringIO()
    _round_trip().dump(document, text)
    return text.getvalue()


def put(document: CommentedMap, names: Sequence[str], value: Any, where: str) -> None:
    """Set what is at ``names``; mappings that are missing on the way are made.

    Where the file has a mapping by an alias or a merge, the part that changes is written out: what
    stands for itself stays as it is. (What refers to a mapping follows it, as the file says.)

    Args:
        where: what is being done, for the message.

    Raises:
        InputError: on the way there is something that holds no keys.
    """
    holder, last = _holder(document, names, where), names[-1]
    below = _below(holder, last)
    if isinstance(value, Mapping) and not isinstance(value, CommentedMap):
        value = CommentedMap(value)
        value.fa.set_flow_style()
    holder[last] = value
    if not _below(holder, last):
        _comment(holder, last, below)


def drop(document: CommentedMap, names: Sequence[str], where: str) -> None:
    """Take out what is at ``names``; where it stands in a merge, it becomes empty.

    Args:
        names: two or more.
        where: what is being done, for the message.

    Raises:
        InputError: on the way there is something that holds no keys.
    """
    holder, last = _holder(document, names, where), names[-1]
    merged = [part for _, found in _mappings(document) for part in found.merge]
    if last not in holder:
        return
    if any(part is holder for part in merged) or any(last in part for part in holder.merge):
        put(document, names, {}, where)
        return
    below, before = _below(holder, last), list(holder).index(last) - 1
    del holder[last]
    holder.ca.items.pop(last, None)
    if before >= 0:
        _comment(holder, list(holder)[before], below)
    else:
        if not holder:
            holder.fa.set_flow_style()  # {}, which a comment can follow
        _comment(_holder(document, names[:-1], where), names[-2], below, inside=False)


def note(document: CommentedMap, names: Sequence[str], text: str, where: str) -> None:
    """Write a comment on the line of ``names``, in place of the one that is there."""
    holder, last = _holder(document, names, where), names[-1]
    token = _token(holder, last)
    below = token.value.partition("\n")[2] if token else ""
    holder.yaml_add_eol_comment(text, last)
    _comment(holder, last, below, inside=False)


def _holder(document: CommentedMap, names: Sequence[str], where: str) -> CommentedMap:
    """The mapping that holds the last of ``names``: made, or written out, as :func:`put` says."""
    *parents, _ = names
    holder = document
    for depth, name in enumerate(parents, start=1):
        if name not in holder:
            holder[name] = CommentedMap()
        elif not isinstance(holder[name], CommentedMap):
            found = f"{'.'.join(parents[:depth])} is {glance(holder[name])}"
            raise InputError(f"{where}: {found}, which has no keys of its own")
        first = next(place for place, found in _mappings(document) if found is holder[name])
        if first != tuple(parents[:depth]):
            holder[name] = _copy(holder[name])
        holder = holder[name]
    if not holder:
        holder.fa.set_flow_style()  # on one line
    return holder


def _token(holder: CommentedMap, name: str) -> CommentToken | None:
    """The comment on a line and those on the lines below it, as ruamel keeps them."""
    found = holder.ca.items.get(name)
    return found[2] if found else None


def _last_line(holder: CommentedMap, name: str) -> tuple[CommentedMap, str]:
    """Where the comments are that follow all that a name holds."""
    value = holder.get(name)
    if isinstance(value, CommentedMap) and value and not value.fa.flow_style():
        return _last_line(value, list(value)[-1])
    return holder, name


def _below(holder: CommentedMap, name: str) -> str:
    """The lines of comments that follow all that a name holds."""
    token = _token(*_last_line(holder, name))
    return token.value.partition("\n")[2] if token else ""


def _comment(holder: CommentedMap, name: str, lines: str, inside: bool = True) -> None:
    """Add lines of comments after all that a name holds, or before it if not ``inside``."""
    if not lines:
        return
    holder, name = _last_line(holder, name) if inside else (holder, name)
    token = _token(holder, name)
    if token:
        token.value = token.value.rstrip("\n") + "\n" + lines
    else:
        token = CommentToken("\n" + lines, CommentMark(0), None)
        holder.ca.items.setdefault(name, [None, None, None, None])[2] = token


def _round_trip() -> YAML:
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    yaml.indent(sequence=4, offset=2)
    return yaml


def _mappings(
    holder: CommentedMap, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], CommentedMap]]:
    """All mappings in mappings, with their places, in the order of the file."""
    for name, value in holder.items():
        if isinstance(value, CommentedMap):
            yield (*before, name), value
            yield from _mappings(value, (*before, name))


def _copy(mapping: CommentedMap) -> CommentedMap:
    """The same values without anchors, the innermost mappings on one line."""
    copied = CommentedMap(
        {k: _copy(v) if isinstance(v, CommentedMap) else v for k, v in mapping.items()}
    )
    if not any(isinstance(value, CommentedMap) for value in copied.values()):
        copied.fa.set_flow_style()
    return copied
