"""Counters of energy in the hardware: NVML's of a GPU, RAPL's of the processor.

A counter is monotone: what it reads may only be used as a difference, and it moves in steps of its own
period. ``vlmnb.meters.counter_calibration`` measures those steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from vlmnb.device import machine, nvml
from vlmnb.meters.readings import EnergyMethod, EnergyRefusal, EnergySource

POWERCAP = Path("/sys/class/powercap")

PACKAGE_LIMIT_W = 600.0
"""More than one processor package draws: the highest TDP on sale is 500 W (AMD EPYC 9965, Intel Xeon
6980P). It bounds how long a RAPL counter can go unread before it may have wrapped around twice."""

CAP_TOLERANCE = 1.1
"""A GPU's mean power over seconds stays at its limit; a tenth more is an error of the sensor or of ours."""


class SensorError(Exception):
    """A counter cannot be read, or what it says has no single meaning; the message says why."""


class EnergyCounter(Protocol):
    """A counter of energy.

    Attributes:
        name: Which counter, of which device.
        poll_s: Time between two looks while its period is observed; 0 looks without a pause.
        limit_w: Mean power that it cannot have counted; None where none is known.
    """

    source: EnergySource
    method: EnergyMethod
    name: str
    poll_s: float
    limit_w: float | None

    def resume(self) -> None:
        """Begin to count here: what happened since the last reading does not matter."""

    def read_j(self) -> float:
        """Joules since some moment; only differences mean something.

        Raises:
            SensorError: There is no reading that could be trusted.
        """

    def busy(self) -> float | None:
        """Share of the device in use since the last call, by whom ever else; None where it cannot tell."""


class NvmlCounter:
    """The energy counter of one GPU, in steps of 1 mJ: the whole board with its memory (assumed: NVML's
    reference says "for this GPU").

    The number has 64 bits and never wraps; one that falls means the driver was loaded anew.
    """

    source: EnergySource = "gpu"
    method: EnergyMethod = "nvml_counter"
    poll_s = 0.001

    def __init__(self, gpu: nvml.NvmlGpu) -> None:
        self._gpu = gpu
        self._last_mj = 0
        self.name = f"energy counter of {gpu.name} {gpu.uuid}, driver {gpu.driver}"
        cap_w = gpu.power_cap_w()
        self.limit_w = None if cap_w is None else cap_w * CAP_TOLERANCE

    def resume(self) -> None:
        """Begin to count here; a driver loaded anew before is no matter."""
        self._last_mj = 0

    def read_j(self) -> float:
        """Joules since the driver was loaded."""
        try:
            now_mj = self._gpu.energy_mj()
        except nvml.NvmlUnavailable as error:
            raise SensorError(str(error)) from None
        before_mj, self._last_mj = self._last_mj, now_mj
        if now_mj < before_mj:
            raise SensorError("the energy counter fell: the driver was loaded anew")
        return now_mj / 1000

    def busy(self) -> float | None:
        """NVML's utilization now; asked while this process waits, it is that of others."""
        return self._gpu.utilization()


class RaplCounter:
    """RAPL's counters of one kind, added up over the processor packages (or their memory).

    A counter begins again at 0 after ``max_energy_range_uj`` microjoules (powercap in the kernel's
    documentation, admin-guide/pm): a reading below the last one has wrapped around once. Whether once or
    more often cannot be seen, so one that was not read for longer than a package needs to go round is
    refused.

    Args:
        source: ``cpu`` for packages, ``ram`` for their memory.
        zones: Folders with ``energy_uj`` and ``max_energy_range_uj``.
        clock: Wall clock in seconds.
    """

    method: EnergyMethod = "rapl"
    poll_s = 0.0
    limit_w: float | None

    def __init__(
        self,
        source: EnergySource,
        zones: tuple[Path, ...],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.source: EnergySource = source
        self._clock = clock
        self._zones = zones
        self._ranges_uj = [_number(zone / "max_energy_range_uj") for zone in zones]
        self._total_uj = 0
        self.resume()
        self.longest_gap_s = min(self._ranges_uj) / 1e6 / PACKAGE_LIMIT_W
        self.limit_w = PACKAGE_LIMIT_W * len(zones)
        self.name = "RAPL " + ", ".join(_zone_name(zone) for zone in zones)
        self._neighbours = machine.NeighbourLoad()

    def resume(self) -> None:
        """Begin to count here; wraps since the last reading do not matter."""
        self._last_uj = [_number(zone / "energy_uj") for zone in self._zones]
        self._read_at_s = self._clock()

    def read_j(self) -> float:
        """Joules counted since this object was made."""
        now_s = self._clock()
        gap_s, self._read_at_s = now_s - self._read_at_s, now_s
        for i, zone in enumerate(self._zones):
            raw_uj = _number(zone / "energy_uj")
            step_uj = raw_uj - self._last_uj[i]
            self._total_uj += step_uj if step_uj >= 0 else step_uj + self._ranges_uj[i]
            self._last_uj[i] = raw_uj
        if gap_s > self.longest_gap_s:
            raise SensorError(
                f"the counter was not read for {gap_s:.0f} s and may have wrapped around more than once; it "
                f"holds {self.longest_gap_s:.0f} s at {PACKAGE_LIMIT_W:g} W"
            )
        return self._total_uj / 1e6

    def busy(self) -> float | None:
        """Share of all cores that other processes used since the last call."""
        return self._neighbours.share()


def gpu_counter(device: str) -> NvmlCounter:
    """The counter of the GPU that torch uses.

    Raises:
        SensorError: There is none that counts this GPU alone.
    """
    try:
        gpu = nvml.gpu_of(device)
    except nvml.NvmlUnavailable as error:
        raise SensorError(str(error)) from None
    if gpu.is_divided():
        raise SensorError("the GPU is divided (MIG), and its energy counter counts all its parts")
    counter = NvmlCounter(gpu)
    counter.read_j()
    return counter


def rapl_counters(powercap: Path = POWERCAP) -> tuple[list[RaplCounter], list[EnergyRefusal]]:
    """RAPL's counters of the packages and of their memory; none where the machine has no RAPL.

    AMD's processors show up under the same name (driver ``intel_rapl``, zones ``intel-rapl:N``), without
    memory. The zone ``psys``, the whole platform where there is one, contains the packages and is left out.
    """
    zones: dict[EnergySource, list[Path]] = {"cpu": [], "ram": []}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        name = _zone_name(zone)
        if name.startswith("package"):
            zones["cpu"].append(zone)
        elif name == "dram":
            zones["ram"].append(zone)
    found, refused = [], []
    for source, members in zones.items():
        if not members:
            continue
        try:
            found.append(RaplCounter(source, tuple(members)))
        except SensorError as error:
            refused.append(EnergyRefusal(source=source, method="rapl", reason=str(error)))
    return found, refused


def _zone_name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except PermissionError:
        raise SensorError(
            f"{file} may be read by root alone; to allow it until the next boot: sudo chmod a+r {file}"
        ) from None
    except (OSError, ValueError) as error:
        raise SensorError(f"{file} cannot be read: {error}") from None
