"""The clock of all measurements, and waiting for a device."""

from __future__ import annotations

import time
from collections.abc import Callable


def now_s() -> float:
    """Return seconds on the clock of every latency."""
    return time.perf_counter()


def sleep(seconds: float) -> None:
    """Wait for a duration on that clock."""
    time.sleep(seconds)


def is_cuda(device: str) -> bool:
    """Return whether a torch device is a GPU."""
    return device.split(":")[0] == "cuda"


def synchronize(device: str) -> None:
    """Wait until a device has finished its work; a CPU always has."""
    if is_cuda(device):
        import torch

        torch.cuda.synchronize(device)


def spent_s(work: Callable[[], object], device: str) -> float:
    """Return the seconds that work takes until the device is done with it."""
    synchronize(device)
    began_s = now_s()
    work()
    synchronize(device)
    return now_s() - began_s
