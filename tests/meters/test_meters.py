"""The window around timed work: one call opens everything, and it counts what it covers."""

from __future__ import annotations

import pytest

from vlmnb.device.conditions import ConditionsMeter
from vlmnb.device.load import is_high
from vlmnb.device.state import Conditions, DeviceState
from vlmnb.meters.energy import EnergyMeter
from vlmnb.meters.memory import MemoryMeter
from vlmnb.meters.readings import EnergyReading
from vlmnb.meters.window import MeteredWindow as MeteredWindow


class Steps:
    """Meters that write down in which order they are opened and closed."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.elapsed_s = 0.0
        steps = self

        class Energy(EnergyMeter):
            def __init__(self) -> None:
                self.readings = (EnergyReading(source="gpu", method="nvml_counter", energy_j=1.0, detail=""),)

            least_window_s = 3.0  # type: ignore[assignment]
            elapsed_s = property(lambda self: steps.elapsed_s)  # type: ignore[assignment]

            def prepare(self) -> None:
                steps.done.append("prepare")

            def __enter__(self) -> Energy:  # type: ignore[override]
                steps.done.append("energy opens")
                return self

            def checkpoint(self) -> None:
                steps.done.append("checkpoint")

            def __exit__(self, *_: object) -> None:
                steps.done.append("energy closes")

        class Memory(MemoryMeter):
            def __enter__(self) -> Memory:  # type: ignore[override]
                steps.done.append("memory opens")
                return self

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

        self.window = MeteredWindow(energy=Energy(), memory=Memory(), conditions=Around("cpu"))


def test_nothing_slow_happens_between_the_meters_and_the_work() -> None:
    steps = Steps()
    with steps.window as window:
        steps.done.append("work")
    assert steps.done == [
        "prepare", "conditions start", "energy opens", "memory opens", "work", "conditions stop",
        "memory closes", "energy closes", "load",
    ]  # fmt: skip
    assert window.other_load == 0.1


def test_a_window_is_too_short_until_every_counter_has_enough() -> None:
    steps = Steps()
    passes = 0
    with steps.window as window:
        while passes == 0 or window.too_short:
            steps.elapsed_s += 1.0
            passes += 1
            window.covered(4)
    assert passes == 3
    assert [reading.samples for reading in window.readings] == [12]


def test_an_error_of_the_work_closes_the_meters_and_comes_through() -> None:
    steps = Steps()
    with pytest.raises(KeyError, match="work"), steps.window:
        raise KeyError("work")
    assert steps.done[-1] == "energy closes"


def test_a_window_on_this_machine_has_energy_memory_and_conditions() -> None:
    with MeteredWindow("cpu") as window:
        window.covered(2)
        assert not window.too_short or window.energy.cards
    assert window.readings or window.energy.refused
    assert window.conditions is not None
    assert window.conditions.contaminated == is_high(window.conditions.other_load)
    assert window.energy.emissions
