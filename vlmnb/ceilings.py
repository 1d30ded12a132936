"""What a device can do at most, measured: multiply-adds of a large matrix product, bytes of a large copy.

A roofline needs both (Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009). They are
measured because data sheets name rates that no program reaches, and none for a part of a virtual machine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from vlmnb import meters
from vlmnb.layerprofile import Ceilings

ROUNDS = 5
"""The best of so many rounds at least counts: a ceiling is what nothing exceeds, and neighbours only slow it
down."""

SEARCH_S = 1.0
"""Rounds go on for so long, because a round must come between two turns of a neighbour to be the best."""

SIDES = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices: large enough to be bound by arithmetic, small enough for seconds."""

COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Size of the copied block: far beyond every cache."""


@functools.cache
def measured(device: str, dtype: str) -> Ceilings:
    """The ceilings of a device for a precision; measured once per process.

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: ``fp32``, ``bf16`` or ``fp16``.
    """
    import torch

    precision = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    side, size = SIDES[device], COPY_BYTES[device]
    with torch.inference_mode():
        left, right = (torch.randn(side, side, dtype=precision, device=device) for _ in range(2))
        product = _best_s(lambda: left @ right, device)
        source = torch.ones(size // 4, dtype=torch.float32, device=device)
        target = torch.empty_like(source)
        copy = _best_s(lambda: target.copy_(source), device)
    return Ceilings(
        flops_per_s=2 * side**3 / product,
        bytes_per_s=2 * size / copy,
        method=(
            f"best of {ROUNDS} rounds or more within {SEARCH_S:g} s: {dtype} product of matrices of side "
            f"{side}; copy of {size >> 20} MiB"
        ),
    )


def _best_s(work: Callable[[], Any], device: str) -> float:
    work()
    times: list[float] = []
    while len(times) < ROUNDS or sum(times) < SEARCH_S:
        meters.synchronize(device)
        began_s = meters.clock()
        work()
        meters.synchronize(device)
        times.append(meters.clock() - began_s)
    return min(times)
