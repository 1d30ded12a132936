"""Counters of energy in the hardware, one module each; a new module is found by itself.

A module names its ``METHOD`` and the ``SOURCES`` that it counts, as records name them, and defines
``attach(device)``, which returns the counters for work on a torch device and those that cannot be used. For
a source that tables are to show instead of the CPU or the GPU it has ``HEADLINE``, such as
``{"cpu": "wall"}``: the source by device. Read ``counter`` first: the protocol of every counter.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType


@functools.cache
def modules() -> tuple[ModuleType, ...]:
    """Return the modules that have a counter."""
    names = [info.name for info in pkgutil.iter_modules(__path__, f"{__name__}.")]
    found = [importlib.import_module(name) for name in sorted(names)]
    return tuple(module for module in found if hasattr(module, "METHOD"))


def methods(source: str = "") -> tuple[str, ...]:
    """Return the methods of the counters, of one source or of all."""
    return _methods(modules(), source)


def sources() -> tuple[str, ...]:
    """Return the sources that the counters count."""
    return _sources(modules())


def headlines(device: str) -> tuple[str, ...]:
    """Return the sources that modules want tables to show for work on ``cpu`` or ``cuda``."""
    return _headlines(modules(), device)


# Every reading of every record asks for these when it is read.


@functools.lru_cache
def _methods(found: tuple[ModuleType, ...], source: str) -> tuple[str, ...]:
    return tuple(module.METHOD for module in found if not source or source in module.SOURCES)


@functools.lru_cache
def _sources(found: tuple[ModuleType, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(source for module in found for source in module.SOURCES))


@functools.lru_cache
def _headlines(found: tuple[ModuleType, ...], device: str) -> tuple[str, ...]:
    wanted = (getattr(module, "HEADLINE", {}).get(device) for module in found)
    return tuple(source for source in wanted if source)
