"""Measure the peak rates of a device: FLOPs of a large matrix product, bytes of a large copy.

A roofline needs both (Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009). They are
measured because data sheets name rates that no program reaches, and none for a share of a virtual machine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from vlmnb.device.clock import spent_s
from vlmnb.device.load import BackgroundLoad, is_high
from vlmnb.measure.loading import torch_dtype
from vlmnb.records.parts import Ceilings

TRIES = 4
"""The best of so many tries counts, products and copies in turn: background processes come and go, and can
only lower a rate."""

MOST_TRIES = 8
"""Most tries for one precision on a machine that always has background load."""

TRY_S = 0.25
"""Seconds of products, and of copies, in each try: long enough to measure the background load."""

SIDES = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices: large enough to be bound by arithmetic, small enough for seconds."""

COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Size of the copied block: far beyond every cache."""


class Search:
    """The best rates of a device so far, in a process that may look again later."""

    def __init__(self) -> None:
        self._load = BackgroundLoad()
        self._product_s = self._copy_s = float("inf")
        self._loads: list[float] = []

    @property
    def due(self) -> int:
        """Tries to make now: all at first; later one, as long as every try had background load."""
        if not self._loads:
            return TRIES
        return int(self.contaminated and len(self._loads) < MOST_TRIES)

    @property
    def contaminated(self) -> bool:
        """True if every try had background load."""
        return all(is_high(load) for load in self._loads)

    def once(self, product: Callable[[], float], copy: Callable[[], float]) -> None:
        """Make one try, given what returns the seconds of a product and of a copy, and note its load."""
        self._load.start()
        self._product_s = min(self._product_s, product())
        self._copy_s = min(self._copy_s, copy())
        self._loads.append(self._load.share())

    def found(self, flops: int, size: int, what: str) -> Ceilings:
        """Return the peak rates so far, given the FLOPs of a product and the bytes of a copy."""
        return Ceilings(
            flops_per_s=flops / self._product_s,
            bytes_per_s=size / self._copy_s,
            method=f"best of {len(self._loads)} tries of {TRY_S:g} s or more each: {what}",
            other_load=min(self._loads),
            contaminated=self.contaminated,
        )


@functools.cache
def _search(device: str, dtype: str) -> Search:
    """Return the search of this process."""
    return Search()


def measured(device: str, dtype: str) -> Ceilings:
    """Return the peak rates of a device for a precision, as far as this process has seen them.

    They are measured once per process. If every try had background load, each further call tries once more,
    so that tries are as far apart as the cells that ask. Of a product's two layouts of operands the faster
    counts: that of a linear layer, whose second operand is transposed, is fifty times as fast for fp16 on
    a CPU.
    """
    search, side, size = _search(device, dtype), SIDES[device], COPY_BYTES[device]
    if search.due:
        _try(search, side, size, device, dtype)
    what = f"{dtype} product of matrices of side {side}; copy of {size >> 20} MiB"
    return search.found(2 * side**3, 2 * size, what)


def _try(search: Search, side: int, size: int, device: str, dtype: str) -> None:
    import torch

    with torch.inference_mode():
        left, right = (torch.randn(side, side, device=device).to(torch_dtype(dtype)) for _ in range(2))
        layouts = [lambda: left @ right.T, lambda: left @ right]
        # The first call of each also pays for lazy initialization.
        product = min(layouts, key=lambda work: min(spent_s(work, device) for _ in range(2)))
        source = torch.ones(size // 4, dtype=torch.float32, device=device)
        target = torch.empty_like(source)
        target.copy_(source)  # the first access to a page is work of the operating system
        for _ in range(search.due):
            search.once(
                lambda: _best_s(product, device), lambda: _best_s(lambda: target.copy_(source), device)
            )


def _best_s(work: Callable[[], Any], device: str) -> float:
    """Return the seconds of the shortest of some rounds."""
    times: list[float] = []
    while not times or sum(times) < TRY_S:
        times.append(spent_s(work, device))
    return min(times)
