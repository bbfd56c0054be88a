"""Task-specific adapters (TSA: Li, Liu & Bilen, "Cross-domain few-shot learning with task-specific
adapters", CVPR 2022): a few matrices beside a frozen backbone.

Beside each convolution W stands a 1×1 convolution A, and a linear map B aligns the features:

    h ↦ W ∗ h + A ∗ h        f̃(x) = B f_A(x)        logit_k(x) = 10 cos(f̃(x), c_k)

c_k are the class means of f̃ on the support S. A starts at 0 and B at the identity, so that the
task starts with the pretrained network, and both minimise the loss of this nearest-centroid
classifier on the support itself:

    (A, B) ← (A, B) − α ∇ (1/|S|) Σ_{(x,y) ∈ S} CE(logits(x), y)

A 1×1 convolution is one whose kernel is zero around its centre, so ``W ∗ h + A ∗ h`` is a single
convolution with A added at the centre of W. A linear layer's weight is a 1×1 convolution, and its A
is as large.

Differs from the paper: gradient descent with momentum at rates α of A (``finetune_lr``) and of B
(``head_lr``), in place of Adadelta. A starts at 0 (code: 1e-4 times the identity). The backbone is
pretrained on one source (paper: distilled from eight). Beside linear layers stand adapters, too, as
some backbones have no others; beside 1×1 convolutions none, as in the code.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbones.base import Backbone
from metabench.config.bounds import NonNegative
from metabench.config.search import ADAPTS, Log
from metabench.episodes import Episodes, class_means
from metabench.methods.base import Task
from metabench.methods.parts.distances import cosine
from metabench.methods.parts.fine_tuning import SCALE, FineTuneMethod, FineTuneSettings
from metabench.methods.parts.inner_loop import Weights


class AdapterSettings(FineTuneSettings):
    """``finetune_lr``: α of A; ``head_lr``: α of B."""

    finetune_lr: Annotated[NonNegative, Log(3e-4, 0.05), ADAPTS] = 0.005
    head_lr: Annotated[NonNegative, Log(3e-4, 0.1), ADAPTS] = 0.005


class Adapters(FineTuneMethod):
    """The backbone's weights stay; what is added to them adapts.

    Attributes:
        identity: ``[D, D]``, where B starts.
    """

    family = "parameter"
    paper = "Li et al. 2022"
    start = "pretrained"
    kinds = frozenset({"image", "text", "vector"})
    Settings = AdapterSettings
    identity: Tensor

    def __init__(self, backbone: Backbone, task: Task, settings: AdapterSettings):
        super().__init__(backbone, task, settings)
        self.register_buffer("identity", torch.eye(backbone.feature_dim), persistent=False)

    def kernels(self) -> dict[str, Tensor]:
        """W by name: what adapters stand beside."""
        return {
            f"{name}.weight": layer.weight.detach()
            for name, layer in self.backbone.named_modules()
            if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and centred(layer))
        }

    def adapted(self) -> dict[str, Tensor]:
        """A ``[out, in]`` by the name of its W, at its start."""
        return {name: w.new_zeros(w.shape[:2]) for name, w in self.kernels().items()}

    def head_start(self, episodes: Episodes) -> Weights:
        """B ``[T, D, D]``."""
        return {"head.alignment": self.identity.expand(len(episodes), -1, -1)}

    def outputs(self, episodes: Episodes, x: Tensor, weights: Weights) -> Tensor:
        """Cosines ``[T, N, ways]`` to the class means of the support, under the same weights."""
        assert episodes.ways is not None
        support, size = episodes.support_x, episodes.support_x.shape[1]
        both = x if x is support else torch.cat([support, x], dim=1)
        added = {n: w + around(weights[n], w) for n, w in self.kernels().items()}
        features = self.backbone(both, added, self.moments(episodes))
        aligned = features @ weights["head.alignment"].mT
        means = class_means(aligned[:, :size], episodes.support_y, episodes.ways)
        return SCALE * cosine(aligned[:, -x.shape[1] :], means)

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """Loss of the nearest-centroid classifier on its own support."""
        return self.support_loss(episodes, weights)


def centred(layer: nn.Conv2d) -> bool:
    """Whether a 1×1 convolution of the same stride reads the centres of this one's windows."""
    middle = tuple(side // 2 for side in layer.kernel_size)
    whole = all(side % 2 for side in layer.kernel_size) and set(layer.dilation) == {1}
    return whole and any(middle) and layer.padding == middle


def around(adapter: Tensor, kernel: Tensor) -> Tensor:
    """``[T, out, in]`` as kernels ``[T, *kernel.shape]`` that are zero around their centres."""
    sides = kernel.shape[:1:-1]  # F.pad goes from the last axis to the first
    edges = [side // 2 for side in sides for _ in range(2)]
    return F.pad(adapter.reshape(*adapter.shape, *(1 for _ in sides)), edges)
