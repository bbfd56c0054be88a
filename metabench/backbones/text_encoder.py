"""Any text encoder of the Hugging Face Hub, frozen.

Read by the library ``sentence-transformers`` (Reimers & Gurevych 2019): it makes one vector of
those of the pieces as the model's file ``modules.json`` says, by their mean where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from metabench.backbones.frozen import Encoder, Frozen
from metabench.backbones.hub import hub_folder
from metabench.files import InputError, read_json

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class TextEncoderFrozen(Frozen):
    """A text encoder by folder or Hub name, which never changes; vectors computed by ``embed``.

    It has word pieces of its own, so it reads the texts again, as far as BERT's English pieces have
    kept them: in lower case, without accents, and without what is cut or ``[UNK]``.

    Args:
        input_shape: ``(D,)``.
        model: a folder with ``config.json`` and weights, or a name on the Hub (``owner/name``).
    """

    kinds = frozenset({"text"})
    packages = ("sentence-transformers",)
    batch = 1024
    reads_texts = True

    def __init__(self, input_shape: tuple[int, ...], model: str):
        super().__init__(input_shape)
        self.model = model

    @classmethod
    def weights_file(cls, settings: Mapping[str, Any]) -> Path:
        """The largest part of what ``model`` is.

        Raises:
            InputError: it is not there, and cannot be downloaded.
        """
        folder = _folder(settings["model"])
        found = [folder / name for name in WEIGHTS if (folder / name).is_file()]
        if not found:
            raise InputError(
                f"backbone.settings.model: {folder} holds none of {' and '.join(WEIGHTS)}"
            )
        return found[0]

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        """N texts to ``[N, D]``."""
        folder = _folder(self.model)
        _require_known_parts(folder / "modules.json")
        try:
            from sentence_transformers import SentenceTransformer
        except Exception as error:  # transformers raises anything where a library is of no use
            raise InputError(
                "backbone 'text_encoder_frozen': the package sentence-transformers is missing or "
                f"cannot be imported ({error}). pip install 'metabench[text]', torch and "
                "torchvision from the same index."
            ) from error
        try:
            model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        except Exception as error:  # whatever a file of others does to its reader
            raise InputError(f"{folder}: not a text encoder ({error})") from error

        def encode(texts: Sequence[str]) -> Tensor:
            vectors: Tensor = model.encode(
                list(texts), convert_to_tensor=True, show_progress_bar=False
            )
            return vectors

        return encode


def _require_known_parts(modules: Path) -> None:
    """Refuse a list of parts that names any class but the library's: it would be imported."""
    listed = read_json(modules) if modules.is_file() else []
    other = [m["type"] for m in listed if not m["type"].startswith("sentence_transformers.")]
    if other:
        raise InputError(f"{modules}: {other[0]} is no part of sentence-transformers")


def _folder(model: str) -> Path:
    if folder := hub_folder(model):
        return folder
    raise InputError(
        f"backbone.settings.model: {model} is no folder and not in the Hub's local cache. Name a "
        "folder, or set HF_HUB_OFFLINE=0 to download it; if it was set, the name is wrong or the "
        "Hub cannot be reached."
    )
