"""Records that were measured under background load."""

from __future__ import annotations

from typing import Any

import pytest
from factory import STEADY, but, changed, timed

from vlmnb.device import clock, load
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.records.parts import Provenance
from vlmnb.records.record import Record

MARKED = "†"


def surrounded(load: float, passes: tuple[bool, ...] = (False,), **changes: Any) -> Record:
    """A record of a window in which others used a share of the cores, with the marks of its passes."""
    made = timed(STEADY * len(passes), passes=len(passes), **changes)
    state = DeviceState()
    around = Conditions(start=state, end=state, other_load=load, contaminated=load > 0.05)
    told = Provenance(code="0" * 16, other_load=load, conditions=around)
    return but(changed(made, "timing", contaminated=passes), provenance=told)


def disturbed(one: Record, load: float = 0.5) -> Record:
    """The same window, while others used a share of the cores."""
    around = Conditions(start=DeviceState(), end=DeviceState(), other_load=load, contaminated=True)
    return changed(one, "provenance", conditions=around, other_load=load)


class FourCores:
    """Counters of a machine of four cores: one is ours, and the others are used as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, others: float = 0.0) -> None:
        self.others = others
        self.now = load.Reading(0.0, 0.0, 0.0, 0.0)
        monkeypatch.setattr(load, "reading", lambda: self.now)
        monkeypatch.setattr(clock, "now_s", lambda: self.now.now_s)
        monkeypatch.setattr(clock, "sleep", self.work)

    def work(self, seconds: float) -> None:
        """Let time pass, in which this process uses one core and others use ``others`` cores."""
        used = (1.0, 1 + self.others, 4.0, 1.0)
        self.now = load.Reading(
            *(before + cores * seconds for before, cores in zip(self.now, used, strict=True))
        )
