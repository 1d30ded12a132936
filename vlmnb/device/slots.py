"""Where measurements run: one slot per GPU, one for the CPU; a slot measures one thing at a time.

The locks are of the whole machine: two sweeps, or a sweep and a notebook run by hand, take turns whatever
folders they write to and whoever runs them, in the order in which they asked. A measurement on the CPU has
the machine to itself, for a GPU's driving process would disturb it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vlmnb.device import machine
from vlmnb.device.gpus import HIP, ORDER, VISIBLE, binding
from vlmnb.device.gpus import visible as visible_gpus
from vlmnb.errors import UserError
from vlmnb.files import locks
from vlmnb.types import Frozen

HELD = "VLMNB_SLOT"
"""Set for a notebook whose sweep holds the slot already."""

THREADS = "VLMNB_THREADS"
"""Threads that torch computes with, as a sweep set them."""

TUNING = (
    "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_PROC_BIND", "OMP_PLACES",
    "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_DYNAMIC", "OMP_THREAD_LIMIT", "MKL_DYNAMIC", "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE",
    "ATEN_CPU_CAPABILITY", "TORCHINDUCTOR_FREEZING", "TORCHINDUCTOR_MAX_AUTOTUNE", "CUDA_LAUNCH_BLOCKING",
    "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG",
    "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF",
)  # fmt: skip
"""Variables by which a user makes the libraries that compute faster or slower."""

POLICY = "OMP_WAIT_POLICY"
"""Whether idle threads sleep (``PASSIVE``) or spin; if unset, GNU OpenMP spins for ``SPINS`` turns."""

SPINS, BRIEF = "GOMP_SPINCOUNT", "10000"
"""How many turns an idle thread spins before it sleeps, and ours.

On a quiet machine that is nearly as fast as OpenMP's own 300,000 turns, and about twice as fast as sleeping
at once with the bundled models; beside busy processes it costs twice, where 300,000 cost up to 15 times.
``benchmarks/threads.py`` measures all of it.
"""

WAITING = "waiting: "
"""Beginning of the line that names the process a run waits for."""


class Slot(Frozen):
    """A device that measures one thing at a time.

    Attributes:
        name: ``cpu``, or the UUID of a GPU.
        visible: Value of ``CUDA_VISIBLE_DEVICES`` for what runs there: a UUID, or the number of a GPU that
            NVML does not know; None to leave it as it is.
    """

    name: str
    visible: str | None = None


CPU = Slot(name="cpu", visible=None)


def gpus() -> tuple[Slot, ...]:
    """Return one slot per GPU that this process may use and that is of the kind that names the machine."""
    known = machine.describe().gpus
    return tuple(
        Slot(name=gpu.uuid, visible=binding(gpu, known))
        for gpu in visible_gpus(known)
        if gpu.name == known[0].name
    )


def whole_machine(devices: Sequence[str]) -> bool:
    """Return whether cells on these devices need the whole machine."""
    return "cpu" in devices or not gpus()


def threads() -> int:
    """Return the threads of torch: of the sweep, else of ``OMP_NUM_THREADS``, else one per physical core.

    Part of the content key, because the number of threads changes every time.
    """
    return given_threads() or default_threads()


def given_threads() -> int | None:
    """Return the number of threads that the environment names, if any."""
    for name in (THREADS, "OMP_NUM_THREADS"):
        given = os.environ.get(name, "").split(",")[0]
        if given.isdigit() and int(given) > 0:
            return int(given)
    return None


@functools.cache
def default_threads() -> int:
    """Return the physical cores of the machine, or fewer if this process may use fewer."""
    cores = machine.describe().physical_cores
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return max(1, min(cores, usable))


def tuning() -> dict[str, str]:
    """Return what the environment sets of ``TUNING``: a part of the content key.

    How threads wait is always named: as the user set it, else as :func:`spin_briefly` sets it before torch is
    imported. Where torch was imported before, it is OpenMP's own choice.
    """
    set_ = {name: os.environ[name].strip().upper() for name in TUNING if os.environ.get(name)}
    if _waits_as_set():
        return set_
    return ({POLICY: "UNSET"} if "torch" in sys.modules else {SPINS: BRIEF}) | set_


def spin_briefly() -> None:
    """Let idle threads spin briefly unless the user chose otherwise.

    OpenMP reads it when torch is imported.
    """
    if "torch" not in sys.modules and not _waits_as_set():
        os.environ[SPINS] = BRIEF


def _waits_as_set() -> bool:
    return any(os.environ.get(name) for name in (POLICY, SPINS))


def environment(slot: Slot, threads_: int) -> dict[str, str]:
    """Return the environment of a run in a slot that its sweep holds."""
    set_ = {HELD: slot.name, THREADS: str(threads_)}
    # Set by hand, for a scheduler may have set them to one.
    set_ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads_))
    if not _waits_as_set():
        set_[SPINS] = BRIEF
    return set_ | _bound(slot)


def _bound(slot: Slot) -> dict[str, str]:
    if slot.visible is None:
        return {}
    names = (VISIBLE, HIP) if HIP in os.environ else (VISIBLE,)
    return dict.fromkeys(names, slot.visible) | {ORDER: "PCI_BUS_ID"}


@functools.cache
def _locks() -> locks.Locks:
    if given := os.environ.get(locks.LOCKS):
        return locks.Locks(Path(given) / "vlmnb.lock", everybody=True)
    why = "this machine has no folder in which all users may write"
    # Not the user's own temporary folder: a scheduler may give each job one.
    for folder in filter(_of_everybody, (Path("/run/lock"), Path("/tmp"))):
        try:
            return locks.Locks(folder / "vlmnb.lock", everybody=True)
        except (OSError, UserError) as error:
            why = str(error)
            if getattr(error, "errno", None) not in (errno.EROFS, errno.ENOSPC):  # others may have more luck
                break
    print(f"vlmnb: {why}; runs of other users of this machine are not waited for", file=sys.stderr)
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return locks.Locks(Path(tempfile.gettempdir()) / f"vlmnb-{user}" / "vlmnb.lock")


def _of_everybody(folder: Path) -> bool:
    """Return whether all users may write to a folder and remove only their own files."""
    try:
        found = folder.stat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(found) and stat.S_IMODE(found) == 0o1777


@contextlib.contextmanager
def held(names: Sequence[str], on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold slots for a block, first come, first served.

    Every process takes them in the same order, which prevents deadlocks. While it waits, ``on_wait`` is
    called with a line that names the process in its way.
    """
    with contextlib.ExitStack() as taken:
        for name in sorted(names):
            line = locks.Line(_locks(), name)
            taken.callback(line.leave)
            while not line.take():
                holder = line.holder()
                who = f"process {holder}" if holder else "another process"
                what = "the CPU" if name == CPU.name else f"GPU {name}"
                on_wait(f"{WAITING}{who} is measuring on {what} of this machine")
                time.sleep(locks.POLL_S)
        yield


def awaited(names: Sequence[str]) -> bool:
    """Return whether another process waits for one of these slots."""
    return any(locks.Line(_locks(), name).awaited() for name in names)


def everything() -> list[str]:
    """Return the names of all slots, for work that needs the whole machine."""
    return [CPU.name, *(gpu.uuid for gpu in machine.describe().gpus)]


@contextlib.contextmanager
def by_hand(devices: Sequence[str], on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the slots of a notebook that no sweep runs: its GPU, or the whole machine for the CPU.

    From now on this process sees that GPU alone.
    """
    if os.environ.get(HELD):
        yield
        return
    mine = gpus()[:1] if "cuda" in devices else ()
    names = everything() if whole_machine(devices) else [mine[0].name]
    for slot in mine:
        os.environ.update(_bound(slot))
    with held(names, on_wait):
        yield
