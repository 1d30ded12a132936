"""NVML's energy counter of an NVIDIA GPU."""

from __future__ import annotations

from vlmnb.device import nvml
from vlmnb.device.clock import is_cuda
from vlmnb.meters.counters.counter import Found, SensorError
from vlmnb.meters.readings import EnergyRefusal

METHOD = "nvml_counter"
SOURCES = ("gpu",)

CAP_TOLERANCE = 1.1
"""A GPU's mean power over seconds stays at its limit; a tenth more is an error of the sensor or of ours."""


def attach(device: str) -> Found:
    """Return the counter of the GPU that torch uses, if there is one of this GPU alone."""
    if not is_cuda(device):
        return [], []
    try:
        gpu = nvml.gpu_of(device)
        if gpu.is_divided():
            raise SensorError("the GPU is divided (MIG), and its energy counter counts all its parts")
        counter = NvmlCounter(gpu)
        counter.read_j()
    except (SensorError, nvml.NvmlUnavailable) as error:
        return [], [EnergyRefusal(source="gpu", method=METHOD, reason=str(error))]
    return [counter], []


class NvmlCounter:
    """The energy counter of one GPU, in steps of 1 mJ.

    We assume that it covers the whole board with its memory; NVML's reference says "for this GPU". The number
    has 64 bits and never wraps around; it falls only when the driver is loaded again.
    """

    source = "gpu"
    method = METHOD
    poll_s = 0.001

    def __init__(self, gpu: nvml.NvmlGpu) -> None:
        self._gpu = gpu
        self._last_mj = 0
        self.name = f"energy counter of {gpu.name} {gpu.uuid}, driver {gpu.driver}"
        cap_w = gpu.power_cap_w()
        self.limit_w = None if cap_w is None else cap_w * CAP_TOLERANCE

    def resume(self) -> None:
        """Begin to count here, even if the driver was loaded again since the last reading."""
        self._last_mj = 0

    def read_j(self) -> float:
        """Return joules since the driver was loaded."""
        try:
            now_mj = self._gpu.energy_mj()
        except nvml.NvmlUnavailable as error:
            raise SensorError(str(error)) from None
        before_mj, self._last_mj = self._last_mj, now_mj
        if now_mj < before_mj:
            raise SensorError("the energy counter fell: the driver was loaded again")
        return now_mj / 1000

    def busy(self) -> float | None:
        """Return NVML's utilization now: that of other processes, because this process waits meanwhile."""
        return self._gpu.utilization()
