from __future__ import annotations

import pytest
from sensorfakes import FakeClock

from vlmnb.device import clock as device_clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of all meters."""
    made = FakeClock()
    monkeypatch.setattr(device_clock, "now_s", made)
    monkeypatch.setattr(device_clock, "sleep", made.sleep)
    return made
