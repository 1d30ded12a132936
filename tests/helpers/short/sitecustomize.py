"""Measure for a shorter time in every process that has this folder on its path: the windows of tests."""

from __future__ import annotations

import importlib.abc
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

SECONDS = {
    "vlmnb.measure.protocol": ("WINDOW_S", 0.2),
    "vlmnb.measure.turns": ("EACH_S", 0.1),
    "vlmnb.measure.peak_rates": ("TRY_S", 0.05),
}


class Short(importlib.abc.MetaPathFinder):
    """Sets a constant of some modules once they have been imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name not in SECONDS:
            return None
        others = [finder for finder in sys.meta_path if type(finder).__name__ != type(self).__name__]
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)))
        loader: Any = spec.loader
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            setattr(module, *SECONDS[name])

        loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Short())
