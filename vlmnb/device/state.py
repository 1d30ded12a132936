"""Types: a GPU, the state of a device at a moment, and the conditions of a measurement."""

from __future__ import annotations

from vlmnb.types import Frozen


class Gpu(Frozen):
    """One GPU, or one instance of a divided GPU, as NVML or torch describes it.

    Attributes:
        memory_bytes: Its memory; that of the machine if the GPU shares it.
        driver: Version of the driver; empty if torch alone knows the GPU.
        power_limit_w: Enforced power limit, None if the driver does not know it.
        index: Number of the GPU in the order of the PCI bus.
    """

    name: str
    uuid: str
    memory_bytes: int
    driver: str = ""
    power_limit_w: float | None = None
    index: int | None = None


class DeviceState(Frozen):
    """Clocks, power and temperature at one moment; None for what this machine does not report.

    Attributes:
        sm_clock_hz: Clock of the GPU's multiprocessors.
        memory_clock_hz: Clock of the GPU's memory.
        power_w: The GPU's power by NVML: on most GPUs since 2020 the mean of the last second, on others
            that of the moment.
        power_cap_w: The limit the GPU's power is held to.
        temperature_c: Of the GPU, in degrees Celsius.
        throttle_reasons: Why the GPU's clocks are not at their highest, in NVML's words.
        gpu_processes: Processes that hold a context on the GPU, this one included.
        cpu_clock_hz: Mean clock of (at most eight of) the cores this process may use.
        cpu_governor: Frequency governor of the first of those cores.
    """

    sm_clock_hz: int | None = None
    memory_clock_hz: int | None = None
    power_w: float | None = None
    power_cap_w: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    gpu_processes: int | None = None
    cpu_clock_hz: int | None = None
    cpu_governor: str = ""


class Conditions(Frozen):
    """The conditions of a measurement.

    Attributes:
        start: State of the devices just before the window.
        end: State of the devices right after the work, before the GPU's clocks fall.
        throttled_s: Seconds of the window in which the GPU's clocks were held down, by cause; causes without
            any are left out.
        cpu_limit: CPU time that the control group grants, in cores; None without a limit.
        cpus: Logical cores this process may run on.
        other_load: Background load: fraction of all cores, 0 to 1, that other processes used.
        contaminated: Whether that load is too high for the measurement to be quoted.
    """

    start: DeviceState
    end: DeviceState
    throttled_s: dict[str, float] = {}
    cpu_limit: float | None = None
    cpus: int | None = None
    other_load: float
    contaminated: bool
