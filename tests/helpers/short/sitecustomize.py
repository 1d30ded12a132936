"""Take less time in every process that has this folder on its path: shorter windows, cheaper messages."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def _set(**constants: Any) -> Callable[[Any], None]:
    """Return what sets constants of a module."""
    return lambda module: vars(module).update(constants)


def _named(module: Any) -> None:
    """Let a configuration stand in messages by its name.

    For each kind of value that a field may have and has not, transformers words an error that it then drops,
    with the whole configuration written out.
    """
    module.PreTrainedConfig.__repr__ = lambda config: type(config).__name__


CHANGES = {
    "vlmnb.measure.protocol": _set(WINDOW_S=0.2),
    "vlmnb.measure.turns": _set(EACH_S=0.1),
    "vlmnb.measure.peak_rates": _set(TRY_S=0.02, COPY_BYTES={"cpu": 2**25, "cuda": 2**30}),
    "transformers.configuration_utils": _named,
}


class Short(importlib.abc.MetaPathFinder):
    """Changes some modules once they have been imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name not in CHANGES:
            return None
        others = [finder for finder in sys.meta_path if type(finder).__name__ != type(self).__name__]
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)))
        loader: Any = spec.loader
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            CHANGES[name](module)

        loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Short())
