"""LoRA (Hu et al., ICLR 2022): a frozen encoder whose attention moves by matrices of low rank.

    W' = W + (α/r) B A        A ∈ ℝ^{r×in} random, B ∈ ℝ^{out×r} zero at the start

on the query and value projections; where an encoder has none, on all its matrices. The product is
added to the weights of each task (as merging adapters does), and is tested against ``peft``.

Differs from the paper: A is uniform, as in the authors' code, and not Gaussian. There is no dropout
before A. Where an encoder has no attention, all its matrices move. As in ``lm_fine_tune``, and for
the reasons given there, the head starts at the class means and stands on the mean of the word
pieces' vectors at unit length, and a task takes ``steps`` batches in place of tens of epochs.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from metabench.backbones.base import Backbone
from metabench.config.bounds import Positive, Width
from metabench.config.search import ADAPTS, Choice, Log
from metabench.methods.base import Task
from metabench.methods.parts.language_tuning import LanguageTuning, LanguageTuningSettings

TARGETS = (".query.weight", ".value.weight")


class LoRASettings(LanguageTuningSettings):
    """``rank``: r. ``alpha``: α."""

    finetune_lr: Annotated[Positive, Log(1e-5, 3e-3), ADAPTS] = 1e-3
    rank: Annotated[Width, Choice(4, 8, 16), ADAPTS] = 8
    alpha: Annotated[Positive, Log(1, 64), ADAPTS] = 16.0


class LoRA(LanguageTuning):
    """Only A and B are tuned, beside the head."""

    paper = "Hu et al. 2022"
    Settings = LoRASettings

    def __init__(self, backbone: Backbone, task: Task, settings: LoRASettings):
        super().__init__(backbone, task, settings)
        matrices = [n for n, w in self.encoder().items() if w.dim() == 2]
        self.targets = [n for n in matrices if n.endswith(TARGETS)] or matrices

    def initial(self) -> dict[str, Tensor]:
        """``A:<name>`` ``[r, in]``, drawn as a linear layer's weights are, and ``B:<name>``, 0."""
        own, rank, learned = self.encoder(), self.settings.rank, {}
        for name in self.targets:
            out, size = own[name].shape
            drawn = torch.rand(rank, size, generator=self.generator("A", name), dtype=torch.double)
            learned[f"A:{name}"] = ((2 * drawn - 1) * size**-0.5).to(own[name])
            learned[f"B:{name}"] = own[name].new_zeros(out, rank)
        return learned

    def weights(self, learned: dict[str, Tensor]) -> dict[str, Tensor]:
        """``W + (α/r) B A`` of every target."""
        own, scale = self.encoder(), self.settings.alpha / self.settings.rank
        return {
            n: own[n].detach() + scale * learned[f"B:{n}"] @ learned[f"A:{n}"] for n in self.targets
        }
