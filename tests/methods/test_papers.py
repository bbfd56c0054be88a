"""Each method's file says how it differs from its paper, so that nobody has to find out."""

from __future__ import annotations

import sys

import pytest

from metabench.methods import METHODS


def last_paragraph(name: str) -> str:
    """The end of the docstring of the method's module, on one line."""
    text = sys.modules[METHODS.load(name).__module__].__doc__ or ""
    return " ".join(text.strip().rpartition("\n\n")[2].split())


@pytest.mark.parametrize(
    "name",
    [n for n in METHODS.names() if METHODS.target(n).startswith("metabench.")],
)
def test_a_method_s_file_ends_with_its_differences_from_the_paper(name) -> None:
    found = last_paragraph(name)
    says = found == "As in the paper." or found.startswith("Differs from the paper: ")
    if METHODS.load(name).paper == "–":
        assert not says, f"{name} has no paper"
    else:
        assert says, f"{name}: no 'Differs from the paper: …' and no 'As in the paper.'"
