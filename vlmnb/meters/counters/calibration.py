"""Find the energy counters of a device and calibrate them: period, steps, shortest window.

    counter   ____|‾‾‾‾|____      moves every ``period_s``; in between it shows the last value
    window      [tick ....work.... tick]

A reading is up to one period old at either end, so the energy of a window of w seconds is known to within
2 period/w. The meter waits for the counter to move before it takes a reading, so the real error is much
smaller. The bound does not rely on that: no manual says that a counter shows all energy when it moves.
"""

from __future__ import annotations

import functools
import itertools
import statistics
from typing import NamedTuple

from vlmnb.device import clock
from vlmnb.device.load import is_high
from vlmnb.meters import counters
from vlmnb.meters.counters.counter import EnergyCounter, SensorError
from vlmnb.meters.readings import EnergyRefusal, SensorCard

MAX_QUANTIZATION = 0.02
"""Largest uncertainty from the counter's period, as a fraction of the energy: 10 s for a period of 0.1 s."""

SETTLE_S = 2.0
"""Wait before a calibration: a GPU keeps its clocks high for a moment after work."""

IDLE_S = 2.0
"""Time over which idle power is measured: 20 periods of the slowest counters known (0.1 s)."""

FEWEST_UPDATES = 20
LONGEST_OBSERVATION_S = 4.0
"""The period is the median of 20 changes, or of as many as 4 s show."""

FEWEST_INTERVALS = 3


class Attached(NamedTuple):
    """The counters that can be used for a device, each with its calibration, and those that cannot."""

    counters: tuple[tuple[EnergyCounter, SensorCard], ...] = ()
    refused: tuple[EnergyRefusal, ...] = ()


@functools.cache
def attached(device: str) -> Attached:
    """Return the counters for work on a torch device.

    The first call for a device in a process calibrates them, which takes seconds and needs an idle device;
    later calls return at once.
    """
    ready: list[tuple[EnergyCounter, SensorCard]] = []
    refused: list[EnergyRefusal] = []
    for module in counters.modules():
        found, unusable = module.attach(device)
        refused.extend(unusable)
        for counter in found:
            try:
                ready.append((counter, measure_card(counter)))
            except SensorError as error:
                refused.append(EnergyRefusal(source=counter.source, method=counter.method, reason=str(error)))
    return Attached(tuple(ready), tuple(refused))


def measure_card(counter: EnergyCounter) -> SensorCard:
    """Calibrate a counter while its device is idle: ``SETTLE_S`` + ``IDLE_S`` and the time of 20 changes.

    Raises:
        SensorError: The counter cannot be read, or it does not move.
    """
    clock.sleep(SETTLE_S)
    counter.resume()
    times_s, steps_j, looks_s = _observe(counter)
    if len(steps_j) < FEWEST_INTERVALS:
        raise SensorError(f"the counter moved {len(steps_j)} times in {LONGEST_OBSERVATION_S:g} s")
    resolution_s = statistics.median(looks_s)
    period_s = statistics.median(b - a for a, b in itertools.pairwise(times_s))
    counter.busy()
    longest_s = 10 * max(period_s, resolution_s)
    start_s, start_j = tick(counter, longest_s)
    clock.sleep(IDLE_S)
    end_s, end_j = tick(counter, longest_s)
    busy = counter.busy()
    disturbed = busy is not None and is_high(busy)
    return SensorCard(
        sensor=counter.name, source=counter.source, method=counter.method,
        period_s=max(period_s, resolution_s), step_j=statistics.median(steps_j),
        resolution_s=resolution_s, updates=len(steps_j),
        idle_power_w=None if disturbed else (end_j - start_j) / (end_s - start_s),
        note=f"no idle power: background load of {busy:.0%} on the device" if disturbed else "",
    )  # fmt: skip


def tick(counter: EnergyCounter, longest_s: float) -> tuple[float, float]:
    """Wait until the counter moves; return the time and the joules it then shows.

    Raises:
        SensorError: It did not move within ``longest_s`` seconds.
    """
    began_s, before_j = clock.now_s(), counter.read_j()
    while True:
        now_j = counter.read_j()
        now_s = clock.now_s()
        if now_j != before_j:
            return now_s, now_j
        if now_s - began_s > longest_s:
            raise SensorError(f"the counter did not move for {longest_s:.3g} s")
        clock.sleep(counter.poll_s)


def min_window_s(card: SensorCard) -> float:
    """Return the shortest window whose energy is known to within ``MAX_QUANTIZATION`` of it.

    Both ends may be off by a period: 2 period / window <= ``MAX_QUANTIZATION``, at equal power. A counter's
    unit (1 mJ, 61 uJ) does not matter: it is tiny compared with the energy of a period.
    """
    return 2 * card.period_s / MAX_QUANTIZATION


def _observe(counter: EnergyCounter) -> tuple[list[float], list[float], list[float]]:
    """Return the times of the counter's changes, their joules, and the times between readings."""
    times_s: list[float] = []
    steps_j: list[float] = []
    looks_s: list[float] = []
    began_s = looked_s = clock.now_s()
    shown_j = counter.read_j()
    while len(steps_j) < FEWEST_UPDATES and looked_s - began_s < LONGEST_OBSERVATION_S:
        clock.sleep(counter.poll_s)
        now_j, now_s = counter.read_j(), clock.now_s()
        looks_s.append(now_s - looked_s)
        looked_s = now_s
        if now_j != shown_j:
            times_s.append(now_s)
            steps_j.append(now_j - shown_j)
            shown_j = now_j
    return times_s, steps_j, looks_s
