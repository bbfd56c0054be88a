"""Linear probe: logistic regression on frozen pretrained features.

The plainest transfer, and a hard one to beat (Chen et al. 2019; Tian et al. 2020): L2-normalised
features of the source backbone, then ``min_W ½‖W‖² + C Σ CE(W f(x_i) + b, y_i)`` on the support.
"""

from __future__ import annotations

from metabench.methods.parts.probe import Probe


class LinearProbe(Probe):
    """Nothing is trained but the head, per task, to convergence."""

    family = "feature"
    paper = "Tian et al. 2020"
    source_training = "none"
    start = "pretrained"
