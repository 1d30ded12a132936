"""Describe this machine: its hardware and its software."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from vlmnb.device import gpus as all_gpus
from vlmnb.device.state import Gpu
from vlmnb.types import Frozen

PACKAGES = ("torch", "transformers", "codecarbon", "fvcore", "jiwer", "numpy", "datasets")
"""Packages whose version can change a number."""


class Machine(Frozen):
    """The machine a record was measured on.

    Attributes:
        slug: Short name for folders and tables, such as ``h200`` or ``amd-epyc-2c``.
        gpus: Every GPU of the machine, whatever ``CUDA_VISIBLE_DEVICES`` hides from torch: a process
            bound to one GPU must name the same machine as the one that launched it. If there are several
            kinds, the one that is measured comes first: of those that are not hidden, the largest.
        packages: Versions of ``PACKAGES``, as far as they are installed.
        virtualization: See :func:`virtualization`.
        fingerprint: Hash of the hardware alone; new packages or drivers leave it as it is.
    """

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
    """Plan from now on for another machine, to which this process sends its runs."""
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
    gpus = all_gpus.of_machine(memory_bytes)
    largest = max(all_gpus.visible(gpus) or gpus, key=lambda gpu: gpu.memory_bytes, default=None)
    gpus = tuple(sorted(gpus, key=lambda gpu: largest is not None and gpu.name != largest.name))
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
        packages=versions(*PACKAGES),
        virtualization=virtualization(),
        fingerprint=fingerprint_of(cpu_model, logical_cores, memory_bytes, names),
    )


def slug_of(cpu_model: str, logical_cores: int, gpu_names: tuple[str, ...] = ()) -> str:
    """Return a short name of the hardware, made of ``a-z``, ``0-9``, ``.`` and ``-``.

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
    """Return a short SHA-256 of the hardware; of several kinds of GPU the first counts as the measured one.

    Memory counts as the size of the modules that have it, the next of 16, 20, 24, 28, 32, 40 GiB and so on:
    what the operating system has of it is less, another amount at each boot, and may change meanwhile.
    """
    gib = memory_bytes / 2**30
    step = 2 ** max(math.floor(math.log2(gib)) - 2, 0)
    parts = [cpu_model, logical_cores, math.ceil(gib / step) * step, sorted(gpu_names)]
    parts += [gpu_names[0]] if len(set(gpu_names)) > 1 else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def _cpu_model() -> str:
    """Return the processor's marketing name; its architecture if the system has no name."""
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
    """Describe the virtualization: ``virtual machine`` with its kind if known, or none that is visible.

    x86 processors have a flag for a hypervisor. A hypervisor that hides it looks like bare metal; other
    architectures have no such flag, and the answer is empty: unknown.
    """
    try:
        flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return ""
    if flags is None:
        return ""
    if "hypervisor" not in flags[1].split():
        return "none that the processor reports"
    kind = []
    for name in ("sys_vendor", "product_name"):
        with contextlib.suppress(OSError):
            kind.append((dmi / name).read_text().strip())
    named = " ".join(filter(None, kind))
    return f"virtual machine ({named})" if named else "virtual machine"


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
