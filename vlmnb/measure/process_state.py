"""The state of the process that a cell is measured in: settings of torch, compiled code."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from vlmnb import paths
from vlmnb.meters.readings import Compilation

CONFIGURATIONS = ("torch._dynamo.config", "torch._functorch.config", "torch._inductor.config")


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Look for no garbage within the block: imports make little, and looking takes a fifth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def keep_compiled_code() -> None:
    """Make torch keep compiled code in the user's cache folder, where later processes find it.

    Call this before importing anything of torch's compiler, which reads the folder once.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.compiled_code()))
    # torch would compile and load a trial library for each instruction set, which takes seconds in every
    # process and only guards against compilers too old to build torch.
    os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")


def forget_compiled() -> None:
    """Drop all compiled code of this process and what is counted of it."""
    import torch

    if "torch._dynamo" in sys.modules:  # importing it takes seconds, and nothing was compiled without it
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()


def free_unused() -> None:
    """Return to the GPU what torch's allocator keeps of it unused, once the GPU has done its work.

    Without it a cell's reserved memory would hold what cells before it have left, and a large cell less.

    Raises:
        RuntimeError: An error has broken the CUDA context: nothing else can be measured in this process.
    """
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def compilation() -> Compilation:
    """Return what the compiler did since ``forget_compiled``."""
    from torch._dynamo.utils import counters

    return Compilation(
        graphs=int(counters["stats"].get("unique_graphs", 0)),
        graph_breaks=int(sum(counters["graph_break"].values())),
        cache_hits=int(counters["inductor"].get("fxgraph_cache_hit", 0)),
        cache_misses=int(counters["inductor"].get("fxgraph_cache_miss", 0)),
        cuda_graphs_skipped=int(counters["inductor"].get("cudagraph_skips", 0)),
    )


@contextlib.contextmanager
def uncompiled(decoder: Any) -> Iterator[None]:
    """Run the plain forward pass within the block: FLOP counters see Python's operators only."""
    compiled = vars(decoder).pop("forward", None)
    try:
        yield
    finally:
        if compiled is not None:
            decoder.forward = compiled


@contextlib.contextmanager
def of_a_cell() -> Iterator[None]:
    """Forget what was compiled, free unused memory of a GPU, and put torch's settings back after the block.

    Without it a cell would depend on the cells before it: each shape compiled counts towards torch's limit,
    and a decoder whose FLOPs are counted before its first call is never compiled.
    """
    forget_compiled()
    free_unused()
    before = [(read(), read, write) for read, write in _settings()]
    try:
        yield
    finally:
        for value, read, write in before:
            if read() != value:
                write(value)


def _settings() -> list[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Return for each setting what reads it and what sets it."""
    import torch

    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    found: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_default_device, torch.set_default_device),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
        (torch.is_grad_enabled, torch.set_grad_enabled),
    ]
    for name in ("flash", "mem_efficient", "math", "cudnn"):
        found.append((getattr(cuda, f"{name}_sdp_enabled"), getattr(cuda, f"enable_{name}_sdp")))
    switches = ((cudnn, "enabled"), (cudnn, "benchmark"), (cudnn, "deterministic"), (mkldnn, "enabled"))
    found += [(partial(getattr, *switch), partial(setattr, *switch)) for switch in switches]
    modules: list[Any] = [sys.modules[name] for name in CONFIGURATIONS if name in sys.modules]
    return found + [(module.get_config_copy, partial(_load, module)) for module in modules]


def _load(module: Any, values: Mapping[str, Any]) -> None:
    """Set what differs in a module of settings: setting one that is deprecated gives a warning."""
    now = module.get_config_copy()
    for name, value in values.items():
        if now[name] != value:
            setattr(module, name, value)
