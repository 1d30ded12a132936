"""Windows of time, energy and memory around a piece of work.

Energy comes from codecarbon, one reading for each source it has, with the way it was obtained: a counter
in the hardware, or a model. Readings of different methods are never added up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from vlmnb import machine
from vlmnb.record import EnergyMethod, EnergyReading, MemoryUsage

JOULES_PER_KWH = 3.6e6
NO_PERIODIC_SAMPLING_S = 1e9


def clock() -> float:
    """Seconds on the clock that every latency is taken with."""
    return time.perf_counter()


def synchronize(device: str) -> None:
    """Wait until ``device`` has done what it was given; a CPU always has."""
    if _is_cuda(device):
        import torch

        torch.cuda.synchronize(device)


class EnergyMeter:
    """Energy of the work inside a ``with`` block.

    ``readings``, ``duration_s`` and ``emissions`` (codecarbon's row: kWh, kg CO2 of the US grid, and what
    it found of the machine) are filled in when the block ends, also by an exception.

    What is counted:

    * ``gpu``: difference of NVML's energy counter of the GPU in use, whoever used it. The counter moves
      every 20 to 100 ms, so a window should last seconds.
    * ``cpu``: where RAPL can be read, its counter of the whole processor package, other processes
      included. Elsewhere a model: CPU time of this process and its children x TDP / cores. CPU time
      advances in ticks of 10 ms, and the TDP is that of the whole processor even where a virtual machine
      has a part of it. A model, so compare cells of one machine with it, nothing else.
    * ``ram``: codecarbon's constant (5 W per memory module it supposes) x time. It says nothing of the work.

    Detecting the hardware takes a second or two and happens before the window opens. No thread runs during
    the window: codecarbon's own sampling would cost time there and is of no use for counters and CPU
    times. Opening and closing cost about 3 ms of CPU time that the readings include and ``duration_s``
    does not. Nothing is sent anywhere or written to a file, and other processes may measure as well.

    Args:
        device: ``cpu`` or ``cuda`` (``cuda:1``).
        tracker_factory: Makes a tracker with ``start_task`` and ``stop_task`` for a device.
        clock: Wall clock in seconds.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        tracker_factory: Callable[[str], Any] | None = None,
        clock: Callable[[], float] = clock,
    ) -> None:
        self._device = device
        self._factory = tracker_factory or _tracker
        self._clock = clock
        self.readings: tuple[EnergyReading, ...] = ()
        self.duration_s = 0.0
        self.emissions: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with _silence():
            self._tracker = self._factory(self._device)
            synchronize(self._device)
            self._tracker.start_task()
        self._start_s = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error of the work itself a device may be past answering; that error is the one to see.
        with contextlib.suppress(Exception) if error is not None else contextlib.nullcontext():
            synchronize(self._device)
        self.duration_s = self._clock() - self._start_s
        with _silence(), contextlib.suppress(Exception) if error is not None else contextlib.nullcontext():
            data = self._tracker.stop_task()
            self.emissions = dataclasses.asdict(data)
            self.readings = tuple(_readings(self._tracker, self.emissions))


class MemoryMeter:
    """Peak memory of the work inside a ``with`` block; ``usage`` is filled in when the block ends.

    On a GPU: what torch's allocator handed out, without the CUDA context and without cached blocks. On a
    CPU: resident memory of this process, everything it has loaded included; the kernel keeps the peak and
    can be told to forget an earlier one (``clear_refs`` in the manual page proc(5); Linux only).

    Open it inside the energy window (``with EnergyMeter(d) as energy, MemoryMeter(d) as memory``): what
    codecarbon loads when it is first used would count as a peak otherwise.

    Args:
        device: ``cpu`` or ``cuda`` (``cuda:1``).
        process: Folder of this process in the proc file system.
    """

    def __init__(self, device: str = "cpu", *, process: Path = Path("/proc/self")) -> None:
        self._device = device
        self._process = process
        self.usage = MemoryUsage(peak_bytes=None, baseline_bytes=None, method="the window is not closed yet")

    def __enter__(self) -> Self:
        self._baseline_bytes, self._failure = None, ""
        if _is_cuda(self._device):
            import torch

            synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._baseline_bytes = torch.cuda.memory_allocated(self._device)
            return self
        try:
            self._baseline_bytes = self._resident("VmRSS")
            (self._process / "clear_refs").write_text("5")
        except (OSError, ValueError) as error:
            self._failure = f"no peak of resident memory here: {type(error).__name__}: {error}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        peak_bytes, method = None, self._failure
        if _is_cuda(self._device):
            import torch

            peak_bytes = torch.cuda.max_memory_allocated(self._device)
            method = "torch.cuda.max_memory_allocated"
        elif not self._failure:
            peak_bytes = self._resident("VmHWM")
            method = "resident memory of the process (VmHWM after clear_refs)"
        self.usage = MemoryUsage(peak_bytes=peak_bytes, baseline_bytes=self._baseline_bytes, method=method)

    def _resident(self, field: str) -> int:
        """A field of ``/proc/self/status`` that is given in kB, in bytes."""
        for line in (self._process / "status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise ValueError(f"{self._process / 'status'} has no {field}")


class _NoSampling:
    """Stands in for codecarbon's periodic threads.

    They would sample within the window, and one that fires while it is being stopped starts itself anew
    and is never stopped again.
    """

    _stopped = True

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep codecarbon quiet: it writes to its own handler, which importing it sets up."""
    logging.getLogger("codecarbon").disabled = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _is_cuda(device: str) -> bool:
    return device.split(":")[0] == "cuda"


def _tracker(device: str) -> Any:
    """A codecarbon tracker of its own for one window, on hardware that has been detected before.

    A tracker of its own because the mean powers in its row run over all its tasks.
    """
    gpu = _gpu_index(device)
    _detect(gpu)
    return _new_tracker(gpu)


@functools.cache
def _detect(gpu: int | None) -> None:
    """Let codecarbon find the hardware and read its tables, which it keeps for later trackers."""
    tracker = _new_tracker(gpu)
    tracker.start_task()
    tracker.stop_task()


def _new_tracker(gpu: int | None) -> Any:
    from codecarbon import OfflineEmissionsTracker

    # Everything that could reach the network, a file or the scale of the result is fixed, so that a
    # codecarbon configuration in the user's home cannot change it. A CPU power set there does count.
    tracker: Any = OfflineEmissionsTracker(
        project_name="vlmnb",
        country_iso_code="USA",
        country_2letter_iso_code=None,
        region=None,
        cloud_provider=None,
        cloud_region=None,
        electricitymaps_api_token=None,
        emissions_endpoint=None,
        output_methods=[],
        output_handlers=[],
        output_dir=tempfile.gettempdir(),
        tracking_mode="process",
        measure_power_secs=NO_PERIODIC_SAMPLING_S,
        pue=1.0,
        wue=0.0,
        gpu_ids=None if gpu is None else [gpu],
        allow_multiple_runs=True,
        log_level="critical",
    )
    tracker._scheduler = tracker._scheduler_monitor_power = _NoSampling()
    return tracker


def _gpu_index(device: str) -> int | None:
    """NVML's index of a torch device: torch counts only the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves.

    The index rather than the UUID, which codecarbon 3.3.2 does not find when it begins with ``GPU-``.
    """
    if not _is_cuda(device):
        return None
    import torch

    wanted = str(torch.cuda.get_device_properties(torch.device(device)).uuid).removeprefix("GPU-")
    uuids = [gpu.uuid.removeprefix("GPU-") for gpu in machine.describe().gpus]
    return uuids.index(wanted) if wanted in uuids else None


def _readings(tracker: Any, row: dict[str, Any]) -> Iterator[EnergyReading]:
    """One reading per kind of hardware that the tracker follows, described by what it says of itself."""
    package = f"codecarbon {row['codecarbon_version']}"
    for hardware in tracker._hardware:
        kind = type(hardware).__name__
        part = getattr(hardware, "chip_part", kind).lower()
        if part not in ("gpu", "cpu", "ram"):
            continue
        method: EnergyMethod = "model"
        detail = f"{kind} {part}"
        if kind == "GPU":
            method, detail = _describe_gpu(hardware)
        elif kind == "CPU":
            method, detail = _describe_cpu(hardware, tracker._conf.get("force_cpu_power"))
        elif kind == "RAM":
            detail = f"constant {row['ram_power']:.3g} W, process mode"
        yield EnergyReading(
            source=part,
            method=method,
            energy_j=row[f"{part}_energy"] * JOULES_PER_KWH,
            detail=f"{package}, {detail}",
        )


def _describe_gpu(hardware: Any) -> tuple[EnergyMethod, str]:
    devices = [d for d in hardware.devices.devices if d.gpu_index in hardware.gpu_ids]
    which = ", ".join(f"GPU {d.gpu_index} {d.get_static_details()['name']}" for d in devices)
    if devices and all(d._has_counter and not d._use_power_fallback for d in devices):
        return "nvml_counter", f"energy counter of {which}"
    return "model", f"no energy counter, power at the end of the window x its length, {which or 'no GPU'}"


def _describe_cpu(hardware: Any, forced_tdp_w: float | None) -> tuple[EnergyMethod, str]:
    mode = hardware._mode
    if mode in ("intel_rapl", "windows_emi", "intel_power_gadget"):
        return "rapl", f"{mode}, whole package, all processes"
    tdp_w, threads = hardware._tdp, psutil.cpu_count() or 1
    origin = ""
    if forced_tdp_w:
        origin = " (as configured)"
    elif hardware._is_generic_tdp:
        origin = " (codecarbon's default, the CPU is not in its table)"
    elif isinstance(tdp_w, int) and tdp_w % (4 * threads) == 0:
        # A TDP from codecarbon's table is a float; without one it takes 4 W a thread, times the sockets.
        origin = f" ({tdp_w // threads} W per thread, the CPU is not in codecarbon's table)"
    tracking = "half of TDP x time" if mode == "constant" else f"{hardware._tracking_mode} mode"
    return "model", f"{mode}, {tracking}, TDP {tdp_w:g} W{origin}"
