"""The configuration of every model, without weights: numbers of layers, heads, sizes, vocabulary.

A bundled model has it in its checkpoint. For a Hub model the package has the checkpoint's own ``config.json``
in ``geometries/<name>.json``, with its address and, if it is public, the SHA-256 of the original file, or the
family's file has it. So no network is needed to build the model or to count its work.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from types import SimpleNamespace
from typing import Any

from vlmnb import models, paths


def document(name: str) -> dict[str, Any]:
    """Return the checkpoint's ``config.json`` as published.

    Raises:
        UserError: There is no such model.
    """
    entry = models.get(name)
    given = models.family_of(entry).configurations.get(name)
    if given is not None:
        return dict(given)
    if entry.bundled:
        text = (paths.bundled_model(name) / "config.json").read_text(encoding="utf-8")
        return dict(json.loads(text))
    return dict(_shipped(name)["config"])


def source(name: str) -> str:
    """Return where the configuration was taken from: an address, a bundled file, or the family's file."""
    entry = models.get(name)
    if name in (family := models.family_of(entry)).configurations:
        return f"{family.name}.py, for {entry.source or name}"
    return f"models/{name}/config.json" if entry.bundled else str(_shipped(name)["source"])


def config(name: str) -> Any:
    """Return the configuration as an object of the model's class in transformers, new with every call.

    Raises:
        UserError: There is no such model.
    """
    return of(document(name))


def of(content: dict[str, Any]) -> Any:
    """Return the object of transformers for a ``config.json``."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[content["model_type"]].from_dict(content)


@functools.cache
def plain(name: str) -> SimpleNamespace:
    """Return the configuration as an object with plain attributes, defaults filled in, without transformers.

    Raises:
        UserError: There is no such model.
    """
    return _namespace(models.family_of(models.get(name)).complete(document(name)))


def _namespace(content: Mapping[str, Any]) -> SimpleNamespace:
    made = {name: _namespace(value) if isinstance(value, dict) else value for name, value in content.items()}
    return SimpleNamespace(**made)


_SIZES = {
    "text_config": (
        "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
        "head_dim", "vocab_size",
    ),
    "vision_config": (
        "num_hidden_layers", "depth", "hidden_size", "intermediate_size", "num_attention_heads", "num_heads",
        "out_hidden_size", "patch_size", "image_size", "spatial_merge_size", "temporal_patch_size",
        "window_size", "fullatt_block_indexes",
    ),
    "": ("patch_size", "num_channels", "vision_feature_layer", "vision_feature_select_strategy"),
}  # fmt: skip
"""Fields that decide how much work a pass is, by part of the configuration."""


def differences(name: str, loaded: Any) -> str:
    """Compare a checkpoint's configuration with that of the model that it is named after.

    Args:
        name: A model of the registry.
        loaded: Configuration of the checkpoint.

    Returns:
        The fields that differ, such as ``text_config.hidden_size 96 for 4096``; empty if none does.
    """
    own, found = config(name), []
    for part, fields in _SIZES.items():
        here, there = (getattr(of, part, None) if part else of for of in (loaded, own))
        for field in fields:
            values = [getattr(of, field, None) for of in (here, there)]
            if values[0] != values[1]:
                found.append(f"{part}{'.' * bool(part)}{field} {values[0]} for {values[1]}")
    return ", ".join(found)


def _shipped(name: str) -> dict[str, Any]:
    text = (resources.files("vlmnb.models") / "geometries" / f"{name}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
