"""SimpleShot (Wang et al. 2019): nearest class mean on centred, normalised features (CL2N).

f̃(x) = (f(x) − f̄_base) / ‖f(x) − f̄_base‖        ŷ = argmin_k ‖f̃(x) − c_k‖²

with f̄_base the mean feature of the source's training classes, and c_k the mean of ``f̃`` over the
support of class k. Other methods on fixed features share f̃ (``CentredMethod``). That the backbone
may have memorised the examples of f̄_base does no harm: the mean of unseen ones is nearly the same.

Differs from the paper: f̄_base is the mean of at most 5,000 examples, evenly spread. Distances,
scaled, are logits, where the paper takes the nearest mean and gives no probabilities.
"""

from __future__ import annotations

from torch import Tensor

from metabench.config.bounds import Positive
from metabench.episodes import Episodes, class_means
from metabench.methods.base import Settings
from metabench.methods.parts.centred import CentredMethod
from metabench.methods.parts.distances import squared_euclidean


class SimpleShotSettings(Settings):
    """``scale``: turns squared distances (0 to 4) into logits; changes no decision."""

    scale: Positive = 10.0


class SimpleShot(CentredMethod):
    """No training at all beyond the shared backbone."""

    family = "feature"
    paper = "Wang et al. 2019"
    Settings = SimpleShotSettings

    def classify(self, features: Episodes) -> Tensor:
        """``[T, Q, ways]``: minus scaled squared distances to the class means."""
        assert features.ways is not None
        means = class_means(features.support_x, features.support_y, features.ways)
        return -self.settings.scale * squared_euclidean(features.query_x, means)
