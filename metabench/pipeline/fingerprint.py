"""What a result depends on: the code of a module with all that it imports, and keys.

Followed are import statements (relative, starred, inside functions), ``import_module`` of a
literal, and files and folders beside the code that a string literal names. An installed package
counts by its version, unless it was installed from a folder, as an editable one is: that counts by
its files. Not followed are names that are put together at run time, variables of the environment,
and what installed packages import in their turn.

Nothing that is looked at is imported, and all is remembered for as long as the process lives: its
code is that of the time it was imported, too.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, distributions
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from metabench.files import digest, once

PACKAGE = "metabench"
APART = {PACKAGE} | {
    f"{PACKAGE}.{name}"
    for name in (
        *("backbones", "data", "methods", "registry"),  # name their members by strings
        *(
            "config",
            *(f"config.{n}" for n in ("bounds", "messages", "names", "schema", "yaml_file")),
        ),
        *(
            "data.imagenet",
            "files",
            "runtime",
            "tracking",
            "tracking.runs",
            "tracking.store",
            "learning.metrics",
            "learning.open_set",
            "learning.pretraining",
        ),
        *(
            f"pipeline.{n}"
            for n in ("fingerprint", "layout", "pretrainings", "results", "validation")
        ),
    )
}
"""Modules that a closure leaves out unless they are asked for: they pass values on that are in the
keys themselves, or a key asks for them where they matter."""


@dataclass(frozen=True)
class Code:
    """What a source file says.

    Attributes:
        digest: of its syntax tree; comments, docstrings and formatting do not count.
        imports: absolute names of modules; ``from a import b`` may be ``a.b``.
        exported: ``__all__``, which ``from a import *`` may import.
        strings: literals that may name a file.
    """

    digest: str
    imports: frozenset[str] = frozenset()
    exported: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()


@cache
def _find(module: str) -> tuple[Path | None, tuple[str, ...]]:
    """File of a module and, of a package, its folders; nothing is imported, parents neither."""
    parent, _, name = module.rpartition(".")
    folders = _find(parent)[1] if parent else None  # None: sys.path
    if folders == ():
        return None, ()
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(module, folders)
        except (
            KeyError
        ):  # a namespace package in another asks for its parent, which is not imported
            places = (f"{folder}/{name}" for folder in folders or ())
            return None, tuple(place for place in places if Path(place).is_dir())
        if spec is not None:
            file = Path(spec.origin) if spec.origin and spec.has_location else None
            return file, tuple(spec.submodule_search_locations or ())
    return None, ()


@cache
def _installed() -> dict[str, list[Distribution]]:
    """Installed distributions by top-level module.

    As :func:`importlib.metadata.packages_distributions`, which takes three times as long.
    """
    found: dict[str, list[Distribution]] = {}
    for distribution in distributions():
        names = (distribution.read_text("top_level.txt") or "").split()
        record = distribution.read_text("RECORD") or ""
        for name in names or set(re.findall(r"^(\w+)(?=/|\.py,|\.[^/,]*so,)", record, re.M)):
            found.setdefault(name, []).append(distribution)
    return found


@cache
def _release(module: str) -> dict[str, str]:
    """Version of the distributions that ``module`` was installed with; empty where files count."""
    found: dict[str, str] = {}
    file, _ = _find(module)
    for distribution in _installed().get(module.split(".")[0], ()) if file else ():
        assert file is not None
        origin = distribution.read_text("direct_url.json") or ""  # where it is not from an index
        site = Path(str(distribution.locate_file("")))
        if site in file.parents and "dir_info" not in origin:
            found[distribution.name] = distribution.version + (origin and f" {digest(origin)}")
    return found


def _literal(node: ast.AST) -> str:
    """The text of a literal, or of literals joined by ``/`` or side by side in a call."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return f"{_literal(left)}/{_literal(right)}".strip("/")
        case ast.Call(args=args):
            return "/".join(filter(None, map(_literal, args)))
    return ""


@cache
def _read(file: Path, package: str) -> Code:
    """What ``file``, a module in ``package``, says."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # an extension module, or what the import will complain of
        return Code(digest(file))
    imports: set[str] = set()
    exported: set[str] = set()
    strings: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                imports.update(alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = _absolute("." * level + (module or ""), package)
                imports.update([base, *(f"{base}.{alias.name}" for alias in names)])
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(function).split(".")[-1] in ("import_module", "__import__"):
                    imports.add(_absolute(name, package))
            case ast.Assign(
                targets=[ast.Name(id="__all__")], value=ast.List(elts) | ast.Tuple(elts)
            ):
                exported.update(filter(None, map(_literal, elts)))
        strings.add(_literal(node))
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [statement for statement in body if not _is_text(statement)]  # type: ignore[attr-defined]
    return Code(digest(ast.dump(tree)), *map(frozenset, (imports, exported, strings)))


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _absolute(name: str, package: str) -> str:
    """A relative name as an absolute one; none of any module where it leads out of everything."""
    try:
        return resolve_name(name, package)
    except ImportError:
        return "-"


def _files_beside(code: Code, module: str, file: Path) -> Iterator[tuple[str, Path]]:
    """Files that literals of a module name, in its folder, its package's or the one above.

    A folder is read whole where it is in a package, and none: beside a lone module it may be
    anything.
    """
    top, folders = module.split(".")[0], [file.parent]
    if package := _find(top)[1]:
        folders += [Path(package[0]), *([] if top == PACKAGE else [Path(package[0]).parent])]
    for folder in dict.fromkeys(folders):
        names = _names(folder)
        for text in (t for t in code.strings if t.split("/")[0] in names):
            path = folder / text
            if path.is_file():
                yield text, path
            elif "__init__.py" in names and path.is_dir() and "__init__.py" not in _names(path):
                inner = (f for f in path.rglob("*") if f.is_file() and f.suffix[:3] != ".py")
                yield from ((str(f.relative_to(folder)), f) for f in inner)


@cache
def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir())


@cache
def code_fingerprint(*modules: str) -> dict[str, str]:
    """Digest of each module and file, and version of each package, that ``modules`` depend on.

    Registries name their members by strings, so a method's closure holds the method, the protocol,
    the shared parts and the backbones' layers, but no other method.
    """
    found: dict[str, str] = {}
    queue, seen = list(modules), set(APART.difference(modules))
    while queue:
        module = queue.pop()
        if module in seen:
            continue
        seen.add(module)
        top, parent = module.split(".")[0], module.rpartition(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if parent:
            queue.append(parent)  # a package's own file runs first
        if parent and module.endswith(".*") and (file := _find(parent)[0]):
            queue += [f"{parent}.{name}" for name in _read(file, parent).exported]
        release = {} if top == PACKAGE else _release(top) or _release(module)
        found |= release
        file, folders = _find(module)
        if release or file is None:
            continue
        code = _read(file, module if folders else parent)
        found[module] = code.digest
        for name, path in _files_beside(code, module, file):
            found[f"{module}: {name}"] = once(digest, path)
        queue.extend(code.imports)
    return dict(sorted(found.items()))


def named_files(values: Any) -> list[Path]:
    """The files that settings name, wherever they stand in ``values``."""
    if isinstance(values, dict | list | tuple):
        inner = values.values() if isinstance(values, dict) else values
        return [path for value in inner for path in named_files(value)]
    with suppress(OSError):  # a text that is too long for a name
        if isinstance(values, str) and Path(values).is_file():
            return [Path(values)]
    return []


def files_of(*values: Any) -> dict[str, str]:
    """Digest of each file that settings name: to a key its content counts, not its name."""
    return {str(path): once(digest, path) for path in named_files(values)}


def key_of(**parts: Any) -> str:
    """Key of a cell: digest of everything its result depends on, in canonical JSON."""
    return digest(json.dumps(parts, sort_keys=True, default=str))


@cache
def git_commit() -> str:
    """Short commit of the working tree, with ``+`` when it has changes; ``unknown`` without git."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", PACKAGE, "stages"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")
