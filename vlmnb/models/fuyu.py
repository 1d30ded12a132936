"""Fuyu: image patches go through one linear layer straight into a Persimmon decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlmnb.models.entry import BUNDLED_DEFAULTS, REPORTED_DEFAULTS, ModelEntry

MODEL_CLASS = "FuyuForCausalLM"

MODELS = (
    ModelEntry(
        name="fuyu-8b",
        family="fuyu",
        title="Fuyu 8B",
        summary="No vision tower: patches of 30 pixels go through one linear layer into a Persimmon decoder.",
        source="adept/fuyu-8b",
        revision="f41defefdb89be0d28cac19d94ce216e37cb6be5",
        **REPORTED_DEFAULTS,
    ),
    ModelEntry(
        name="fuyu-tiny",
        family="fuyu",
        title="Fuyu tiny",
        summary="Fuyu's architecture at two million parameters: no vision tower, patches enter the decoder.",
        **BUNDLED_DEFAULTS,
    ),
)


STAND_IN = "fuyu-tiny"
NEWLINE_ID = 71019
"""``|NEWLINE|`` in the vocabulary of adept/fuyu-8b, which its configuration does not name."""


def load_processor(folder: str | Path) -> Any:
    """The checkpoint's processor, cutting images into patches itself."""
    from vlmnb.models.processors import ImageOnlyFuyuProcessor

    return ImageOnlyFuyuProcessor.from_pretrained(folder)


def sized(image_size: int) -> dict[str, int]:
    """The side in pixels; ragged edges are padded to whole patches."""
    return {"size": image_size}


def image_side(processor: Any, image_size: int) -> int:
    """The side the model sees: any."""
    return image_size


def vision_modules(model: Any) -> list[Any]:
    """The modules that turn pixels into image tokens, in the order in which they run."""
    return [model.model.vision_embed_tokens]


def image_tokens(config: Any, image_size: int) -> int:
    """One token for each patch, edges padded, and one line-end token for each row of patches."""
    rows = -(-image_size // int(config.patch_size))
    return rows * (rows + 1)


def vision_layers(model: Any) -> list[Any]:
    """None: patches enter the decoder through one linear layer."""
    return []


def patch_embedding(model: Any) -> Any:
    """None: the projector is the patch embedding."""
    return None


def projector(model: Any) -> Any:
    """The module that brings pixels or vision features to the width of the decoder."""
    return model.model.vision_embed_tokens


def special_ids(config: Any) -> dict[str, int]:
    """Ids of the special tokens that the bundled tokenizer shares with the checkpoint's."""
    return {
        "|SPEAKER|": config.image_token_id,
        "|ENDOFTEXT|": config.text_config.eos_token_id,
        "|NEWLINE|": NEWLINE_ID,
    }


def adapt(processor: Any, config: Any) -> None:
    """Give the stand-in the patches of a geometry, and the checkpoint's prompt."""
    from vlmnb.models.processors import FUYU_LINE_TEMPLATE

    patch = int(config.patch_size)
    processor.image_processor.patch_size = {"height": patch, "width": patch}
    processor.chat_template = FUYU_LINE_TEMPLATE
