"""What a process that computes sets up once: threads, allocator, device."""

from __future__ import annotations

import contextlib
import ctypes
import sys

import torch

from metabench.files import InputError

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
