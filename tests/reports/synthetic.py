"""Made-up results with the contract's columns, for reports of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metabench.pipeline.results import CONTRACT
from metabench.reports import figures
from metabench.reports.scores import blocks_of, condense
from metabench.reports.summary import summarise

META: dict[str, Any] = {
    "profile": "made-up",
    "git_commit": "0123456789",
    "seeds": [0, 1, 2],
    "params": {"profile": "made-up", "seeds": [0, 1, 2]},
}
MACHINE = {"processor": "Abacus (R) 1", "gpu": None, "threads": 1}
BOARD = {
    "protonet": ("metric", 0.80),
    "maml": ("optimisation", 0.60),
    "linear_probe": ("feature", 0.80),
    "fine_tune": ("parameter", 0.75),
    "tim": ("transductive", 0.85),
    "nearest_neighbour": ("control", 0.40),
}


def made_up(
    methods: Mapping[str, tuple[str, float]] = BOARD,
    sources: Sequence[str] = ("glyphs",),
    targets: Sequence[str] = ("glyphs", "digits"),
    shots: Sequence[int] = (1, 5),
    seeds: int = 3,
    episodes: int = 40,
    ways: int = 5,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and cost records; ``methods`` gives family and true accuracy of each.

    Five shots add 0.1, another domain costs 0.2; episodes vary by 0.05, seeds by 0.003.
    """
    draw = np.random.default_rng(0)
    frames, records = [], []
    for source in sources:
        for i, (method, (family, skill)) in enumerate(methods.items()):
            for seed in range(seeds):
                luck = draw.normal(0, 0.003)
                for target in targets:
                    for k in shots:
                        hard = np.random.default_rng([len(target), k]).normal(0, 0.05, episodes)
                        mean = skill + 0.1 * (k > 1) - 0.2 * (target != source)
                        value = np.clip(mean + luck + hard + draw.normal(0, 0.01, episodes), 0, 1)
                        frames.append(_frame(value).assign(
                            source=source, target=target, partition="test", selection="val",
                            method=method, family=family, seed=seed, ways=ways, shots=k,
                            queries=15, steps=-1, episode=range(episodes),
                            examples_budget=40000, source_classes=1.0, split=0,
                            episode_hash=f"hash-{target}-{k}", metric="accuracy" if ways else "mse",
                        ))  # fmt: skip
                val = {f"{ways}w{k}s" if ways else f"{k}s": skill + 0.1 * (k > 1) for k in shots}
                records.append(_record(source, method, family, seed, i) | {"val_scores": val})
    return pd.concat(frames, ignore_index=True)[CONTRACT], pd.DataFrame(records)


def summary_of(results: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """The summary of made-up results."""
    scores = condense(results)
    return summarise(scores, costs, blocks_of(scores, costs))


def undrawn(monkeypatch: Any) -> None:
    """Figures are empty from now on: drawing takes longer than all else in a report."""

    def save(figure: Any, path: Path) -> None:
        figures.plt.close(figure)
        path.write_text("<svg/>", encoding="utf-8")

    monkeypatch.setattr(figures, "save", save)


def save_board(folder: Path, profile: str, *args: Any, **changes: Any) -> pd.DataFrame:
    """``folder/leaderboard.csv`` of made-up results, without the figures."""
    summary = summary_of(*made_up(*args, **changes)).assign(profile=profile)
    folder.mkdir(parents=True, exist_ok=True)
    summary.to_csv(folder / "leaderboard.csv", index=False)
    return summary


def _frame(value: np.ndarray) -> pd.DataFrame:
    """Accuracies whose confidences are 0.1 too high, in two bins."""
    count = [[0, 75]] * len(value)
    correct = [[0, 75 * v] for v in value]
    confidence = [[0, 75 * (v + 0.1)] for v in value]
    return pd.DataFrame(
        {
            "value": value, "nll": 1.0, "brier": 0.5, "bin_count": count, "bin_correct": correct,
            "bin_confidence": confidence, "temperature": 2.0, "raw_nll": 1.5,
            "raw_bin_count": count, "raw_bin_correct": correct,
            "raw_bin_confidence": [[0, 75 * (v + 0.2)] for v in value],
        }
    )  # fmt: skip


def _record(source: str, method: str, family: str, seed: int, i: int) -> dict[str, Any]:
    transfer = family in ("feature", "parameter", "transductive")
    learned = family in ("optimisation", "metric", "model", "hybrid")
    return {
        "source": source, "method": method, "family": family, "seed": seed,
        "paper": "Doe 2020", "transductive": family == "transductive",
        "external_pretraining": False, "start": "pretrained" if transfer else "random",
        "source_training": "episodic" if learned else "none",
        "adapts": "backbone" if family in ("optimisation", "parameter") else "head",
        "backbone": "conv4-32", "git_commit": "0123456789",
        "train_seconds": 0.0 if transfer else 30.0 + i, "pretrain_seconds": 20.0 * transfer,
        "train_flops": 1e12 * (i + 1), "adapt_ms": 2.0 + i, "predict_ms": 1.0,
        "adapt_flops": 1e8 * (50 if family in ("parameter", "optimisation") else 1),
        "peak_memory_mb": 300.0, "parameters": 1000, "trainable_parameters": 1000,
        "examples": 40000, "examples_budget": 40000, "source_classes": 1.0,
        "machine": MACHINE, "trained_on": MACHINE,
        "pretrained_on": MACHINE if transfer else None,
    }  # fmt: skip
