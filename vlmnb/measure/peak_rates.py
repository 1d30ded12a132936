"""Measure the peak rates of a device: FLOPs of a large matrix product, bytes of a large copy.

A roofline needs both (Williams, Waterman and Patterson, Communications of the ACM 52(4), 2009). They are
measured because data sheets name rates that no program reaches, and none for a share of a virtual machine.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from vlmnb import paths
from vlmnb.device import conditions
from vlmnb.device.clock import spent_s
from vlmnb.device.load import BackgroundLoad, is_high
from vlmnb.measure.loading import torch_dtype
from vlmnb.records.cells_to_measure import RATES
from vlmnb.records.parts import Ceilings
from vlmnb.types import Frozen

TRIES = 4
"""The best of so many tries counts, products and copies in turn: background processes come and go, and can
only lower a rate."""

MOST_TRIES = 8
"""Most tries for one precision on a machine that always has background load."""

TRY_S = 0.25
"""Seconds of products, and of copies, in each try: long enough to measure the background load."""

FRESH_S = 900.0
"""Seconds for which the runs of a sweep go on with the tries of an earlier run."""

SIDES = {"cpu": 1024, "cuda": 8192}
"""Side of the square matrices: large enough to be bound by arithmetic, small enough for seconds."""

COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Size of the copied block: far beyond every cache."""


class Tries(Frozen):
    """Tries made so far, each with its shortest product, its shortest copy and its background load.

    Attributes:
        limits: What the device could do meanwhile (``conditions.limits``).
        began: When the first of them began, in seconds since 1970.
    """

    limits: str = ""
    began: float = Field(default_factory=time.time)
    product_s: tuple[float, ...] = ()
    copy_s: tuple[float, ...] = ()
    loads: tuple[float, ...] = ()


class Search:
    """The best rates of a device so far, in a process or a sweep that may look again later."""

    def __init__(self, made: Tries | None = None) -> None:
        self.made = made or Tries()
        self._load = BackgroundLoad()

    @property
    def due(self) -> int:
        """Tries to make now: all at first; later one, as long as every try had background load."""
        if not self.made.loads:
            return TRIES
        return int(self.contaminated and len(self.made.loads) < MOST_TRIES)

    @property
    def contaminated(self) -> bool:
        """True if every try had background load."""
        return all(is_high(load) for load in self.made.loads)

    def once(self, product: Callable[[], float], copy: Callable[[], float]) -> None:
        """Make one try, given what returns the seconds of a product and of a copy, and note its load."""
        self._load.start()
        seconds = product(), copy()
        more = dict(zip(("product_s", "copy_s", "loads"), (*seconds, self._load.share()), strict=True))
        self.made = self.made.model_copy(
            update={name: (*getattr(self.made, name), value) for name, value in more.items()}
        )

    def found(self, flops: int, size: int, what: str) -> Ceilings:
        """Return the peak rates so far, given the FLOPs of a product and the bytes of a copy."""
        made = self.made
        return Ceilings(
            flops_per_s=flops / min(made.product_s),
            bytes_per_s=size / min(made.copy_s),
            method=f"best of {len(made.loads)} tries of {TRY_S:g} s or more each: {what}",
            other_load=min(made.loads),
            contaminated=self.contaminated,
            product_s=made.product_s,
            copy_s=made.copy_s,
            loads=made.loads,
            began_at=datetime.fromtimestamp(made.began, UTC).isoformat(timespec="seconds"),
        )


def search_of(device: str, dtype: str) -> Search:
    """Return a search that goes on with what the sweep of this process has found, if it is in one."""
    limits, file = conditions.limits(device), _file(device, dtype)
    with contextlib.suppress(OSError, ValueError):
        made = Tries.model_validate_json(file.read_bytes()) if file else Tries()
        if made.limits == limits and 0 <= time.time() - made.began < FRESH_S:
            return Search(made)
    return Search(Tries(limits=limits))


_search = functools.cache(search_of)
"""The search of this process."""


def _file(device: str, dtype: str) -> Path | None:
    """Return the file of a search that the runs of a sweep share; None without a sweep."""
    folder = os.environ.get(RATES)
    return Path(folder) / f"{device}-{dtype}.json" if folder else None


def measured(device: str, dtype: str) -> Ceilings:
    """Return the peak rates of a device for a precision, as far as this sweep has seen them.

    They are measured once per sweep, or once per process without a sweep, and again where the limits of the
    device have changed or after ``FRESH_S``. If every try had background load, each further call tries once
    more, so that tries are as far apart as the cells that ask. Of a product's two layouts of operands the
    faster counts: that of a linear layer, whose second operand is transposed, is fifty times as fast for fp16
    on a CPU.
    """
    search, side, size = _search(device, dtype), SIDES[device], COPY_BYTES[device]
    if search.due:
        _try(search, side, size, device, dtype)
        if file := _file(device, dtype):
            with contextlib.suppress(OSError):
                paths.write_atomic(file, search.made.model_dump_json())
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
