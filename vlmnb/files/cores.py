"""Work on many things with all cores."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def usable() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mapped(
    work: Callable[[list[Item]], Made], items: Iterable[Item], size: int, *, alone: bool = False
) -> Iterator[Made]:
    """Yield what a function makes of each ``size`` items, in order; ``alone``: in this process.

    Few parts are under way at a time, so that neither they nor what is made of them fill the memory.
    """
    left = iter(items)
    parts = iter(lambda: list(itertools.islice(left, size)), [])
    cores = usable()
    if alone or cores == 1:
        yield from map(work, parts)
        return
    # A fork need not import anything again; elsewhere than on Linux libraries do not survive it.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    # What was imported until now is no garbage: looking through it takes each process long.
    with ProcessPoolExecutor(cores, context, gc.freeze) as pool:
        waiting = deque[Future[Any]]()
        for part in parts:
            waiting.append(pool.submit(work, part))
            if len(waiting) > 4 * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
