"""Alternating repetitions, minima, ratios: what all benchmarks share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


def configure() -> None:
    """One thread, as a worker of the pipeline has, for all libraries; and say on what this runs."""
    from metabench.runtime import configure as process

    process(threads=1)
    threadpool_limits(1)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} CPU cores, load {load:.1f}, torch {torch.__version__}, one thread")


def compare(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Least seconds of each function; prints them with the ratio to the first.

    All are called once to warm up. Then they take turns, so that other load on the machine meets
    all alike. Seconds are those of the processor that this process had; other work can only add to
    them, through shared caches and memory, so the least say most.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.process_time()
            function()
            seconds[name].append(time.process_time() - start)
    least = {name: min(values) for name, values in seconds.items()}
    base = next(iter(least.values()))
    for name, value in least.items():
        print(f"{name:48} {1000 * value:9.2f} ms   ×{value / base:.2f}", flush=True)
    return least
