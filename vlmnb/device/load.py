"""Measure the background load: what other processes used of all cores."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from vlmnb.device import clock

SHORTEST_LOAD_WINDOW_S = 0.2
"""CPU times are counted in ticks of 10 ms; a shorter window would be mostly rounding."""

HIGH_LOAD = 0.05
"""Background load above which a measurement should not be quoted. It slows down work that uses every core: a
fraction x of the cores makes it 1/(1 - x) as long, and 5 % is what the verdict on latencies calls noisy."""


def is_high(share: float | None) -> bool:
    """Return whether a background load (0 to 1) is so high that the measurement has to be repeated.

    None, of a time too short to measure it, is not.
    """
    return share is not None and share > HIGH_LOAD


class Reading(NamedTuple):
    """Seconds on the clock, seconds of all cores (busy and in all), and CPU seconds of this process."""

    now_s: float
    busy_s: float
    total_s: float
    own_s: float


def used_s() -> float:
    """Return the CPU seconds of this process and its children, at work or ended; takes milliseconds."""
    seconds = _own_s()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            seconds += sum(child.cpu_times()[:4])  # user and system, its own and of its ended children
    return seconds


def _own_s() -> float:
    own = os.times()
    return time.process_time() + own.children_user + own.children_system


def reading() -> Reading:
    """Return the counters now, without waiting; finished children, such as a tool, count as this process."""
    cores = psutil.cpu_times()._asdict()
    # Linux counts the time of guests twice: it is part of user and nice as well.
    total_s = sum(cores.values()) - cores.get("guest", 0.0) - cores.get("guest_nice", 0.0)
    busy_s = total_s - cores["idle"] - cores.get("iowait", 0.0)
    return Reading(clock.now_s(), busy_s, total_s, _own_s())


class BackgroundLoad:
    """The background load between two calls of :meth:`share`.

    It is made of the other processes of this machine and, on a virtual machine, of the time its host stole.
    """

    def __init__(self) -> None:
        self._last: Reading | None = None

    def start(self) -> None:
        """Begin here, without waiting."""
        self._last = reading()

    def share(self) -> float:
        """Return the fraction of all cores (0 to 1) that other processes used since the last call.

        The first call, and a call that follows too soon, waits until ``SHORTEST_LOAD_WINDOW_S`` has passed.
        """
        before = self._last or reading()
        waited_s = clock.now_s() - before.now_s
        if waited_s < SHORTEST_LOAD_WINDOW_S:
            clock.sleep(SHORTEST_LOAD_WINDOW_S - waited_s)
        self._last = reading()
        return _share(before, self._last)


def shares(readings: Sequence[Reading]) -> list[float | None]:
    """Return the background load between readings, 0 to 1; None where it is too short to measure."""
    return [
        _share(before, after) if after.now_s - before.now_s >= SHORTEST_LOAD_WINDOW_S else None
        for before, after in itertools.pairwise(readings)
    ]


def _share(before: Reading, after: Reading) -> float:
    total_s = after.total_s - before.total_s
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return min(max(others_s / total_s, 0.0), 1.0) if total_s > 0 else 0.0
