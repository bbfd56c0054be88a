"""The benchmarks run; that both sides compute the same is asserted in them."""

from __future__ import annotations

import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    ["episode_sampling", "frozen_features", pytest.param("maml_step", marks=pytest.mark.slow)],
)
def test_a_benchmark_checks_both_sides_and_times_them(name) -> None:
    medians = importlib.import_module(f"benchmarks.{name}").main(repeats=1)
    assert len(medians) >= 2 and min(medians.values()) > 0
