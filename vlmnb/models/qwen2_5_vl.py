"""Qwen2.5-VL: a vision transformer with windowed attention, a patch merger and a Qwen2.5 decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlmnb.models.entry import BUNDLED_DEFAULTS, ModelEntry

MODEL_CLASS = "Qwen2_5_VLForConditionalGeneration"

MODELS = (
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


def load_processor(folder: str | Path, revision: str = "main") -> Any:
    """The checkpoint's processor without its video half, which would need torchvision."""
    from vlmnb.models.processors import ImageOnlyQwen2_5_VLProcessor

    return ImageOnlyQwen2_5_VLProcessor.from_pretrained(folder, revision=revision)


def sized(image_size: int) -> dict[str, int]:
    """The side in pixels; the processor rounds it to whole merged patches."""
    return {"size": image_size}


def image_side(processor: Any, image_size: int) -> int:
    """The side the model sees: the nearest multiple of a merged patch (28 pixels, bundled model 16)."""
    return int(processor.resized_to(image_size, None)[0])
