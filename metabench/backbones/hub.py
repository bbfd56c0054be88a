"""Models of the Hugging Face Hub, as folders on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

UNREAD = ["onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot"]
"""The same weights in other forms."""


def hub_folder(model: str) -> Path | None:
    """The folder of ``model``: named itself, in the Hub's local cache, or downloaded.

    The network is asked only where ``HF_HUB_OFFLINE=0`` says so.

    Args:
        model: a folder, or a name on the Hub (``owner/name``).
    """
    if Path(model).is_dir():
        return Path(model)
    online = os.environ.get("HF_HUB_OFFLINE") == "0"
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache/huggingface"))
    if online or (home / "hub" / f"models--{model.replace('/', '--')}").is_dir():
        with suppress(ImportError, OSError, ValueError):
            from huggingface_hub import snapshot_download

            found = snapshot_download(model, local_files_only=not online, ignore_patterns=UNREAD)
            return Path(found)
    return None
