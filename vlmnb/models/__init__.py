"""The models: one module per family, found by looking, so that adding one means adding a file.

A family module defines ``MODELS`` (registry entries), ``MODEL_CLASS`` (a class of transformers, by
name), ``load_processor(folder)``, ``sized(image_size)`` (keyword arguments of the processor for a size),
``image_side(processor, image_size)`` (the side in pixels at which the model then takes the image),
``image_tokens(config, image_size)`` (the tokens that then stand for an image), and the modules that are
timed: ``vision_modules(model)`` (those that turn pixels into image tokens, in order),
``patch_embedding(model)`` (None where that is the projector), ``vision_layers(model)`` and
``projector(model)``. For random weights without the model's own tokenizer it
defines ``STAND_IN``, ``special_ids(config)`` and ``adapt(processor, config)``, see ``standin``. A family of
fixed image size defines ``source_image(image, image_size)``, what its processor is given, and
``interpolated(model, processor)``, which lets a loaded model take other sizes and returns what then stands
for the family's ``sized``, ``image_side`` and ``source_image``. The geometry of every model,
with no weights, is in ``geometry``. Nothing here imports torch or transformers until a function of a family
is called.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType

from vlmnb.errors import UserError, nearest
from vlmnb.models.entry import ModelEntry

_NOT_FAMILIES = {"checkpoints", "entry", "geometry", "processors", "quiet_libraries", "stand_in"}
_ORDER = ("llava", "qwen2_5_vl", "fuyu")
"""The reports' order; families that they do not have follow by name."""


@functools.cache
def families() -> dict[str, ModuleType]:
    """Family modules by name."""
    found = [info.name for info in pkgutil.iter_modules(__path__) if info.name not in _NOT_FAMILIES]
    found.sort(key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in found}


@functools.cache
def registry() -> dict[str, ModelEntry]:
    """All models by name: those of the reports in the reports' order, then the bundled ones."""
    entries = [entry for module in families().values() for entry in module.MODELS]
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.bundled)}


def default() -> ModelEntry:
    """The model that is meant where none is named: the first that needs no download."""
    return next(entry for entry in registry().values() if entry.bundled)


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
