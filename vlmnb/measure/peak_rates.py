"""What a device can do at most, measured: multiply-adds of a large matrix product, bytes of a large copy.

A roofline needs both (Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009). They are
measured because data sheets name rates that no program reaches, and none for a part of a virtual machine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from vlmnb.device.clock import now_s, synchronize
from vlmnb.device.load import BackgroundLoad, is_high
from vlmnb.records.layer_profile import Ceilings

TRIES = 4
"""The best of so many tries counts, products and copies in turn: a ceiling is what nothing exceeds, and
neighbours, who come and go, only slow it down."""

MOST_TRIES = 8
"""On a machine that is never quiet no more tries than these are made for a precision."""

TRY_S = 0.25
"""Products, and copies, go on for so long in each try, which is enough to tell the load by others."""

SIDES = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices: large enough to be bound by arithmetic, small enough for seconds."""

COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Size of the copied block: far beyond every cache."""


class Search:
    """The best that a device was seen to do so far, by a process that comes back to look again.

    Args:
        load: Tells the load of other processes.
    """

    def __init__(self, load: BackgroundLoad | None = None) -> None:
        self._load = load or BackgroundLoad()
        self._product_s = self._copy_s = float("inf")
        self._loads: list[float] = []

    @property
    def due(self) -> int:
        """Tries to make now: all at first; later one, while others have disturbed every try there was."""
        if not self._loads:
            return TRIES
        return int(self.contaminated and len(self._loads) < MOST_TRIES)

    @property
    def contaminated(self) -> bool:
        """Whether others disturbed every try."""
        return all(is_high(load) for load in self._loads)

    def once(self, product: Callable[[], float], copy: Callable[[], float]) -> None:
        """One try, with the load of others meanwhile.

        Args:
            product: Seconds of the shortest product of some rounds.
            copy: Likewise of a copy.
        """
        self._load.start()
        self._product_s = min(self._product_s, product())
        self._copy_s = min(self._copy_s, copy())
        self._loads.append(self._load.share())

    def found(self, flops: int, size: int, what: str) -> Ceilings:
        """The ceilings so far.

        Args:
            flops: Of a product.
            size: Bytes that are read and written by a copy.
            what: What was multiplied and copied.
        """
        return Ceilings(
            flops_per_s=flops / self._product_s,
            bytes_per_s=size / self._copy_s,
            method=f"best of {len(self._loads)} tries of {TRY_S:g} s or more each: {what}",
            other_load=min(self._loads),
            contaminated=self.contaminated,
        )


@functools.cache
def _search(device: str, dtype: str) -> Search:
    """The search of this process."""
    return Search()


def measured(device: str, dtype: str) -> Ceilings:
    """The ceilings of a device for a precision, as far as this process has seen them.

    They are measured once per process. Where others disturbed every try, each further call tries once more,
    so that tries are as far apart as the cells that ask.

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: ``fp32``, ``bf16`` or ``fp16``.
    """
    search = _search(device, dtype)
    side, size = SIDES[device], COPY_BYTES[device]
    if due := search.due:
        _try(search, due, device, dtype)
    what = f"{dtype} product of matrices of side {side}; copy of {size >> 20} MiB"
    return search.found(2 * side**3, 2 * size, what)


def _try(search: Search, times: int, device: str, dtype: str) -> None:
    import torch

    precision = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    side, size = SIDES[device], COPY_BYTES[device]
    with torch.inference_mode():
        left, right = (torch.randn(side, side, dtype=precision, device=device) for _ in range(2))
        source = torch.ones(size // 4, dtype=torch.float32, device=device)
        target = torch.empty_like(source)
        target.copy_(source)  # the first touch of a page is the kernel's work
        for _ in range(times):
            search.once(
                lambda: _best_s(lambda: left @ right, device),
                lambda: _best_s(lambda: target.copy_(source), device),
            )


def _best_s(work: Callable[[], Any], device: str) -> float:
    """Seconds of the shortest of some rounds."""
    times: list[float] = []
    while not times or sum(times) < TRY_S:
        synchronize(device)
        began_s = now_s()
        work()
        synchronize(device)
        times.append(now_s() - began_s)
    return min(times)
