"""This machine's memory: whether it is enough, and giving back what was freed."""

from __future__ import annotations

import contextlib
import ctypes

import psutil


def require(needed_bytes: int, what: str) -> None:
    """Raise a MemoryError if something takes more memory than is free: the system would kill the process."""
    free_bytes = int(psutil.virtual_memory().available)
    if needed_bytes > free_bytes:
        sizes = f"{needed_bytes / 1e9:.1f} GB of memory, and {free_bytes / 1e9:.1f} GB are free"
        raise MemoryError(f"{what} would take {sizes}")


def give_back() -> None:
    """Return freed memory to the system. glibc keeps what lies between other things, often gigabytes."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
