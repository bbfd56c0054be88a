"""Fine-tuning: every weight of the pretrained network adapts to the support set S.

Dhillon et al. (ICLR 2020) made it a strong baseline by a head that starts from the support (3.1;
"weight imprinting", Qi et al. 2018): ``w_k`` has the direction of the class mean. From there, and
from the weights that supervised pretraining on the source left, ``steps`` steps of

    v ← μ v + ∇_θ L_S(θ)      θ ← θ − α v      L_S(θ) = (1/|S|) Σ_{(x,y) ∈ S} CE(f_θ(x), y)

with batch norms by the moments of the source, or of the support (``moments``). α is
``finetune_lr`` on the backbone and ``head_lr`` on the head. In regression, L_S is the squared error
and the head is the pretrained one: the "pretrained" baseline of Finn et al. (2017, 5.1).

Differs from the paper: the head stands on the features, not on the logits of the pretrained
classifier, and is linear from its start on, where the paper's is a cosine: so one head serves
images, texts, vectors and any backbone. Its start is the paper's times 10 / (mean length of the
features), as plain cosines leave the softmax flat. ``steps`` of gradient descent with momentum on
the whole support, in place of 25 epochs of Adam at 5e-5: a small network can take fewer, larger
steps. Pretraining is a shared one, without the paper's mixup and label smoothing.
"""

from __future__ import annotations

from torch import Tensor

from metabench.episodes import Episodes
from metabench.methods.parts.fine_tuning import FineTuneMethod
from metabench.methods.parts.inner_loop import Weights


class FineTune(FineTuneMethod):
    """Backbone and head adapt, from the shared pretrained backbone."""

    family = "parameter"
    paper = "Dhillon et al. 2020"
    start = "pretrained"

    def adapted(self) -> dict[str, Tensor]:
        """θ: all weights of the backbone; the head adapts in any case."""
        return dict(self.backbone.named_parameters())

    def objective(self, episodes: Episodes, weights: Weights) -> Tensor:
        """``L_S(θ)``, of every task by itself."""
        return self.support_loss(episodes, weights)
