"""Importing timm where torchvision's compiled part was built for another torch.

timm imports torchvision, whose import fails there, and uses none of its compiled operators for the
models of these tests: declaring them is enough.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

_declared: list[torch.library.Library] = []  # an operator lives as long as its library


def import_timm() -> ModuleType:
    """timm, or the test is skipped where it is not installed."""
    spec = importlib.util.find_spec("torchvision")
    if spec is not None and spec.origin is not None and not _declared:
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            fakes = (Path(spec.origin).parent / "_meta_registrations.py").read_text()
            library = torch.library.Library("torchvision", "FRAGMENT")
            for name in sorted(set(re.findall(r'register_fake\("torchvision::(\w+)"', fakes))):
                library.define(f"{name}() -> ()")
            _declared.append(library)
    return pytest.importorskip("timm")
