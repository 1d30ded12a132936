"""Begin every cell in the same state of the process: settings of torch as they were, no compiled code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

CONFIGURATIONS = ("torch._dynamo.config", "torch._functorch.config", "torch._inductor.config")


def forget_compiled() -> None:
    """Drop all compiled code and what is counted of it."""
    import torch

    if "torch._dynamo" in sys.modules:  # importing it takes seconds, and nothing was compiled without it
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Forget what was compiled, and put torch's settings back after the block.

    Without it a cell would depend on the cells before it: each shape compiled counts towards torch's limit,
    and a decoder whose FLOPs are counted before its first call is never compiled.
    """
    forget_compiled()
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

    cuda, backends = torch.backends.cuda, (torch.backends.cudnn, torch.backends.mkldnn)
    found: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_default_device, torch.set_default_device),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
        (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
        (cuda.math_sdp_enabled, cuda.enable_math_sdp),
        (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
    ]
    for backend in backends:
        for name in ("enabled", "benchmark", "deterministic"):
            if hasattr(backend, name):
                found.append((partial(getattr, backend, name), partial(setattr, backend, name)))
    for name in CONFIGURATIONS:
        if name in sys.modules:
            module: Any = sys.modules[name]
            found.append((module.get_config_copy, partial(_load, module)))
    return found


def _load(module: Any, values: Mapping[str, Any]) -> None:
    """Set what differs in a module of settings: setting one that is deprecated gives a warning."""
    now = module.get_config_copy()
    for name, value in values.items():
        if now[name] != value:
            setattr(module, name, value)
