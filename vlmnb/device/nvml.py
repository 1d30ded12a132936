"""Ask NVML about GPUs; nothing else in the package calls NVML.

Written from NVML's API reference (docs.nvidia.com/deploy/nvml-api). Where the reference leaves something
open, the docstring here says what we assume.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from vlmnb.device.state import DeviceState, Gpu

MHZ = 1_000_000
WHOLE, PART = "GPU-", "MIG-"
"""How the UUIDs of a GPU and of an instance of a divided GPU begin."""

THROTTLE_REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Bits of ``nvmlDeviceGetCurrentClocksEventReasons`` (nvml.h, ``nvmlClocksEventReason*``)."""

VIOLATIONS = {0: "power", 1: "thermal", 2: "sync_boost", 3: "board_limit", 5: "reliability"}
"""``nvmlPerfPolicyType_t``: what can hold clocks down; 4 is low utilization, which is not throttling."""


class NvmlUnavailable(Exception):
    """NVML cannot answer for this GPU; the message says why."""


class NvmlGpu:
    """One GPU, by the initialized module ``pynvml`` and NVML's handle of the device."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self.name = _text(nvml.nvmlDeviceGetName(handle))
        self.uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        self.driver = _text(nvml.nvmlSystemGetDriverVersion())

    def describe(self, index: int, shared_memory_bytes: int) -> Gpu:
        """Describe the GPU; without memory of its own it has that of the machine."""
        memory = self._ask("nvmlDeviceGetMemoryInfo")
        memory_bytes = int(memory.total) if memory else shared_memory_bytes
        name = self.name
        if self.uuid.startswith(PART) and "MIG" not in name:  # older drivers name the whole GPU
            name += f" MIG {memory_bytes / 1e9:.0f}gb"
        return Gpu(
            name=name, uuid=self.uuid, memory_bytes=memory_bytes, driver=self.driver,
            power_limit_w=self.power_cap_w(), index=index,
        )  # fmt: skip

    def parts(self) -> list[NvmlGpu]:
        """Return the instances of a divided GPU (MIG), which are what torch can use; else the GPU itself."""
        if not self.is_divided():
            return [self]
        count = self._ask("nvmlDeviceGetMaxMigDeviceCount") or 0
        handles = (self._ask("nvmlDeviceGetMigDeviceHandleByIndex", i) for i in range(count))
        return [NvmlGpu(self._nvml, handle) for handle in handles if handle is not None]

    def energy_mj(self) -> int:
        """Return millijoules since the driver was loaded; Volta and later.

        Raises:
            NvmlUnavailable: The GPU has no such counter.
        """
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError as error:
            raise NvmlUnavailable(f"the energy counter cannot be read: {error}") from None

    def is_divided(self) -> bool:
        """Return whether the GPU is divided (MIG) or an instance of one that is; its counter counts all."""
        mode = self._ask("nvmlDeviceGetMigMode")
        return self.uuid.startswith(PART) or bool(mode and mode[0])

    def utilization(self) -> float | None:
        """Return the fraction of the last sampling period (1/6 s to 1 s) in which a CUDA kernel ran."""
        rates = self._ask("nvmlDeviceGetUtilizationRates")
        return None if rates is None else rates.gpu / 100

    def power_cap_w(self) -> float | None:
        """Return the power limit in force, in watts."""
        return self._ask_w("nvmlDeviceGetEnforcedPowerLimit")

    def state(self) -> DeviceState:
        """Return clocks, power, temperature and throttle reasons now."""
        nvml, processes = self._nvml, self._ask("nvmlDeviceGetComputeRunningProcesses")
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:  # the name before driver 535
            reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return DeviceState(
            sm_clock_hz=self._clock_hz(nvml.NVML_CLOCK_SM),
            memory_clock_hz=self._clock_hz(nvml.NVML_CLOCK_MEM),
            power_w=self._ask_w("nvmlDeviceGetPowerUsage"),
            power_cap_w=self.power_cap_w(),
            temperature_c=self._ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            throttle_reasons=tuple(name for bit, name in THROTTLE_REASONS.items() if (reasons or 0) & bit),
            gpu_processes=None if processes is None else len(processes),
        )

    def throttled_s(self) -> dict[str, float]:
        """Return the seconds since the driver was loaded in which clocks were held down, by cause.

        ``violationTime`` is in nanoseconds (nvml.h). A cause that the GPU does not count is left out.
        """
        found = {name: self._ask("nvmlDeviceGetViolationStatus", n) for n, name in VIOLATIONS.items()}
        return {name: status.violationTime / 1e9 for name, status in found.items() if status is not None}

    def _ask(self, question: str, *arguments: Any) -> Any:
        """Return NVML's answer, or None if this GPU or this driver has none."""
        try:
            return getattr(self._nvml, question)(self._handle, *arguments)
        except (self._nvml.NVMLError, AttributeError):
            return None

    def _ask_w(self, question: str) -> float | None:
        milliwatts = self._ask(question)
        return None if milliwatts is None else milliwatts / 1000

    def _clock_hz(self, which: int) -> int | None:
        mhz = self._ask("nvmlDeviceGetClockInfo", which)
        return None if mhz is None else mhz * MHZ


def initialized() -> Any:
    """Return NVML's module, ready to be asked.

    Raises:
        NvmlUnavailable: There is none, or no driver that works.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # a missing library and a broken driver fail in many ways
        raise NvmlUnavailable(f"NVML cannot be used: {error}") from None
    return pynvml


def forget() -> None:
    """Shut NVML down, however often libraries have initialized it: it is not to be shared with a fork."""
    with contextlib.suppress(Exception):  # the last is one too many
        import pynvml

        for _ in range(100):
            pynvml.nvmlShutdown()


@functools.cache
def gpu_of(device: str) -> NvmlGpu:
    """Return the GPU behind a torch device, found by its UUID. NVML stays initialized.

    Indices differ: torch counts only the GPUs in ``CUDA_VISIBLE_DEVICES``, NVML all of them.

    Raises:
        NvmlUnavailable: NVML does not know it.
    """
    pynvml = initialized()
    import torch

    uuid = str(torch.cuda.get_device_properties(torch.device(device)).uuid).removeprefix(WHOLE)
    for prefix in (WHOLE, PART):  # torch leaves the prefix out
        with contextlib.suppress(pynvml.NVMLError):
            return NvmlGpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(prefix + uuid))
    raise NvmlUnavailable(f"NVML does not know the GPU {WHOLE}{uuid}")


def all_gpus(shared_memory_bytes: int) -> tuple[Gpu, ...]:
    """Describe every GPU of the machine, whose memory is given.

    Raises:
        NvmlUnavailable: NVML cannot be used, or cannot describe a GPU.
    """
    pynvml = initialized()
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        whole = [NvmlGpu(pynvml, handle) for handle in handles]
        return tuple(
            part.describe(i, shared_memory_bytes) for i, gpu in enumerate(whole) for part in gpu.parts()
        )
    except pynvml.NVMLError as error:
        raise NvmlUnavailable(str(error)) from None
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
