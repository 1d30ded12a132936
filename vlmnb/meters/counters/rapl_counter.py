"""RAPL's energy counters of processor packages and their memory, through Linux powercap."""

from __future__ import annotations

from pathlib import Path

from vlmnb.device import clock
from vlmnb.device.load import BackgroundLoad
from vlmnb.meters.counters.counter import EnergyCounter, Found, SensorError
from vlmnb.meters.readings import EnergyRefusal

METHOD = "rapl"
SOURCES = ("cpu", "ram")

POWERCAP = Path("/sys/class/powercap")

PACKAGE_LIMIT_W = 600.0
"""More than one processor package draws: the highest TDP on sale is 500 W (AMD EPYC 9965, Intel Xeon
6980P). It limits how long a RAPL counter may go unread before it may have wrapped around twice."""


def attach(device: str) -> Found:
    """Return RAPL's counters of the packages and of their memory, for work on any device.

    There are none if the machine has no RAPL. AMD's processors have the same names (driver ``intel_rapl``,
    zones ``intel-rapl:N``), without memory. The zone ``psys`` is the whole platform and contains the
    packages, so it is left out.
    """
    names = {zone: _zone_name(zone) for zone in sorted(POWERCAP.glob("intel-rapl:*"))}
    found: list[EnergyCounter] = []
    refused: list[EnergyRefusal] = []
    for source, begin in zip(SOURCES, ("package", "dram"), strict=True):
        if zones := tuple(zone for zone, name in names.items() if name.startswith(begin)):
            try:
                found.append(RaplCounter(source, zones))
            except SensorError as error:
                refused.append(EnergyRefusal(source=source, method=METHOD, reason=str(error)))
    return found, refused


class RaplCounter:
    """RAPL's counters of one kind, added up over the processor packages (or their memory).

    A counter begins again at 0 after ``max_energy_range_uj`` microjoules (powercap in the kernel's
    documentation, admin-guide/pm), so a reading below the last one has wrapped around. Whether once or
    more often is unknown: a counter that was not read for as long as one round can take is refused.
    """

    method = METHOD
    poll_s = 0.0
    limit_w: float | None

    def __init__(self, source: str, zones: tuple[Path, ...]) -> None:
        self.source, self._zones = source, zones
        self._ranges_uj = [_number(zone / "max_energy_range_uj") for zone in zones]
        self._total_uj = 0
        self.resume()
        self.longest_gap_s = min(self._ranges_uj) / 1e6 / PACKAGE_LIMIT_W
        self.limit_w = PACKAGE_LIMIT_W * len(zones)
        self.name = "RAPL " + ", ".join(_zone_name(zone) for zone in zones)
        self._load = BackgroundLoad()

    def resume(self) -> None:
        """Begin to count here, however often the counter wrapped around since the last reading."""
        self._last_uj = [_number(zone / "energy_uj") for zone in self._zones]
        self._read_at_s = clock.now_s()

    def read_j(self) -> float:
        """Return joules counted since this object was made."""
        now_s = clock.now_s()
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
        """Return the fraction of all cores that other processes used since the last call."""
        return self._load.share()


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
