"""Records that were measured under background load."""

from __future__ import annotations

from typing import Any

from factory import STEADY, timed

from vlmnb.device.state import Conditions, DeviceState
from vlmnb.records.provenance import Provenance
from vlmnb.records.record import Record

MARKED = "†"


def surrounded(load: float, passes: tuple[bool, ...] = (False,), **changes: Any) -> Record:
    """A record of a window in which others used a share of the cores, with the marks of its passes."""
    made = timed(STEADY * len(passes), passes=len(passes), **changes)
    assert made.timing is not None
    state = DeviceState()
    around = Conditions(start=state, end=state, other_load=load, contaminated=load > 0.05)
    told = Provenance(code="0" * 16, other_load=load, conditions=around)
    timing = made.timing.model_copy(update={"contaminated": passes})
    return made.model_copy(update={"timing": timing, "provenance": told})
