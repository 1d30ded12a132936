"""Find and calibrate the counters that can be used for a device."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from vlmnb.meters import counters
from vlmnb.meters.counters.calibration import measure_card
from vlmnb.meters.counters.counter import EnergyCounter, SensorError
from vlmnb.meters.readings import EnergyRefusal, SensorCard


@dataclass(frozen=True)
class Attached:
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
