"""What a process that computes sets up once: threads, allocator, device."""

from __future__ import annotations

import contextlib
import ctypes
import sys

import torch

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


def pick_device(choice: str) -> torch.device:
    """``auto``: the GPU when there is one."""
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(choice)
