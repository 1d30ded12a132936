"""Measure the background load: what other processes used of all cores."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable

import psutil

SHORTEST_LOAD_WINDOW_S = 0.2
"""CPU times are counted in ticks of 10 ms; a shorter window would be mostly rounding."""


HIGH_LOAD = 0.05
"""Background load above which a measurement should not be quoted. It slows down work that uses every core: a
fraction x of the cores makes it 1/(1 - x) as long, and 5 % is what the verdict on latencies calls noisy."""


def is_high(share: float) -> bool:
    """Return whether a background load (0 to 1) is so high that the measurement has to be repeated."""
    return share > HIGH_LOAD


def _busy_and_total() -> tuple[float, float]:
    times = psutil.cpu_times()._asdict()
    # Linux counts the time of guests twice: it is part of user and nice as well.
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return total - times["idle"] - times.get("iowait", 0.0), total


def _own_cpu_s() -> float:
    """Return the CPU time of this process and of finished children, such as a tool that it called."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class BackgroundLoad:
    """The background load between two calls of :meth:`share`.

    It is made of the other processes of this machine and, on a virtual machine, of the time its host stole.

    Args:
        busy_and_total: Seconds that all cores together were busy, and seconds in all, since boot.
        own: CPU seconds that this process and its finished children have used.
        clock: Wall clock in seconds.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        busy_and_total: Callable[[], tuple[float, float]] = _busy_and_total,
        own: Callable[[], float] = _own_cpu_s,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._busy_and_total = busy_and_total
        self._own = own
        self._clock = clock
        self._sleep = sleep
        self._last: tuple[float, float, float, float] | None = None

    def start(self) -> None:
        """Begin here, without waiting."""
        self._last = self.now()

    def share(self) -> float:
        """Return the fraction of all cores (0 to 1) that other processes used since the last call.

        The first call, and a call that follows too soon, waits until ``SHORTEST_LOAD_WINDOW_S`` has passed.
        """
        if self._last is None:
            self._last = self.now()
        waited = self._clock() - self._last[0]
        if waited < SHORTEST_LOAD_WINDOW_S:
            self._sleep(SHORTEST_LOAD_WINDOW_S - waited)
        before, self._last = self._last, self.now()
        return _others(before, self._last)

    def now(self) -> tuple[float, float, float, float]:
        """Return wall clock, busy and total seconds of all cores, and seconds of this process."""
        return (self._clock(), *self._busy_and_total(), self._own())


class LoadMarks:
    """The background load between marks, for pieces of work that follow one another.

    Setting a mark reads two counters and does not wait, so it can be done between timed batches.

    Args:
        load: Its counters are used, and nothing else of it.
    """

    def __init__(self, load: BackgroundLoad | None = None) -> None:
        self._load = load or BackgroundLoad()
        self._marks = [self._load.now()]

    def mark(self) -> None:
        """End one piece and begin the next."""
        self._marks.append(self._load.now())

    def shares(self) -> list[float | None]:
        """Return the load of each piece, 0 to 1; None for a piece too short to measure it."""
        pairs = itertools.pairwise(self._marks)
        return [
            _others(before, after) if after[0] - before[0] >= SHORTEST_LOAD_WINDOW_S else None
            for before, after in pairs
        ]


def _others(before: tuple[float, ...], after: tuple[float, ...]) -> float:
    """Return the load between two readings of wall clock, busy, total and own time."""
    _, busy, total, own = (now - then for now, then in zip(after, before, strict=True))
    return min(max((busy - own) / total, 0.0), 1.0) if total > 0 else 0.0
