"""YAML files that anybody may have written: read in a moment, or refused with a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

from metabench.files import InputError

LARGEST = 100_000
"""Bytes; the longest profile has a tenth."""
MOST_VALUES = 20_000
DEEPEST = 20


class Shallow(Composer):
    """Goes no deeper than is sensible: the parser's time grows with the square of the depth."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Any:
        """One value and all that is in it.

        Raises:
            ValueError: it is nested too deeply.
        """
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError("nested too deeply")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        InputError: it is missing, or is no such file.
    """
    return parse_text(text_of(path), str(path))


def text_of(path: Path) -> str:
    """The text of a file that is to be YAML.

    Raises:
        InputError: it is missing, or is no text, or none of a sensible size.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no file. Put a profile in its place.")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise InputError(f"{path}: has more than {LARGEST} bytes")
        return content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing. `metabench profile NAME` makes it.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def parse_text(text: str, where: str) -> Any:
    """The content of YAML 1.2: the version that DVC reads, where ``yes`` is a word.

    Args:
        where: what holds the text, for the message.

    Raises:
        InputError: it is no YAML, or absurdly large or deep.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = Shallow
    try:
        node = yaml.compose(text)
        _check_size(node, where)
        return None if node is None else yaml.constructor.construct_document(node)
    except InputError:
        raise
    except DuplicateKeyError as error:
        what = str(error.problem).partition(" with ")[0]
        line = error.problem_mark.line + 1
        raise InputError(f"{where}: line {line}: {what} is there twice") from error
    except ValueError as error:  # a number or a date; the rest is advice to programmers
        raise InputError(f"{where}: not valid YAML: {str(error).partition(';')[0]}") from error
    except Exception as error:  # there is little that the parser does not raise on some text
        raise InputError(f"{where}: not valid YAML: {str(error)[:500]}") from error


def _check_size(node: Node | None, where: str) -> None:
    """Count what there is with all aliases unfolded, before they are.

    Raises:
        InputError: it is absurdly much, or absurdly deep.
    """
    stack, seen = [(node, 0)], 0
    while stack:
        found, depth = stack.pop()
        seen += 1
        if depth > DEEPEST:
            raise InputError(f"{where}: nested too deeply")
        if seen > MOST_VALUES:
            raise InputError(f"{where}: more than {MOST_VALUES} values. Are there nested aliases?")
        if isinstance(found, MappingNode):
            stack += [(part, depth + 1) for pair in found.value for part in pair]
        elif isinstance(found, CollectionNode):
            stack += [(part, depth + 1) for part in found.value]
