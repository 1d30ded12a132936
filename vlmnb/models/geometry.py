"""The configuration of every model, without weights: numbers of layers, heads, sizes, vocabulary.

A bundled model has it in its checkpoint. For a Hub model the package has the checkpoint's own ``config.json``
in ``geometries/<name>.json``, with its address and, if it is public, the SHA-256 of the original file, or the
family's file has it. So no network is needed to build the model or to count its work.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from types import SimpleNamespace
from typing import Any, cast

from vlmnb import models, paths
from vlmnb.models import named
from vlmnb.models.entry import ModelEntry


def document(entry: ModelEntry) -> dict[str, Any]:
    """Return the checkpoint's ``config.json`` as published."""
    if entry.bundled:
        file = paths.bundled_model(entry.name) / "config.json"
        return dict(json.loads(file.read_text(encoding="utf-8")))
    if entry.generic:
        return named.document(entry)
    own = models.family_of(entry).configurations
    return dict(own[entry.name] if entry.name in own else _shipped(entry)["config"])


def source(entry: ModelEntry) -> str:
    """Return where the configuration was taken from: an address, a bundled file, or the family's file."""
    family = models.family_of(entry)
    if entry.name in family.configurations:
        return f"{family.name}.py, for {entry.source or entry.name}"
    if entry.bundled:
        return f"models/{entry.name}/config.json"
    return f"config.json of {entry.source}" if entry.generic else str(_shipped(entry)["source"])


def config(entry: ModelEntry) -> Any:
    """Return the configuration as an object of the model's class in transformers, new with every call."""
    return of(document(entry))


def of(content: dict[str, Any]) -> Any:
    """Return the object of transformers for a ``config.json``."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[content["model_type"]].from_dict(content)


@functools.cache
def plain(entry: ModelEntry) -> Any:
    """Return the configuration as a plain object, defaults filled in, without transformers if it can."""
    if entry.generic:
        return config(entry)
    whole = json.dumps(models.family_of(entry).complete(document(entry)))
    return cast(SimpleNamespace, json.loads(whole, object_hook=lambda part: SimpleNamespace(**part)))


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


def differences(entry: ModelEntry, loaded: Any) -> str:
    """Compare the configuration of a loaded checkpoint with that of the model that it is named after.

    Returns:
        The fields that differ, such as ``text_config.hidden_size 96 for 4096``; empty if none does.
    """
    if entry.generic:  # it is named after itself
        return ""
    own, found = config(entry), []
    for part, fields in _SIZES.items():
        here, there = (getattr(of, part, None) if part else of for of in (loaded, own))
        for field in fields:
            values = [getattr(of, field, None) for of in (here, there)]
            if values[0] != values[1]:
                found.append(f"{part}{'.' * bool(part)}{field} {values[0]} for {values[1]}")
    return ", ".join(found)


def _shipped(entry: ModelEntry) -> dict[str, Any]:
    file = resources.files("vlmnb.models") / "geometries" / f"{entry.name}.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))
