"""The window around timed work: one call opens everything, and it counts what it covers."""

from __future__ import annotations

import pytest

from vlmnb.device.conditions import ConditionsMeter
from vlmnb.device.load import is_high
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.meters import window
from vlmnb.meters.memory import MemoryMeter
from vlmnb.meters.readings import EnergyReading
from vlmnb.meters.window import MeteredWindow


class Steps:
    """Meters that write down in which order they are opened and closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.elapsed_s = 0.0
        steps = self

        class Energy:
            readings = (EnergyReading(source="gpu", method="nvml_counter", energy_j=1.0, detail=""),)
            least_window_s = 3.0
            elapsed_s = property(lambda self: steps.elapsed_s)

            def __init__(self, device: str) -> None:
                steps.done.append("calibrate")

            def __enter__(self) -> None:
                steps.done.append("energy opens")

            def checkpoint(self) -> None:
                steps.done.append("checkpoint")

            def __exit__(self, *_: object) -> None:
                steps.done.append("energy closes")

        class Memory(MemoryMeter):
            def __enter__(self) -> None:  # type: ignore[override]
                steps.done.append("memory opens")

            def __exit__(self, *_: object) -> None:
                steps.done.append("memory closes")

        class Around(ConditionsMeter):
            def start(self) -> None:
                steps.done.append("conditions start")

            def stop(self) -> None:
                steps.done.append("conditions stop")

            def conditions(self) -> Conditions:
                steps.done.append("load")
                return Conditions(start=DeviceState(), end=DeviceState(), other_load=0.1, contaminated=True)

        for name, meter in (("EnergyMeter", Energy), ("MemoryMeter", Memory), ("ConditionsMeter", Around)):
            monkeypatch.setattr(window, name, meter)
        self.window = MeteredWindow()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def test_nothing_slow_happens_between_the_meters_and_the_work(steps: Steps) -> None:
    with steps.window as opened:
        steps.done.append("work")
    assert steps.done == [
        "calibrate", "conditions start", "energy opens", "memory opens", "work", "conditions stop",
        "memory closes", "energy closes", "load",
    ]  # fmt: skip
    assert opened.conditions is not None
    assert opened.conditions.other_load == 0.1


def test_a_window_is_too_short_until_every_counter_has_enough(steps: Steps) -> None:
    passes = 0
    with steps.window as opened:
        while passes == 0 or opened.too_short:
            steps.elapsed_s += 1.0
            passes += 1
            opened.covered(4)
    assert passes == 3
    assert [reading.samples for reading in opened.readings] == [12]


def test_an_error_of_the_work_closes_the_meters_and_comes_through(steps: Steps) -> None:
    with pytest.raises(KeyError, match="work"), steps.window:
        raise KeyError("work")
    assert steps.done[-1] == "energy closes"


def test_a_window_on_this_machine_has_energy_memory_and_conditions() -> None:
    with MeteredWindow("cpu") as opened:
        opened.covered(2)
        assert not opened.too_short or opened.energy.cards
    assert opened.readings or opened.energy.refused
    assert opened.conditions is not None
    assert opened.conditions.contaminated == is_high(opened.conditions.other_load)
    assert opened.energy.emissions
