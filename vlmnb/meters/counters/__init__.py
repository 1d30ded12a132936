"""Counters of energy in the hardware, one module each; a new module is found by itself.

A module names its ``METHOD`` and the ``SOURCES`` that it counts, as records name them, and defines
``attach(device)``, which returns the counters for work on a torch device and those that cannot be used. Read
``counter`` first: the protocol that every counter follows.
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
    return tuple(m.METHOD for m in modules() if not source or source in m.SOURCES)


def sources() -> tuple[str, ...]:
    """Return the sources that the counters count."""
    return tuple(dict.fromkeys(source for module in modules() for source in module.SOURCES))
