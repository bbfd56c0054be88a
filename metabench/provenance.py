"""What a result depends on: the code of a module with all that it imports from here, and keys."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from metabench.files import digest

PACKAGE = "metabench"
NEUTRAL = {"metabench", "metabench.config", "metabench.files", "metabench.registry"}
"""Modules that carry values but decide none: the values themselves are in the keys."""


def _source_file(module: str) -> Path | None:
    """File of ``module`` without importing it (parents are imported)."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@cache
def _imports(file: Path) -> frozenset[str]:
    """Modules that a file imports, as dotted names (``from a import b`` may be ``a.b``)."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def code_of(*modules: str) -> dict[str, str]:
    """Digest of each module of the import closure of ``modules`` within their own packages.

    Registries name their members by strings, so a method's closure holds the method, the protocol,
    the shared parts and the backbones' layers, but no other method.
    """
    roots = {PACKAGE, *(m.split(".")[0] for m in modules)}
    digests: dict[str, str] = {}
    queue = list(modules)
    while queue:
        module = queue.pop()
        if module in digests or module in NEUTRAL or module.split(".")[0] not in roots:
            continue
        file = _source_file(module)
        if file is None:
            continue
        digests[module] = digest(file)
        queue.extend(_imports(file))
    return dict(sorted(digests.items()))


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
