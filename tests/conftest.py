import os
from pathlib import Path

_MIRROR = Path(__file__).resolve().parents[2] / "shared" / "mirror"
if _MIRROR.is_dir():
    os.environ.setdefault("METABENCH_MIRROR", str(_MIRROR))
