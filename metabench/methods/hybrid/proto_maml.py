"""Proto-MAML (Triantafillou et al., ICLR 2020).

A prototypical network is a linear classifier: ``−‖f − c_k‖² = 2 c_k·f − ‖c_k‖² − ‖f‖²``. So the
inner loop of MAML starts with the head (paper, 3.2)

    w_k = 2 c_k      b_k = −‖c_k‖²      c_k = (1/|S_k|) Σ f_θ(x_i)

and the outer gradient also goes through this start, into the embedding.

Differs from the paper: second order, where the paper's results are of the first-order approximation
for want of memory. It starts at random, where the paper may start from a classifier pretrained on
ImageNet, so that it is compared with MAML. Batch norms use the moments of the support (or of the
source: ``moments``), so that queries do not see each other.
"""

from __future__ import annotations

from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.episodes import Episodes, class_means, task_loss
from metabench.methods.base import Task
from metabench.methods.parts.inner_loop import (
    GradientMethod,
    InnerLoopSettings,
    Weights,
    per_task,
)


class ProtoMAML(GradientMethod):
    """MAML whose head starts from the prototypes."""

    family = "hybrid"
    paper = "Triantafillou et al. 2020"
    kinds = frozenset({"image", "text", "vector"})
    order_sensitive = False  # prototypes are of classes, whatever their slots

    def __init__(self, backbone: Backbone, task: Task, settings: InnerLoopSettings):
        super().__init__(backbone, task, settings)
        del self.head  # nothing to learn: the support makes the head

    def initial(self, episodes: Episodes) -> Weights:
        """The backbone's θ, and a head from the prototypes of each task."""
        assert episodes.ways is not None
        features = self.backbone(episodes.support_x, support=self.moments(episodes))
        means = class_means(features, episodes.support_y, episodes.ways)
        head = {"head.weight": 2 * means, "head.bias": -means.square().sum(-1)}
        return per_task(self.body(), len(episodes)) | head

    def inner_step(self, weights: Weights, gradients: Weights, step: int) -> Weights:
        """``θ_i' = θ − α ∇ L_{T_i}(f_θ)``, as in MAML, of embedding and head."""
        return {name: w - self.settings.inner_lr * gradients[name] for name, w in weights.items()}

    def outer_loss(self, batch: Episodes, progress: float) -> Tensor:
        """Mean over tasks of the query loss after adaptation (second order)."""
        adapted = self.adapt(batch, self.settings.steps, second_order=True)
        return task_loss(self.query_logits(batch, adapted), batch.query_y).mean()
