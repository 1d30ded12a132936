"""Fuyu: image patches go through one linear layer straight into a Persimmon decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlmnb.models.entry import BUNDLED_DEFAULTS, ModelEntry

MODEL_CLASS = "FuyuForCausalLM"

MODELS = (
    ModelEntry(
        name="fuyu-tiny",
        family="fuyu",
        title="Fuyu tiny",
        summary="Fuyu's architecture at two million parameters: no vision tower, patches enter the decoder.",
        **BUNDLED_DEFAULTS,
    ),
)


def load_processor(folder: str | Path, revision: str = "main") -> Any:
    """The checkpoint's processor, cutting images into patches itself."""
    from vlmnb.models.processors import ImageOnlyFuyuProcessor

    return ImageOnlyFuyuProcessor.from_pretrained(folder, revision=revision)


def sized(image_size: int) -> dict[str, int]:
    """The side in pixels; ragged edges are padded to whole patches."""
    return {"size": image_size}


def image_side(processor: Any, image_size: int) -> int:
    """The side the model sees: any."""
    return image_size
