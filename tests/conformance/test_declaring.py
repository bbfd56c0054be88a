"""A method that says of itself too little, or what there is not, is told so."""

from __future__ import annotations

from tests.conformance.honest import Honest, assert_caught


class SaysNothing(Honest):
    family, paper = "best", ""


def test_a_method_that_declares_no_family_paper_or_docstring_is_caught() -> None:
    assert_caught(SaysNothing, "declares what it is", "the class has no docstring")
