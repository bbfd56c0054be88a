"""What a process that computes sets up once: threads, allocator, device; and what it is."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.metadata
import os
import platform
import random
import re
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metabench.files import InputError

LIBRARIES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "timm": "timm",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
    "peft": "peft",
}
"""What computes, if it is imported: module and distribution."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def configure(threads: int) -> None:
    """Use ``threads`` CPU threads, and let glibc keep freed memory for the next tensor.

    By default glibc returns every large block to the kernel and faults it in again, page by page:
    measured here, that made a Conv4 forward pass twice as slow.
    """
    torch.set_num_threads(threads)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library: just slower
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def renew() -> bool:
    """Make this process as new for its next cell: no random state, no memory, no peak of memory.

    Returns:
        Whether all of that worked. The peak can be reset on Linux alone, and freed memory be given
        back with glibc: elsewhere the peak of the next cell would be that of an earlier one.
    """
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (what third parties draw from)
    torch.manual_seed(0)
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # see proc_pid_clear_refs(5)
    except (OSError, AttributeError):
        return False
    return True


def switches() -> dict[str, Any]:
    """What a cell can switch in its process, and the next one would feel."""
    cudnn = torch.backends.cudnn
    return {
        "folder": Path.cwd(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
        "matrix products": torch.get_float32_matmul_precision(),
        "convolutions": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        "numpy": np.geterr(),
        "attention": torch.backends.mha.get_fastpath_enabled(),
        "denormal numbers": bool(torch.tensor(1e-40) * 1),
    }


def clock(device: torch.device) -> float:
    """Seconds so far, whose differences say what a computation costs, whatever else is running.

    Of one thread on a CPU it is processor time: waiting for others who share the cores is no cost.
    Of several threads, which idle in parts that only one can do, and on a GPU it is the wall's.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()


def pick_device(choice: str, key: str = "compute.device") -> torch.device:
    """``auto``: the GPU when there is one. ``key`` is where the choice is made, for the message.

    Raises:
        InputError: a GPU is asked for that is not there.
    """
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    if choice == "cuda" and not torch.cuda.is_available():
        raise InputError(f"{key}: cuda, but torch sees no GPU: use auto or cpu")
    return torch.device(choice)


def machine(device: torch.device) -> dict[str, Any]:
    """What this process computes with, for records: results may depend on it, and times do.

    Returns:
        ``processor``, its ``cores``, ``gpu`` (None: not used), ``threads``, and ``versions`` of
        Python and of the libraries that are imported.
    """
    on_gpu = device.type == "cuda"
    versions = {"python": platform.python_version()} | {
        name: importlib.metadata.version(name)
        for module, name in LIBRARIES.items()
        if module in sys.modules
    }
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "threads": torch.get_num_threads(),
        "versions": versions | ({"cuda": torch.version.cuda} if on_gpu else {}),
    }


@cache
def _processor() -> str:
    """The model's name, where the system tells it."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M):
            return found[1]
    return platform.processor() or platform.machine()
