"""Qwen2.5-VL: a vision transformer with windowed attention, a patch merger and a Qwen2.5 decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlmnb.models.entry import BUNDLED_DEFAULTS, REPORTED_DEFAULTS, ModelEntry

MODEL_CLASS = "Qwen2_5_VLForConditionalGeneration"

MODELS = (
    ModelEntry(
        name="qwen2.5-vl-3b",
        family="qwen2_5_vl",
        title="Qwen2.5-VL 3B",
        summary="A vision transformer with windowed attention, a patch merger and the Qwen2.5 3B decoder.",
        source="Qwen/Qwen2.5-VL-3B-Instruct",
        revision="66285546d2b821cf421d4f5eb2576359d3770cd3",
        **REPORTED_DEFAULTS,
    ),
    ModelEntry(
        name="qwen2.5-vl-tiny",
        family="qwen2_5_vl",
        title="Qwen2.5-VL tiny",
        summary=(
            "Qwen2.5-VL's architecture at two million parameters: windowed vision transformer, "
            "patch merger, Qwen2.5 decoder."
        ),
        **BUNDLED_DEFAULTS,
    ),
)


STAND_IN = "qwen2.5-vl-tiny"


def load_processor(folder: str | Path) -> Any:
    """The checkpoint's processor without its video half, which would need torchvision."""
    from vlmnb.models.processors import ImageOnlyQwen2_5_VLProcessor

    return ImageOnlyQwen2_5_VLProcessor.from_pretrained(folder)


def sized(image_size: int) -> dict[str, int]:
    """The side in pixels; the processor rounds it to whole merged patches."""
    return {"size": image_size}


def image_side(processor: Any, image_size: int) -> int:
    """The side the model sees: the nearest multiple of a merged patch (28 pixels, bundled model 16)."""
    return int(processor.resized_to(image_size, None)[0])


def vision_modules(model: Any) -> list[Any]:
    """The modules that turn pixels into image tokens, in the order in which they run."""
    return [model.model.visual]


def image_tokens(config: Any, image_size: int) -> int:
    """One token for each merged patch of the image at the nearest whole size."""
    vision = config.vision_config
    factor = int(vision.patch_size) * int(vision.spatial_merge_size)
    return max(1, round(image_size / factor)) ** 2


def vision_layers(model: Any) -> list[Any]:
    """Layers of the vision tower."""
    return list(model.model.visual.blocks)


def patch_embedding(model: Any) -> Any:
    """The module that makes vectors of patches of pixels."""
    return model.model.visual.patch_embed


def projector(model: Any) -> Any:
    """The module that brings pixels or vision features to the width of the decoder."""
    return model.model.visual.merger


def special_ids(config: Any) -> dict[str, int]:
    """Ids of the special tokens that the bundled tokenizer shares with the checkpoint's."""
    return {
        "<|endoftext|>": config.text_config.bos_token_id,
        "<|im_start|>": config.text_config.bos_token_id + 1,
        "<|im_end|>": config.text_config.eos_token_id,
        "<|vision_start|>": config.vision_start_token_id,
        "<|vision_end|>": config.vision_end_token_id,
        "<|image_pad|>": config.image_token_id,
        "<|video_pad|>": config.video_token_id,
    }


def adapt(processor: Any, config: Any) -> None:
    """Give the stand-in the patches of a geometry, and the checkpoint's template with its system prompt."""
    from vlmnb.models.processors import QWEN_CHAT_TEMPLATE, QWEN_SYSTEM

    vision = config.vision_config
    processor.image_processor.patch_size = int(vision.patch_size)
    processor.image_processor.merge_size = int(vision.spatial_merge_size)
    processor.image_processor.temporal_patch_size = int(vision.temporal_patch_size)
    processor.chat_template = QWEN_SYSTEM + QWEN_CHAT_TEMPLATE
