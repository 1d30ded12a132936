"""The geometry that memory depends on, read from a checkpoint's ``config.json`` as plain numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Literal

from vlmnb import models
from vlmnb.models import geometry
from vlmnb.models.entry import ModelEntry
from vlmnb.types import Frozen

DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "max_position_embeddings": 2048, "model_type": "llama",
    },
    "clip_vision_model": {"num_channels": 3},
    "fuyu": {"num_channels": 3},
}  # fmt: skip
"""What a published ``config.json`` leaves to the classes of transformers (LlamaConfig, CLIPVisionConfig,
FuyuConfig); tests hold it against those classes."""


class Decoder(Frozen):
    """The language model.

    Attributes:
        kind: ``llama``, ``qwen2`` (biases on query, key and value) or ``persimmon`` (one fused projection,
            biases everywhere, normalized queries and keys).
        context: Positions it was trained for.
        tied: Whether the output layer is the token embedding.
    """

    kind: Literal["llama", "qwen2", "persimmon"]
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    mlp: int
    vocabulary: int
    context: int
    tied: bool


class Vision(Frozen):
    """The vision tower.

    Attributes:
        kind: ``clip`` or ``qwen2_5_vl``.
        image: Side in pixels that position embeddings are made for, or None where any size goes.
        frames: Frames that one patch spans.
        merge: Patches along a side that become one token.
        used_layers: Layers whose output reaches the decoder; the others are computed and left unused.
    """

    kind: Literal["clip", "qwen2_5_vl"]
    layers: int
    width: int
    heads: int
    mlp: int
    patch: int
    channels: int
    image: int | None = None
    frames: int = 1
    merge: int = 1
    used_layers: int


class Shape(Frozen):
    """A model's geometry.

    Attributes:
        patch: Side of an image patch in pixels.
        patch_values: Numbers of one image patch that enter the decoder directly (Fuyu), or None.
        released_dtype: Precision of the published weights.
    """

    entry: ModelEntry
    decoder: Decoder
    vision: Vision | None
    patch: int
    patch_values: int | None
    released_dtype: str

    def image_tokens(self, image_size: int) -> int:
        """Tokens of the decoder that stand for one square image of a side in pixels."""
        if self.vision is None:
            rows = -(-image_size // self.patch)
            return rows * (rows + 1)
        if self.vision.image is not None:
            return (self.vision.image // self.vision.patch) ** 2
        return max(1, round(image_size / (self.vision.patch * self.vision.merge))) ** 2

    def side(self, image_size: int) -> int:
        """The side in pixels that the model sees of an image that is given to its processor at a size."""
        if self.vision is None:
            return image_size
        if self.vision.image is not None:
            return self.vision.image
        return self.vision.patch * self.vision.merge * math.isqrt(self.image_tokens(image_size))

    def patches(self, image_size: int) -> int:
        """Positions of the vision tower for one square image; 0 without a tower."""
        if self.vision is None:
            return 0
        tokens = self.image_tokens(image_size) * self.vision.merge**2
        return tokens + 1 if self.vision.kind == "clip" else tokens


@functools.cache
def of(name: str) -> Shape:
    """The geometry of a model of the registry.

    Raises:
        UserError: There is no such model; the message names the nearest.
    """
    entry = models.get(name)
    document = configuration(name)
    kind, text = document["model_type"], document["text_config"]
    kv_heads, head_size = geometry.key_values(SimpleNamespace(**text))
    decoder = Decoder(
        kind={"llava": "llama", "qwen2_5_vl": "qwen2", "fuyu": "persimmon"}[kind],
        layers=text["num_hidden_layers"],
        width=text["hidden_size"],
        heads=text["num_attention_heads"],
        kv_heads=kv_heads,
        head_size=head_size,
        mlp=text["intermediate_size"],
        vocabulary=text["vocab_size"],
        context=text["max_position_embeddings"],
        tied=document.get("tie_word_embeddings", False),
    )
    return Shape(
        entry=entry,
        decoder=decoder,
        vision=_vision(document),
        patch=document["patch_size"] if kind == "fuyu" else document["vision_config"]["patch_size"],
        patch_values=document["patch_size"] ** 2 * document["num_channels"] if kind == "fuyu" else None,
        released_dtype=document.get("torch_dtype") or document.get("dtype") or "float32",
    )


def configuration(name: str) -> dict[str, Any]:
    """A checkpoint's ``config.json``, the language model's part by itself and defaults filled in."""
    document = geometry.document(name)
    kind = document["model_type"]
    language = {"llava": "llama", "qwen2_5_vl": "qwen2_5_vl_text", "fuyu": "persimmon"}[kind]
    flat = {} if kind == "llava" else {**document, "model_type": language}
    text = {**DEFAULTS.get(language, {}), **flat, **document.get("text_config", {})}
    made = {**DEFAULTS.get(kind, {}), **document, "text_config": text}
    if "vision_config" in document:
        made["vision_config"] = {**DEFAULTS["clip_vision_model"], **document["vision_config"]}
    return made


def _vision(document: Mapping[str, Any]) -> Vision | None:
    if "vision_config" not in document:
        return None
    given = document["vision_config"]
    if document["model_type"] == "llava":
        layers, layer = given["num_hidden_layers"], document["vision_feature_layer"]
        return Vision(
            kind="clip", layers=layers, width=given["hidden_size"], heads=given["num_attention_heads"],
            mlp=given["intermediate_size"], patch=given["patch_size"], channels=given["num_channels"],
            image=given["image_size"], used_layers=layers + 1 + layer if layer < 0 else layer,
        )  # fmt: skip
    return Vision(
        kind="qwen2_5_vl", layers=given["depth"], width=given["hidden_size"], heads=given["num_heads"],
        mlp=given["intermediate_size"], patch=given["patch_size"],
        channels=given.get("in_channels") or given.get("in_chans") or 3, frames=given["temporal_patch_size"],
        merge=given["spatial_merge_size"], used_layers=given["depth"],
    )  # fmt: skip
