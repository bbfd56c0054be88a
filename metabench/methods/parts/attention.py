"""Settings of multi-head attention."""

from __future__ import annotations

from pydantic import model_validator

from metabench.config.bounds import Depth, Width
from metabench.methods.base import Settings


class AttentionSettings(Settings):
    """``width`` of the tokens, which ``heads`` share equally."""

    width: Width = 128
    heads: Depth = 4

    @model_validator(mode="after")
    def _heads_divide_width(self) -> AttentionSettings:
        if self.width % self.heads:
            raise ValueError(f"width: {self.width} is no multiple of heads, {self.heads}")
        return self
