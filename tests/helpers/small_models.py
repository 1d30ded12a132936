"""The real models' architectures, a few thin layers deep."""

from __future__ import annotations

from typing import Any

from vlmnb import models
from vlmnb.models import geometry

REAL = ("llava-1.5-7b", "qwen2.5-vl-3b", "fuyu-8b")


def small_config(name: str) -> Any:
    """The geometry of a real model a few layers deep and thin, with the bundled tokenizer's ids."""
    config = geometry.of(geometry.document(models.get(name)))
    text = config.text_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers, text.num_attention_heads = 64, 128, 2, 4
    text.vocab_size, text.bos_token_id, text.eos_token_id = 1000, 0, 2
    small = {"num_key_value_heads": 2, "head_dim": 16, "layer_types": ["full_attention"] * 2}
    for field in small:
        if getattr(text, field, None):
            setattr(text, field, small[field])
    if name == "llava-1.5-7b":
        config.image_token_index, config.pad_token_id = 3, 0
        vision = config.vision_config
        vision.hidden_size, vision.intermediate_size = 64, 96
        vision.num_hidden_layers, vision.num_attention_heads = 3, 4
    elif name == "qwen2.5-vl-3b":
        config.image_token_id, config.video_token_id, config.vision_start_token_id = 5, 6, 3
        config.vision_end_token_id, text.eos_token_id = 4, 1
        text.rope_parameters["mrope_section"] = [2, 3, 3]
        vision = config.vision_config
        vision.hidden_size, vision.intermediate_size, vision.out_hidden_size = 64, 96, 64
        vision.depth, vision.num_heads, vision.fullatt_block_indexes = 2, 4, [1]
    else:
        config.image_token_id = 3
    return config
