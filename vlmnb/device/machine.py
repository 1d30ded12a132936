"""Which machine this is: its hardware, its software, and how busy others keep it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

PACKAGES = ("torch", "transformers", "codecarbon", "fvcore", "jiwer", "numpy", "datasets")
"""Packages whose version can change a figure."""

SHORTEST_LOAD_WINDOW_S = 0.2
"""CPU times are counted in ticks of 10 ms; a shorter window would be mostly rounding."""

CONTAMINATED_SHARE = 0.05
"""Load of others above which a window is not to be quoted. Work that uses every core gives way to others: a
share x of the cores makes it 1/(1 - x) as long, and 5 % is what the verdict on latencies calls noisy."""


class Gpu(BaseModel):
    """One GPU as NVML describes it.

    Attributes:
        memory_bytes: Its memory; the machine's own where the GPU shares it.
        power_limit_w: Enforced power limit, None where the driver does not tell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    uuid: str
    memory_bytes: int
    driver: str
    power_limit_w: float | None


class Machine(BaseModel):
    """The machine a record was measured on.

    Attributes:
        slug: Short name for folders and tables, such as ``h200`` or ``amd-epyc-2c``.
        gpus: Every GPU of the machine, whatever ``CUDA_VISIBLE_DEVICES`` hides from torch: a process
            bound to one GPU must name the same machine as the one that launched it.
        packages: Versions of ``PACKAGES``, as far as they are installed.
        virtualization: See :func:`virtualization`; empty in records that did not look.
        fingerprint: Hash of the hardware alone; new packages or drivers leave it as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slug: str
    cpu_model: str
    physical_cores: int
    logical_cores: int
    memory_bytes: int
    gpus: tuple[Gpu, ...]
    os: str
    python: str
    packages: dict[str, str]
    virtualization: str = ""
    fingerprint: str


_assumed: list[Machine] = []


def assume(other: Machine) -> None:
    """Plan from now on as if this process ran on another machine, to which it sends its runs."""
    _assumed[:] = [other]
    describe.cache_clear()


@functools.lru_cache(maxsize=1)
def describe() -> Machine:
    """Describe this machine. Reads files and NVML, starts no GPU context, and answers from memory later."""
    if _assumed:
        return _assumed[0]
    cpu_model = _cpu_model()
    logical_cores = psutil.cpu_count(logical=True) or 1
    memory_bytes = int(psutil.virtual_memory().total)
    gpus = _gpus(memory_bytes)
    names = tuple(gpu.name for gpu in gpus)
    return Machine(
        slug=slug_of(cpu_model, logical_cores, names),
        cpu_model=cpu_model,
        physical_cores=psutil.cpu_count(logical=False) or logical_cores,
        logical_cores=logical_cores,
        memory_bytes=memory_bytes,
        gpus=gpus,
        os=platform.platform(),
        python=platform.python_version(),
        packages=_versions(),
        virtualization=virtualization(),
        fingerprint=fingerprint_of(cpu_model, logical_cores, memory_bytes, names),
    )


def slug_of(cpu_model: str, logical_cores: int, gpu_names: tuple[str, ...] = ()) -> str:
    """A short name of the hardware, of ``a-z``, ``0-9``, ``.`` and ``-``.

    >>> slug_of("AMD EPYC 7763 64-Core Processor", 8)
    'amd-epyc-7763-8c'
    >>> slug_of("AMD EPYC", 16, ("NVIDIA H200",))
    'h200'
    """
    if gpu_names:
        return _slug(re.sub(r"\b(nvidia|geforce|tesla)\b", " ", gpu_names[0].lower())) or "gpu"
    model = re.sub(r"\((r|tm|c)\)", " ", cpu_model.lower())
    model = re.sub(r"@.*|\b\d+-core\b|\b(processor|cpu|with .* graphics)\b", " ", model)
    return f"{_slug(model) or 'cpu'}-{logical_cores}c"


def fingerprint_of(cpu_model: str, logical_cores: int, memory_bytes: int, gpu_names: tuple[str, ...]) -> str:
    """Short SHA-256 of the hardware.

    Memory counts in whole GiB, because what the kernel keeps for itself differs from boot to boot.
    """
    parts = [cpu_model, logical_cores, round(memory_bytes / 2**30), sorted(gpu_names)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def contaminated(share: float) -> bool:
    """Whether others used so much of the machine (0 to 1) that a window has to be repeated."""
    return share > CONTAMINATED_SHARE


def _busy_and_total() -> tuple[float, float]:
    times = psutil.cpu_times()._asdict()
    # Linux counts the time of guests twice: it is part of user and nice as well.
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return total - times["idle"] - times.get("iowait", 0.0), total


def _own_cpu_s() -> float:
    """CPU time of this process and of the children it has waited for, such as a tool it called."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class NeighbourLoad:
    """The load of others between two calls of :meth:`share`.

    Others are the other processes of this machine and, on a virtual machine, the time its host stole.

    Args:
        busy_and_total: Seconds that all cores together were busy, and seconds in all, since boot.
        own: CPU seconds this process and its finished children have used.
        clock: Wall clock in seconds.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        busy_and_total: Callable[[], tuple[float, float]] = _busy_and_total,
        own: Callable[[], float] = _own_cpu_s,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._busy_and_total = busy_and_total
        self._own = own
        self._clock = clock
        self._sleep = sleep
        self._last: tuple[float, float, float, float] | None = None

    def start(self) -> None:
        """Begin a window here, without waiting."""
        self._last = self.now()

    def share(self) -> float:
        """Fraction of all cores (0 to 1) that others used since the last call.

        The first call, and one that follows too soon, waits until ``SHORTEST_LOAD_WINDOW_S`` has passed.
        """
        if self._last is None:
            self._last = self.now()
        waited = self._clock() - self._last[0]
        if waited < SHORTEST_LOAD_WINDOW_S:
            self._sleep(SHORTEST_LOAD_WINDOW_S - waited)
        before, self._last = self._last, self.now()
        return _others(before, self._last)

    def now(self) -> tuple[float, float, float, float]:
        """Wall clock, busy and total seconds of all cores, and seconds of this process."""
        return (self._clock(), *self._busy_and_total(), self._own())


class LoadMarks:
    """The load of other processes between marks, for pieces of work that follow one another.

    Setting a mark reads two counters and waits for nothing, so it may stand between timed batches.

    Args:
        load: Tells times; only its counters are used.
    """

    def __init__(self, load: NeighbourLoad | None = None) -> None:
        self._load = load or NeighbourLoad()
        self._marks = [self._load.now()]

    def mark(self) -> None:
        """End one piece and begin the next."""
        self._marks.append(self._load.now())

    def shares(self) -> list[float | None]:
        """Share of all cores, 0 to 1, that others used in each piece; None where it was too short to tell."""
        pairs = itertools.pairwise(self._marks)
        return [
            _others(before, after) if after[0] - before[0] >= SHORTEST_LOAD_WINDOW_S else None
            for before, after in pairs
        ]


def _others(before: tuple[float, ...], after: tuple[float, ...]) -> float:
    """Share of all cores that others used between two readings of wall clock, busy, total and own time."""
    _, busy, total, own = (now - then for now, then in zip(after, before, strict=True))
    return min(max((busy - own) / total, 0.0), 1.0) if total > 0 else 0.0


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def _cpu_model() -> str:
    """The processor's marketing name; its architecture where the system has none to tell."""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    if platform.system() == "Darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=5
            ).stdout.strip()
    return platform.processor() or platform.machine() or "unknown"


def virtualization(cpuinfo: Path = Path("/proc/cpuinfo"), dmi: Path = Path("/sys/class/dmi/id")) -> str:
    """Whether the machine is a virtual one: ``virtual machine``, with its kind where
    that is told, or that the processor tells of none.

    An x86 processor says by a flag that a hypervisor is beneath. One that hides it cannot be told from bare
    metal, and other architectures have no such flag: then the answer is empty, not known.
    """
    try:
        flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return ""
    if flags is None:
        return ""
    if "hypervisor" not in flags[1].split():
        return "none that the processor tells of"
    kind = []
    for name in ("sys_vendor", "product_name"):
        with contextlib.suppress(OSError):
            kind.append((dmi / name).read_text().strip())
    told = " ".join(filter(None, kind))
    return f"virtual machine ({told})" if told else "virtual machine"


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _gpus(shared_memory_bytes: int) -> tuple[Gpu, ...]:
    """GPUs that NVML reports; none where there is no driver, or one that cannot be asked."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # a missing or broken driver means a machine without usable GPUs, never a failure
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return tuple(_gpu(pynvml, handle, shared_memory_bytes) for handle in handles)
    except pynvml.NVMLError:
        return ()
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _gpu(nvml: Any, handle: Any, shared_memory_bytes: int) -> Gpu:
    memory_bytes, power_limit_w = shared_memory_bytes, None
    with contextlib.suppress(nvml.NVMLError):
        memory_bytes = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    with contextlib.suppress(nvml.NVMLError):
        power_limit_w = nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
    return Gpu(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        memory_bytes=memory_bytes,
        driver=_text(nvml.nvmlSystemGetDriverVersion()),
        power_limit_w=power_limit_w,
    )


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
