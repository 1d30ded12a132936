"""The models: one module per family, found by looking, so that adding one means adding a file.

A family module defines ``MODELS`` (registry entries), ``MODEL_CLASS`` (a class of transformers, by
name), ``load_processor(folder, revision)`` ``sized(image_size)`` (keyword arguments of the processor
for a size) and ``image_side(processor, image_size)`` (the side in pixels that the model then sees).
Nothing here imports torch or transformers until a function of a family is called.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType

from vlmnb.errors import UserError, nearest
from vlmnb.models.entry import ModelEntry

_NOT_FAMILIES = {"entry", "processors"}


@functools.cache
def families() -> dict[str, ModuleType]:
    """Family modules by name."""
    found = (info.name for info in pkgutil.iter_modules(__path__) if info.name not in _NOT_FAMILIES)
    return {name: importlib.import_module(f"{__name__}.{name}") for name in sorted(found)}


@functools.cache
def registry() -> dict[str, ModelEntry]:
    """All models by name."""
    return {entry.name: entry for module in families().values() for entry in module.MODELS}


def get(name: str) -> ModelEntry:
    """The entry of a model.

    Raises:
        UserError: There is no such model; the message names the nearest.
    """
    try:
        return registry()[name]
    except KeyError:
        raise UserError(f"unknown model {name!r}; {nearest(name, registry())}") from None


def family_of(entry: ModelEntry) -> ModuleType:
    """The family module of an entry."""
    return families()[entry.family]
