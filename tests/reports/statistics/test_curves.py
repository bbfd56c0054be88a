from __future__ import annotations

import pandas as pd
import pytest

from metabench.reports.statistics.curves import calibration, shot_weights, shots_to_reach


def test_calibration_error_by_hand() -> None:
    frame = pd.DataFrame(
        {
            "bin_count": [[2, 0], [2, 4]],
            "bin_correct": [[1, 0], [1, 4]],
            "bin_confidence": [[0.8, 0.0], [0.8, 3.6]],
        }
    )
    error, table = calibration(frame)
    assert error == pytest.approx((abs(2 - 1.6) + abs(4 - 3.6)) / 8)
    assert table["accuracy"].tolist() == [0.5, 1.0]


def test_label_need_in_one_number_and_shots_to_reach_a_level() -> None:
    means = {1: 0.5, 4: 0.7, 16: 0.8}
    assert shot_weights([1, 4, 16]) @ list(means.values()) == pytest.approx(0.675)
    assert shot_weights([1, 5]) @ [0.5, 0.7] == pytest.approx(0.6)
    assert shot_weights([5]) == [1]
    assert shots_to_reach(means, 0.6) == pytest.approx(2.0)
    assert shots_to_reach(means, 0.4) == 1
    assert shots_to_reach(means, 0.9) is None


def test_calibration_error_vanishes_for_true_confidences_and_is_the_gap_for_false_ones() -> None:
    import torch

    from metabench.learning.metrics.classification import confidence_bins

    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(40, 1000, 3, generator=generator)
    labels = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=generator).reshape(
        40, 1000
    )

    def of(logits: torch.Tensor) -> tuple[float, pd.DataFrame]:
        bins = confidence_bins(logits, labels)
        return calibration(pd.DataFrame({name: list(v.numpy()) for name, v in bins.items()}))

    honest, _ = of(logits)
    boastful, table = of(3 * logits)
    assert honest < 0.01
    confidence = (3 * logits).softmax(-1).amax(-1).mean().item()
    accuracy = (logits.argmax(-1) == labels).double().mean().item()
    assert boastful == pytest.approx(confidence - accuracy, abs=0.005)
    assert table["count"].sum() == 40_000
