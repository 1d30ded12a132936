"""The geometry of every model, with no weights: numbers of layers, heads, sizes, vocabulary, image tokens.

Of a bundled model it stands in its checkpoint. Of a Hub model the package carries the checkpoint's own
``config.json`` in ``geometries/<name>.json``, with the address it was taken from and, where it is public,
the SHA-256 of the original file, so that no network is needed to build the model or to count its work.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from vlmnb import models, paths


def document(name: str) -> dict[str, Any]:
    """The checkpoint's ``config.json`` as published.

    Raises:
        UserError: There is no such model.
    """
    entry = models.get(name)
    if entry.bundled:
        text = (paths.bundled_model(name) / "config.json").read_text(encoding="utf-8")
        return dict(json.loads(text))
    return dict(_shipped(name)["config"])


def source(name: str) -> str:
    """Where the geometry was taken from: an address, or the bundled file."""
    entry = models.get(name)
    return f"models/{name}/config.json" if entry.bundled else str(_shipped(name)["source"])


def config(name: str) -> Any:
    """The geometry as transformers understands it, a new object with every call.

    Args:
        name: A model of the registry.

    Returns:
        A ``PreTrainedConfig`` of the model's own class.

    Raises:
        UserError: There is no such model.
    """
    return of(document(name))


def of(content: dict[str, Any]) -> Any:
    """The geometry that a ``config.json`` describes, as :func:`config` gives it."""
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[content["model_type"]].from_dict(content)


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
"""What decides how much work a pass is, by part of the configuration."""


def differences(name: str, loaded: Any) -> str:
    """In what a checkpoint's geometry is not that of the model whose name it goes by; empty where in nothing.

    Args:
        name: A model of the registry.
        loaded: Configuration of the checkpoint.

    Returns:
        Fields of ``config.json``, such as ``text_config.hidden_size 96 for 4096``.
    """
    own, told = config(name), []
    for part, fields in _SIZES.items():
        here, there = (getattr(of, part, None) if part else of for of in (loaded, own))
        for field in fields:
            values = [getattr(of, field, None) for of in (here, there)]
            if values[0] != values[1]:
                told.append(f"{part}{'.' * bool(part)}{field} {values[0]} for {values[1]}")
    return ", ".join(told)


def key_values(text: Any) -> tuple[int, int]:
    """Key-value heads of a decoder layer and the size of a head.

    Args:
        text: Configuration of the decoder. Where it does not name them, every head has keys and values of
            its own, and the heads share the width evenly.
    """
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(heads), int(size)


def _shipped(name: str) -> dict[str, Any]:
    text = (resources.files("vlmnb.models") / "geometries" / f"{name}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
