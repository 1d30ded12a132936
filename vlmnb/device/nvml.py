"""NVML's view of the one GPU that torch uses. Nothing else in the package that measures calls NVML.

Written from NVML's API reference (docs.nvidia.com/deploy/nvml-api); where a function does not say what it
does, the docstring here says what is assumed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from vlmnb.device.clock import is_cuda
from vlmnb.device.state import DeviceState

MHZ = 1_000_000
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
"""``nvmlPerfPolicyType_t``: what may hold clocks down. 4, low utilization, is no fault of anyone's."""


class NvmlUnavailable(Exception):
    """NVML cannot answer for this GPU; the message says why."""


class NvmlGpu:
    """One GPU.

    Args:
        nvml: The module ``pynvml``, initialized, or a stand-in.
        handle: NVML's handle of the device.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self.name = _text(nvml.nvmlDeviceGetName(handle))
        self.uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        self.driver = _text(nvml.nvmlSystemGetDriverVersion())

    def energy_mj(self) -> int:
        """Millijoules since the driver was loaded; Volta and later.

        Raises:
            NvmlUnavailable: The GPU has no such counter.
        """
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError as error:
            raise NvmlUnavailable(f"the energy counter cannot be read: {error}") from None

    def is_divided(self) -> bool:
        """Whether the GPU is divided into instances (MIG); its counter then counts all of them."""
        return bool(self._ask(lambda: self._nvml.nvmlDeviceGetMigMode(self._handle)[0]))

    def utilization(self) -> float | None:
        """Share of the last sampling period (1/6 s to 1 s by NVML's reference) in which a kernel ran."""
        rates = self._ask(lambda: self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)
        return None if rates is None else rates / 100

    def power_cap_w(self) -> float | None:
        """The limit in force, watts."""
        limit_mw = self._ask(lambda: self._nvml.nvmlDeviceGetEnforcedPowerLimit(self._handle))
        return None if limit_mw is None else limit_mw / 1000

    def state(self) -> DeviceState:
        """Clocks, power, temperature and throttle reasons now."""
        nvml, handle = self._nvml, self._handle
        sm_mhz = self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        memory_mhz = self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))
        power_mw = self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        reasons = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
        if reasons is None:  # the name before driver 535
            reasons = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        return DeviceState(
            sm_clock_hz=None if sm_mhz is None else sm_mhz * MHZ,
            memory_clock_hz=None if memory_mhz is None else memory_mhz * MHZ,
            power_w=None if power_mw is None else power_mw / 1000,
            power_cap_w=self.power_cap_w(),
            temperature_c=self._ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            throttle_reasons=tuple(name for bit, name in THROTTLE_REASONS.items() if (reasons or 0) & bit),
            gpu_processes=self._ask(lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(handle))),
        )

    def throttled_s(self) -> dict[str, float]:
        """Seconds since the driver was loaded in which clocks were held down, by cause.

        nvml.h gives ``violationTime`` in nanoseconds. A cause that the GPU does not count is left out.
        """
        found: dict[str, float] = {}
        for policy, name in VIOLATIONS.items():
            status = self._ask(functools.partial(self._violation, policy))
            if status is not None:
                found[name] = status.violationTime / 1e9
        return found

    def _violation(self, policy: int) -> Any:
        return self._nvml.nvmlDeviceGetViolationStatus(self._handle, policy)

    def _ask(self, question: Callable[[], Any]) -> Any:
        """An answer, or None where this GPU or this driver does not know."""
        try:
            return question()
        except (self._nvml.NVMLError, AttributeError):
            return None


@functools.cache
def gpu_of(device: str) -> NvmlGpu:
    """The GPU behind a torch device, found by its UUID.

    By UUID because torch counts only the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves, and NVML all of them.
    torch tells the UUID without NVML's prefix ``GPU-``. NVML stays initialized as long as the process.

    Raises:
        NvmlUnavailable: There is no GPU at ``device``, or NVML does not know it.
    """
    if not is_cuda(device):
        raise NvmlUnavailable(f"{device} is no GPU")
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # a missing library and a broken driver fail in many ways
        raise NvmlUnavailable(f"NVML cannot be used: {error}") from None
    import torch

    uuid = "GPU-" + str(torch.cuda.get_device_properties(torch.device(device)).uuid).removeprefix("GPU-")
    try:
        return NvmlGpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
    except pynvml.NVMLError as error:
        raise NvmlUnavailable(f"NVML does not know the GPU {uuid}: {error}") from None


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
