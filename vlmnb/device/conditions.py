"""Note the conditions of a measurement: clocks, power limits, throttling, CPU limits, background load."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from vlmnb.device import nvml
from vlmnb.device.clock import is_cuda
from vlmnb.device.load import BackgroundLoad, is_high
from vlmnb.device.state import Conditions, DeviceState

CPU_FOLDER = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")

MOST_CORES_ASKED = 8
"""Clocks are read of this many cores at most: each can take the operating system 10 ms."""


class ConditionsMeter:
    """Conditions of the work between :meth:`start` and :meth:`stop`; neither runs inside the timed work."""

    def __init__(self, device: str) -> None:
        self._load = BackgroundLoad()
        self._gpu: nvml.NvmlGpu | None = None
        if is_cuda(device):
            with contextlib.suppress(nvml.NvmlUnavailable):
                self._gpu = nvml.gpu_of(device)

    def start(self) -> None:
        """Note the state before the work."""
        self._throttled_s = self._gpu.throttled_s() if self._gpu else {}
        self._start = self._state()
        self._load.start()

    def stop(self) -> None:
        """Note the state right after the work, while the GPU's clocks are still those of the work."""
        self._end = self._state()
        after = self._gpu.throttled_s() if self._gpu else {}
        self._throttled_s = {
            cause: after[cause] - before
            for cause, before in self._throttled_s.items()
            if after.get(cause, before) > before
        }

    def conditions(self) -> Conditions:
        """Return the conditions; waits a moment if the window is too short to measure the load."""
        share = self._load.share()
        return Conditions(
            start=self._start,
            end=self._end,
            throttled_s=self._throttled_s,
            cpu_limit=cpu_limit(),
            cpus=len(_own_cpus()) or None,
            other_load=share,
            contaminated=is_high(share),
        )

    def _state(self) -> DeviceState:
        state = self._gpu.state() if self._gpu else DeviceState()
        return state.model_copy(update={"cpu_clock_hz": cpu_clock_hz(), "cpu_governor": cpu_governor()})


def limits(device: str) -> str:
    """Return what the system lets a device do: this process's cores, their limit and governor, its power."""
    power_w = None
    if is_cuda(device):
        with contextlib.suppress(nvml.NvmlUnavailable):
            power_w = nvml.gpu_of(device).power_cap_w()
    return f"{sorted(_own_cpus())} {cpu_limit()} {cpu_governor()} {power_w}"


def cpu_clock_hz(folder: Path = CPU_FOLDER, cpuinfo: Path = CPUINFO) -> int | None:
    """Return the mean clock of the cores this process may use, from cpufreq, else /proc/cpuinfo, else None.

    A virtual machine often reports the nominal clock of its host, not the real one.
    """
    found = []
    for cpu in sorted(_own_cpus())[:MOST_CORES_ASKED]:
        with contextlib.suppress(OSError, ValueError):
            found.append(int((folder / f"cpu{cpu}/cpufreq/scaling_cur_freq").read_text()) * 1000)
    if not found:
        with contextlib.suppress(OSError):
            named = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", cpuinfo.read_text(), re.MULTILINE)
            found = [round(float(mhz) * nvml.MHZ) for mhz in named]
    return round(sum(found) / len(found)) if found else None


def cpu_governor(folder: Path = CPU_FOLDER) -> str:
    """Return the frequency governor of the first core this process may use; empty if there is none."""
    for cpu in sorted(_own_cpus())[:1]:
        with contextlib.suppress(OSError):
            return (folder / f"cpu{cpu}/cpufreq/scaling_governor").read_text().strip()
    return ""


def cpu_limit(own: Path = OWN_CGROUP, cgroups: Path = CGROUPS) -> float | None:
    """Return the CPU time that the control groups of this process grant, in cores; None without a limit.

    The tightest limit from the process's own group up to the root: ``cpu.max`` of version 2 (quota and
    period in microseconds), ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` of version 1.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / controllers if controllers else cgroups
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            limits.append(_quota(folder))
    return min((limit for limit in limits if limit is not None), default=None)


def _quota(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota_us < 0 else quota_us / int((folder / "cpu.cfs_period_us").read_text())
    return None


def _own_cpus() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
