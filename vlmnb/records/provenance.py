"""What the numbers of a record came from."""

from __future__ import annotations

from typing import Any

from vlmnb.device.state import Conditions
from vlmnb.meters.readings import SensorCard
from vlmnb.types import Frozen


class Provenance(Frozen):
    """What the numbers came from.

    Attributes:
        code: Fingerprint of the measuring code, comments and docstrings left out.
        weights: Revision of the weights.
        geometry: In what a checkpoint's geometry is not that of the model it is named after, as
            ``geometry.differences`` has it; empty where it is the same.
        processor: Where tokenizer and image processor came from: ``checkpoint``, or ``stand-in``, whose
            texts have exactly the tokens of the prompt budget.
        data: Revision of the data set.
        packages: Versions of the packages that can move a number.
        machine: Description of the machine.
        threads: Threads torch computed with.
        attention: Attention implementation the model reported while it was timed.
        other_load: Share of the machine's cores that other processes used during the window, 0 to 1.
        conditions: Clocks, power, throttling and limits around the window.
        sensors: What the counters of energy can tell on this machine.
        started_at: UTC, ISO 8601.
        seconds: Whole time spent on the cell, loading included.
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
