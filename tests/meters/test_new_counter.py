"""A new energy counter is one module of ``vlmnb/meters/counters``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from factory import cell, record
from sensorfakes import CPU, RAM, FakeClock, FakeTracker, attach

from vlmnb.audit.measured import energy as energy_rules
from vlmnb.meters import counters
from vlmnb.meters.counters import calibration, rapl_counter
from vlmnb.meters.energy import EnergyMeter
from vlmnb.meters.readings import EnergyRefusal, headline

MODULE = """
METHOD, SOURCES, HEADLINE = "wall_plug", ("wall",), {"cpu": "wall"}

class WallPlug:
    source, method, name, poll_s, limit_w = "wall", METHOD, "plug 1", 0.001, None
    clock = None

    def resume(self): pass
    def read_j(self): return 40.0 * (self.clock.now_s // 0.01 * 0.01)
    def busy(self): return None

def attach(device):
    return [WallPlug()], []
"""


@pytest.fixture
def _wall_plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "wall_plug.py").write_text(MODULE)
    monkeypatch.setattr(counters, "__path__", [*counters.__path__, str(tmp_path)])
    monkeypatch.setattr(rapl_counter, "POWERCAP", tmp_path)
    counters.modules.cache_clear()
    yield
    sys.modules.pop("vlmnb.meters.counters.wall_plug", None)
    counters.modules.cache_clear()


@pytest.mark.usefixtures("_wall_plug")
def test_one_module_adds_a_counter(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    (plug,) = (module for module in counters.modules() if module.METHOD == "wall_plug")
    plug.WallPlug.clock = clock
    attach(monkeypatch, FakeTracker(RAM(), CPU()), *calibration.attached.__wrapped__("cpu").counters)
    with EnergyMeter() as meter:
        clock.sleep(2.0)
    (reading,) = (one for one in meter.readings if one.source == "wall")
    assert reading.method == "wall_plug"
    assert reading.power_w == pytest.approx(40, rel=0.01)
    made = record(cell(), energy=meter.readings)
    made = made.model_copy(update={"provenance": made.provenance.model_copy(update={"sensors": meter.cards})})
    assert list(energy_rules.energy_names_its_counter([made])) == []
    assert made.headline_energy == reading, "and not the modelled CPU"
    assert made.energy_j_per_sample == reading.energy_j / sum(made.timing.batch_samples)
    assert headline(meter.readings, "cuda") is None
    no = EnergyRefusal(source="wall", method="wall_plug", reason="unplugged")
    refused = record(cell(), energy_refused=(no,))
    assert (refused.headline_energy, refused.energy_reason) == (None, "unplugged")
