"""Stand-ins for what tells energy: counters that move in steps, on one clock and one power; codecarbon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vlmnb.meters import codecarbon_model
from vlmnb.meters.counters import calibration
from vlmnb.meters.counters.counter import EnergyCounter
from vlmnb.meters.readings import SensorCard

LOOK_S = 20e-6


def attach(
    monkeypatch: pytest.MonkeyPatch, tracker: FakeTracker, *counters: tuple[EnergyCounter, SensorCard]
) -> None:
    """Let energy meters find these counters, and this tracker of codecarbon."""
    monkeypatch.setattr(calibration, "attached", lambda device: calibration.Attached(counters))
    monkeypatch.setattr(codecarbon_model, "tracker", lambda device: tracker)


class FakeClock:
    """Seconds that pass by sleeping, by working, and a little by looking."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.followers: list[Callable[[], None]] = []

    def __call__(self) -> float:
        self.sleep(LOOK_S)
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += max(seconds, LOOK_S)
        for follower in self.followers:
            follower()


class Draw:
    """A device that draws power; its counter shows the energy of the last whole period.

    Args:
        clock: The time.
        watts: Power to begin with.
        period_s: Period of the counter.
        phase_s: Where in the clock's time the periods begin.
        start_j: Energy counted before.
    """

    def __init__(
        self, clock: FakeClock, watts: float, period_s: float, phase_s: float = 0.0, start_j: float = 5.0
    ) -> None:
        self.clock, self.watts, self.period_s, self.phase_s = clock, watts, period_s, phase_s
        self._energy_j, self._at_s = start_j, clock.now_s
        self.shown_j = self._energy_j
        clock.followers.append(self.follow)

    def follow(self) -> None:
        """Count up to now, and show what was counted at the last beginning of a period."""
        shown_at_s = (self.clock.now_s - self.phase_s) // self.period_s * self.period_s + self.phase_s
        if shown_at_s > self._at_s:
            self.shown_j = self._energy_j + self.watts * (shown_at_s - self._at_s)
        self._energy_j += self.watts * (self.clock.now_s - self._at_s)
        self._at_s = self.clock.now_s

    def work(self, watts: float, seconds: float) -> float:
        """Draw more for a while; the energy that really took, in joules."""
        idle_w, self.watts = self.watts, watts
        self.clock.sleep(seconds)
        self.watts = idle_w
        return watts * seconds


class NVMLError(Exception):
    pass


class FakeNvml:
    """As much of pynvml as one GPU with an energy counter needs.

    Args:
        draw: The GPU's energy.
        missing: Names of functions that this GPU does not support.
    """

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, draw: Draw, missing: tuple[str, ...] = ()) -> None:
        self.draw, self.missing = draw, missing
        self.answers: dict[str, Any] = {
            "nvmlDeviceGetName": b"NVIDIA H200",
            "nvmlDeviceGetUUID": "GPU-b",
            "nvmlSystemGetDriverVersion": "580.1",
            "nvmlDeviceGetMigMode": [0, 0],
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=0),
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetTemperature": 41,
            "nvmlDeviceGetPowerUsage": 75_500,
            "nvmlDeviceGetCurrentClocksEventReasons": 0x4 | 0x20,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x1,
            "nvmlDeviceGetComputeRunningProcesses": [object()],
        }
        self.violation_ns = {0: 5_000_000_000, 1: 0}
        self.offset_mj = 0

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def answer(*asked: Any) -> Any:
            if name in self.missing:
                raise NVMLError(f"{name}: Not Supported")
            if name == "nvmlDeviceGetTotalEnergyConsumption":
                return int(self.draw.shown_j * 1000) + self.offset_mj
            if name == "nvmlDeviceGetClockInfo":
                return {1: 1980, 2: 3201}[asked[1]]
            if name == "nvmlDeviceGetViolationStatus":
                if asked[1] not in self.violation_ns:
                    raise NVMLError("Not Supported")
                return SimpleNamespace(violationTime=self.violation_ns[asked[1]])
            return self.answers[name]

        return answer


def rapl_folder(root: Path, clock: FakeClock, draws: dict[str, Draw], range_uj: int = 2**32) -> Path:
    """A powercap folder whose zones (``package-0``, ``dram`` ...) count what is drawn, and wrap around."""
    for i, (name, draw) in enumerate(draws.items()):
        zone = root / f"intel-rapl:{i}"
        zone.mkdir(parents=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")

        clock.followers.append(_Shown(zone / "energy_uj", draw, range_uj).follow)
        clock.followers[-1]()
    return root


class _Shown:
    """A counter in a file; written only when it moves."""

    def __init__(self, file: Path, draw: Draw, range_uj: int) -> None:
        self._file, self._draw, self._range_uj = file, draw, range_uj
        self._written_j: float | None = None

    def follow(self) -> None:
        if self._draw.shown_j != self._written_j:
            self._written_j = self._draw.shown_j
            self._file.write_text(f"{int(self._written_j * 1e6) % self._range_uj}\n")


@dataclass
class Row:
    codecarbon_version: str = "9.9"
    cpu_energy: float = 1e-6
    gpu_energy: float = 2e-6
    ram_energy: float = 3e-6
    energy_consumed: float = 6e-6
    cpu_power: float = 12345.0
    ram_power: float = 10.0


class RAM:
    pass


class CPU:
    def __init__(self, mode: str = "cpu_load", tdp: float = 65.0) -> None:
        self._mode, self._tdp, self._tracking_mode = mode, tdp, "process"


class GPU:
    """What codecarbon follows of a GPU; it must never become a reading."""


class FakeTracker:
    def __init__(self, *hardware: object, fails: bool = False) -> None:
        self._hardware, self.fails = hardware, fails
        self.calls: list[str] = []

    def start_task(self) -> None:
        self.calls.append("start")

    def stop_task(self) -> Row:
        self.calls.append("stop")
        if self.fails:
            raise RuntimeError("no reading")
        return Row()


class FakeCuda(SimpleNamespace):
    """As much of torch.cuda as meters call, in the order of the calls."""

    def __init__(self) -> None:
        bytes_ = {"memory_allocated": 100, "max_memory_allocated": 300, "memory_reserved": 200,
                  "max_memory_reserved": 700}  # fmt: skip
        super().__init__(**{name: lambda device, size=size: size for name, size in bytes_.items()})
        self.calls: list[str] = []
        self.synchronize = lambda device: self.calls.append(f"synchronize {device}")
        self.reset_peak_memory_stats = lambda device: self.calls.append("reset")
        self.get_device_properties = lambda device: SimpleNamespace(uuid="b")
