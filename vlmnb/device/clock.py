"""The clock that every time is taken with, and waiting for a device."""

from __future__ import annotations

import time


def now_s() -> float:
    """Seconds on the clock that every latency is taken with."""
    return time.perf_counter()


def is_cuda(device: str) -> bool:
    """Whether a torch device is a GPU."""
    return device.split(":")[0] == "cuda"


def synchronize(device: str) -> None:
    """Wait until ``device`` has done what it was given; a CPU always has."""
    if is_cuda(device):
        import torch

        torch.cuda.synchronize(device)
