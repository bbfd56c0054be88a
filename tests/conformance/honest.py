"""A method without a fault, and what tells whether ``metabench check`` catches one with a fault."""

from __future__ import annotations

import torch

from metabench.conformance import check
from metabench.episodes import class_means
from metabench.methods.base import FeatureMethod, Method


class Honest(FeatureMethod):
    """Nearest class mean, as a third party would write it."""

    family, paper = "metric", "made up"
    kinds = frozenset({"vector"})

    def classify(self, features):
        means = class_means(features.support_x, features.support_y, features.ways)
        return -(torch.cdist(features.query_x, means) ** 2)


def assert_caught(method: type[Method], sentence: str, words: str) -> None:
    """The property is broken, and ``words`` are in what the method is told."""
    found = {v.property: v for v in check(method)}
    assert found[sentence].passed is False, found[sentence]
    assert words in found[sentence].detail


def assert_named_and_no_fault(method: type[Method], sentence: str, reason: str) -> None:
    """The property does not apply, for ``reason``; no other one is broken."""
    found = {v.property: v for v in check(method)}
    assert found[sentence].passed is None
    assert reason in found[sentence].detail
    assert [v for v in found.values() if v.passed is False] == []
