"""A method that says of itself too little, or what there is not, is told so."""

from __future__ import annotations

import pytest

from tests.conformance.honest import Honest, assert_caught
from tests.conformance.test_independence import SaysItIsTransductive


class SaysNothing(Honest):
    family, paper = "best", ""


def test_a_method_that_declares_no_family_paper_or_docstring_is_caught() -> None:
    assert_caught(SaysNothing, "declares what it is", "the class has no docstring")


class DeniesIt(SaysItIsTransductive):
    """Its class says that it is transductive, so it is not asked; its learners deny it."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.transductive = False


class DeniesItByAProperty(SaysItIsTransductive):
    """The same, where a class holds no value."""

    @property
    def transductive(self) -> bool:
        return False


@pytest.mark.parametrize("method", [DeniesIt, DeniesItByAProperty])
def test_a_learner_that_declares_something_else_than_its_class_is_caught(method) -> None:
    assert_caught(method, "declares what it is", "transductive is False in a learner and")
