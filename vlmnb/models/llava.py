"""LLaVA: a CLIP vision tower, a projector and a Llama decoder; one fixed image size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlmnb.models.entry import BUNDLED_DEFAULTS, ModelEntry

MODEL_CLASS = "LlavaForConditionalGeneration"

MODELS = (
    ModelEntry(
        name="llava-tiny",
        family="llava",
        title="LLaVA tiny",
        summary="LLaVA's architecture at two million parameters: CLIP tower, projector, Llama decoder.",
        native_image_size=64,
        **BUNDLED_DEFAULTS,
    ),
)


def load_processor(folder: str | Path, revision: str = "main") -> Any:
    """The checkpoint's own processor, padding on the left."""
    from transformers import LlavaProcessor

    processor = LlavaProcessor.from_pretrained(folder, revision=revision)
    processor.tokenizer.padding_side = "left"
    return processor


def sized(image_size: int) -> dict[str, int]:
    """Nothing to ask for: the vision tower has one size, and the processor resizes to it."""
    return {}


def image_side(processor: Any, image_size: int) -> int:
    """The side the model sees; its one size is checked against the registry entry."""
    return image_size
