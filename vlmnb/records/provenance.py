"""The code, inputs, machine and conditions that the numbers of a record came from."""

from __future__ import annotations

from typing import Any

from vlmnb.device.state import Conditions
from vlmnb.meters.readings import SensorCard
from vlmnb.types import Frozen


class Provenance(Frozen):
    """What the numbers came from.

    Attributes:
        code: Fingerprint of the measuring code, without comments and docstrings.
        weights: Revision of the weights.
        geometry: How a checkpoint's geometry differs from that of the model it is named after, by
            ``geometry.differences``; empty if it does not.
        processor: Where tokenizer and image processor came from: ``checkpoint``, or ``stand-in``, whose
            texts have exactly the tokens of the prompt length.
        data: Revision of the data set.
        packages: Versions of the packages that can change a number.
        machine: Description of the machine.
        threads: Threads that torch computed with.
        attention: Attention implementation that the model reported while it was timed.
        other_load: Background load during the window, as share of all cores, 0 to 1.
        conditions: Clocks, power, throttling and limits around the window.
        sensors: Calibrations of the energy counters on this machine.
        started_at: UTC, ISO 8601.
        seconds: Seconds spent on the cell in all, loading included.
    """

    code: str
    weights: str = ""
    geometry: str = ""
    processor: str = ""
    data: str = ""
    packages: dict[str, str] = {}
    machine: dict[str, Any] = {}
    threads: int | None = None
    attention: str = ""
    other_load: float | None = None
    conditions: Conditions | None = None
    sensors: tuple[SensorCard, ...] = ()
    started_at: str = ""
    seconds: float | None = None
