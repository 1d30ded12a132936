"""codecarbon: its model of CPU and memory, and its row of emissions.

It never supplies what a counter here is read for. Its row holds its own reading of the GPU's counter too,
which is a check on ours and no reading of its own.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
import threading
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil

from vlmnb.device import machine, nvml
from vlmnb.device.clock import is_cuda
from vlmnb.meters.readings import EnergyMethod, EnergyReading

JOULES_PER_KWH = 3.6e6
NO_PERIODIC_SAMPLING_S = 1e9


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep codecarbon quiet: it writes to its own handler, which importing it sets up."""
    logging.getLogger("codecarbon").disabled = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def tracker(device: str) -> Any:
    """Return a tracker for one window: the mean powers in its row run over all its tasks."""
    gpu = gpu_index(device)
    detect(gpu)
    return _new_tracker(gpu)


@contextlib.contextmanager
def naming_the_cpu() -> Iterator[None]:
    """Let codecarbon ask for the processor's name while the block does something else.

    The answer comes from a process that takes more than a second, and is kept for :func:`detect`.
    """
    with silence():
        from codecarbon.core.util import detect_cpu_model

    asking = threading.Thread(target=detect_cpu_model)
    asking.start()
    try:
        yield
    finally:
        asking.join()


@functools.cache
def detect(gpu: int | None) -> None:
    """Let codecarbon find the hardware and read its tables, which it keeps for later trackers."""
    with silence():
        found = _new_tracker(gpu)
        found.start_task()
        found.stop_task()


def _new_tracker(gpu: int | None) -> Any:
    from codecarbon import OfflineEmissionsTracker

    # Everything that could reach the network, a file or the scale of the result is fixed, so that a
    # codecarbon configuration in the user's home cannot change it. A CPU power set there does count.
    made: Any = OfflineEmissionsTracker(
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
    # Its periodic threads would sample within the window, and one that fires while it is being stopped starts
    # itself anew and is never stopped again.
    none = SimpleNamespace(start=lambda: None, stop=lambda: None, _stopped=True)
    made._scheduler = made._scheduler_monitor_power = none
    return made


def gpu_index(device: str) -> int | None:
    """Return NVML's index of a torch device; codecarbon 3.3.2 does not find a UUID that begins with GPU-."""
    if not is_cuda(device):
        return None
    uuids = [gpu.uuid for gpu in machine.describe().gpus]
    wanted = nvml.torch_uuid(device)
    return uuids.index(wanted) if wanted in uuids else None


def readings(tracker: Any, row: dict[str, Any]) -> Iterator[EnergyReading]:
    """Yield a reading for the CPU and one for memory, described by what the tracker knows of itself.

    Joules come from the energies of the row. Its powers are means over all tasks of a tracker, and its
    total adds modelled memory to whatever else there is; neither is used.
    """
    package = f"codecarbon {row['codecarbon_version']}"
    for hardware in tracker._hardware:
        kind = type(hardware).__name__
        part = getattr(hardware, "chip_part", kind).lower()
        if part not in ("cpu", "ram"):
            continue
        method: EnergyMethod = "model"
        detail = f"{kind} {part}"
        if kind == "CPU":
            method, detail = _describe_cpu(hardware, tracker._conf.get("force_cpu_power"))
        elif kind == "RAM":
            detail = f"constant {row['ram_power']:.3g} W, process mode"
        yield EnergyReading(
            source=part,
            method=method,
            energy_j=row[f"{part}_energy"] * JOULES_PER_KWH,
            detail=f"{package}, {detail}",
        )


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
