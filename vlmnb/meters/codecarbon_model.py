"""codecarbon: its model of CPU and memory, and its row of emissions.

It never supplies what a counter here is read for. Its row holds its own reading of the GPU's counter too,
which is a check on ours and no reading of its own. What the user set for codecarbon (``.codecarbon.config``
in the home or the working folder, ``CODECARBON_...``) is not read: two runs of one key would differ.
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

from vlmnb.device import load, machine, nvml
from vlmnb.device.clock import is_cuda
from vlmnb.meters.readings import EnergyReading

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
    gpu = _gpu_index(device)
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
    with contextlib.suppress(nvml.NvmlUnavailable):
        nvml.initialized()  # codecarbon did it when it was imported, perhaps before this process was forked
    with silence():
        found = _new_tracker(gpu)
        found.start_task()
        found.stop_task()


def _new_tracker(gpu: int | None) -> Any:
    from codecarbon import OfflineEmissionsTracker, emissions_tracker
    from codecarbon.core import util
    from codecarbon.external import ram

    vars(emissions_tracker)["get_hierarchical_config"] = dict
    for module in (util, ram):  # in a SLURM job it would divide the processor's power by the job's cores
        vars(module)["SLURM_JOB_ID"] = None
    made: Any = OfflineEmissionsTracker(
        project_name="vlmnb", country_iso_code="USA", tracking_mode="process", output_methods=[],
        output_dir=tempfile.gettempdir(), measure_power_secs=NO_PERIODIC_SAMPLING_S,
        gpu_ids=None if gpu is None else [gpu], log_level="critical",
    )  # fmt: skip
    # Its periodic threads would sample within the window, and one that fires while it is being stopped starts
    # itself anew and is never stopped again.
    none = SimpleNamespace(start=lambda: None, stop=lambda: None, _stopped=True)
    made._scheduler = made._scheduler_monitor_power = none
    made._ensure_hardware_ready()
    for hardware in made._hardware:
        # Its own leaves out children that end before the window does.
        hardware._get_process_cpu_times = lambda: {0: load.used_s()}
    return made


def _gpu_index(device: str) -> int | None:
    """Return NVML's index of a torch device; codecarbon 3.3.2 does not find a UUID that begins with GPU-."""
    if not is_cuda(device):
        return None
    with contextlib.suppress(nvml.NvmlUnavailable):
        uuid = nvml.gpu_of(device).uuid
        return next((gpu.index for gpu in machine.describe().gpus if gpu.uuid == uuid), None)
    return None


def readings(tracker: Any, row: dict[str, Any]) -> Iterator[EnergyReading]:
    """Yield a reading for the CPU and one for memory, described by what the tracker knows of itself.

    Joules come from the energies of the row. Its powers are means over all tasks of a tracker, and its
    total adds modelled memory to whatever else there is; neither is used.
    """
    for hardware in tracker._hardware:
        kind = type(hardware).__name__
        part = getattr(hardware, "chip_part", kind).lower()
        if part not in ("cpu", "ram"):
            continue
        method, how = "model", f"{kind} {part}"
        if kind == "CPU":
            method, how = _describe_cpu(hardware)
        elif kind == "RAM":
            how = f"constant {row['ram_power']:.3g} W, process mode"
        detail, energy_j = (
            f"codecarbon {row['codecarbon_version']}, {how}",
            row[f"{part}_energy"] * JOULES_PER_KWH,
        )
        yield EnergyReading(source=part, method=method, energy_j=energy_j, detail=detail)


def _describe_cpu(hardware: Any) -> tuple[str, str]:
    mode = hardware._mode
    if mode in ("intel_rapl", "windows_emi", "intel_power_gadget"):
        return "rapl", f"{mode}, whole package, all processes"
    tdp_w, threads = hardware._tdp, psutil.cpu_count() or 1
    origin = ""
    if isinstance(tdp_w, int):  # one of its table is a float; else it takes 4 W a thread, times the sockets
        assumed = f"{tdp_w // threads} W per thread" if tdp_w % (4 * threads) == 0 else "codecarbon's default"
        origin = f" ({assumed}, the CPU is not in its table)"
    tracking = "half of TDP x time" if mode == "constant" else f"{hardware._tracking_mode} mode"
    return "model", f"{mode}, {tracking}, TDP {tdp_w:g} W{origin}"
