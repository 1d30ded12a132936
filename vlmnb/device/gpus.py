"""The GPUs of this machine, by NVML or else by torch, and those that this process may use."""

from __future__ import annotations

import contextlib
import glob
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from vlmnb.device import nvml
from vlmnb.device.state import Gpu

SIGNS = ("/dev/nvidia[0-9]*", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/dxg", "/dev/kfd")
"""Files that show a GPU: NVIDIA's, Jetson's, that of Windows' Linux, AMD's."""

VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
HIP, ROCR = "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
"""The same for AMD: the driver hides by ``ROCR``, of the rest HIP by ``HIP``, or else by ``VISIBLE``."""


def of_machine(memory_bytes: int) -> tuple[Gpu, ...]:
    """Describe every GPU of this machine, which has so much memory, whatever ``CUDA_VISIBLE_DEVICES`` hides.

    Where NVML cannot be used (in some containers, on Jetson, with GPUs of AMD), torch is asked; if a file
    shows a GPU, in a process of its own: this one may be bound to one GPU, or is not to load torch.
    """
    with contextlib.suppress(nvml.NvmlUnavailable):
        return nvml.all_gpus(memory_bytes)
    if not any(map(glob.glob, SIGNS)):
        return of_torch(memory_bytes) if "torch" in sys.modules else ()
    hiding = (VISIBLE, HIP, ROCR)
    environment = {name: value for name, value in os.environ.items() if name not in hiding}
    environment[ORDER] = "PCI_BUS_ID"
    command = [sys.executable, "-m", __name__, str(memory_bytes)]
    with contextlib.suppress(OSError, subprocess.SubprocessError, PackageNotFoundError):
        if not version("torch").endswith("+cpu"):
            said = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120)
            return tuple(map(Gpu.model_validate_json, said.stdout.splitlines()))
    return ()


def of_torch(memory_bytes: int) -> tuple[Gpu, ...]:
    """Describe the GPUs that torch sees in this process."""
    import torch

    found = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        gpu = Gpu(name=torch.cuda.get_device_name(i), uuid=f"GPU-{i}", memory_bytes=memory_bytes, index=i)
        with contextlib.suppress(Exception):  # an older torch knows no UUID
            of = torch.cuda.get_device_properties(i)
            known = {"memory_bytes": of.total_memory, "uuid": f"GPU-{str(of.uuid).removeprefix('GPU-')}"}
            gpu = gpu.model_copy(update=known)
        found.append(gpu)
    return tuple(found)


def visible(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """Return those of the machine's GPUs that the environment leaves to this process.

    As CUDA reads it (CUDA C++ programming guide, environment variables): numbers, or beginnings of UUIDs that
    fit one GPU. What names none, such as -1, hides itself and all that follows; a repetition hides all. For
    GPUs without NVML, which may be AMD's, torch's ``_parse_visible_devices`` says which variables count.
    """
    if any(gpu.driver for gpu in gpus):
        return _left(gpus, VISIBLE)
    return _left(_driven(gpus), HIP if HIP in os.environ else VISIBLE)


def binding(gpu: Gpu, gpus: tuple[Gpu, ...]) -> str:
    """Return what names a GPU of this machine to the libraries of another process: a UUID, or a number."""
    return gpu.uuid if gpu.driver else str(_driven(gpus).index(gpu))


def _driven(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """Return the GPUs that AMD's driver leaves, in the order by which HIP numbers them."""
    return _left(tuple(sorted(gpus, key=lambda gpu: gpu.index or 0)), ROCR)


def _left(gpus: tuple[Gpu, ...], variable: str) -> tuple[Gpu, ...]:
    allowed = os.environ.get(variable)
    if allowed is None:
        return gpus
    found: list[Gpu] = []
    for word in map(str.strip, allowed.split(",")):
        named = [gpu for i, gpu in enumerate(gpus) if word == str(gpu.index if gpu.driver else i)][:1]
        if word.startswith((nvml.WHOLE, nvml.PART)):
            named = [gpu for gpu in gpus if gpu.uuid.startswith(word)]
        if len(named) != 1:
            break
        if named[0] in found:
            return ()
        found += named
    return tuple(found)


if __name__ == "__main__":
    for gpu in of_torch(int(sys.argv[1])):
        print(gpu.model_dump_json())
