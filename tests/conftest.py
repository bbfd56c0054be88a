import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # sums are rounded alike only on as many threads

_MIRROR = Path(__file__).resolve().parents[2] / "shared" / "mirror"
if _MIRROR.is_dir():
    os.environ.setdefault("METABENCH_MIRROR", str(_MIRROR))
