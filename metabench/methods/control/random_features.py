"""Random features: the linear probe on a backbone that was never trained.

Differs from ``linear_probe`` in the weights alone, and so says what pretraining is worth beyond the
architecture (Saxe et al. 2011, "On random weights and unsupervised feature learning").
"""

from __future__ import annotations

from metabench.methods.parts.probe import Probe


class RandomFeatures(Probe):
    """Logistic probe on the initial weights."""

    family = "control"
    paper = "Saxe et al. 2011"
    source_training = "none"
