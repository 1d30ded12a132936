"""LLaVA: a CLIP vision tower, a projector and a Llama decoder; one fixed image size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlmnb.models.entry import BUNDLED_DEFAULTS, REPORTED_DEFAULTS, ModelEntry

MODEL_CLASS = "LlavaForConditionalGeneration"

MODELS = (
    ModelEntry(
        name="llava-1.5-7b",
        family="llava",
        title="LLaVA-1.5 7B",
        summary="A CLIP ViT-L/14 vision tower of 336 pixels, a two-layer projector and Vicuna 7B.",
        source="llava-hf/llava-1.5-7b-hf",
        revision="b234b804b114d9e37bb655e11cbbb5f5e971b7a9",
        native_image_size=336,
        **REPORTED_DEFAULTS,
    ),
    ModelEntry(
        name="llava-tiny",
        family="llava",
        title="LLaVA tiny",
        summary="LLaVA's architecture at two million parameters: CLIP tower, projector, Llama decoder.",
        native_image_size=64,
        **BUNDLED_DEFAULTS,
    ),
)


STAND_IN = "llava-tiny"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""``USER: <image>\\nquestion ASSISTANT:``, for checkpoint folders that bring no template of their own."""


def load_processor(folder: str | Path) -> Any:
    """The checkpoint's own processor, padding on the left.

    What older checkpoints leave unsaid, and newer releases of transformers need to know how many tokens
    stand for an image, is taken from the checkpoint's configuration.
    """
    from transformers import AutoConfig, LlavaProcessor

    processor = LlavaProcessor.from_pretrained(folder)
    if processor.patch_size is None:
        config = AutoConfig.from_pretrained(folder)
        processor.patch_size = config.vision_config.patch_size
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
        processor.num_additional_image_tokens = 1
    processor.chat_template = processor.chat_template or CHAT_TEMPLATE
    if processor.tokenizer.pad_token_id is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    processor.tokenizer.padding_side = "left"
    return processor


def sized(image_size: int) -> dict[str, Any]:
    """Nothing to ask for: the vision tower has one size, and the processor resizes to it."""
    return {}


def source_image(image: Any, image_size: int) -> Any:
    """The source image at the size that was asked for; the processor makes the tower's size of it."""
    from PIL import Image

    return image.resize((image_size, image_size), Image.Resampling.BICUBIC)


def image_side(processor: Any, image_size: int) -> int:
    """The side at which the processor is given the image; it makes the tower's size of it."""
    return image_size


def vision_modules(model: Any) -> list[Any]:
    """The modules that turn pixels into image tokens, in the order in which they run."""
    return [model.model.vision_tower, model.model.multi_modal_projector]


def vision_layers(model: Any) -> list[Any]:
    """Layers of the vision tower."""
    tower = model.model.vision_tower
    # Newer releases of transformers have the layers in the tower itself.
    return list(getattr(tower, "vision_model", tower).encoder.layers)


def patch_embedding(model: Any) -> Any:
    """The module that makes vectors of patches of pixels."""
    tower = model.model.vision_tower
    return getattr(tower, "vision_model", tower).embeddings.patch_embedding


def projector(model: Any) -> Any:
    """The module that brings pixels or vision features to the width of the decoder."""
    return model.model.multi_modal_projector


def image_tokens(config: Any, image_size: int, *, interpolate: bool = False) -> int:
    """One token for each patch of the tower's own size, whatever the size of the source image.

    Args:
        config: The model's configuration.
        image_size: Side in pixels.
        interpolate: Whether the position embeddings are interpolated, so that the tower takes that size.
    """
    vision = config.vision_config
    return int((image_size if interpolate else vision.image_size) // vision.patch_size) ** 2


def interpolated(model: Any, processor: Any) -> Any:
    """Let a loaded model take images of any whole number of patches, by interpolated position embeddings.

    Returns:
        The image sizing of such a model, in place of the family's.
    """
    tower = model.model.vision_tower
    tower.register_forward_pre_hook(
        lambda module, args, kwargs: (args, {**kwargs, "interpolate_pos_encoding": True}), with_kwargs=True
    )
    return AnySize(int(processor.patch_size))


@dataclass(frozen=True)
class AnySize:
    """Image sizing of a model whose position embeddings are interpolated.

    Attributes:
        patch_size: Side of a patch in pixels.
    """

    patch_size: int

    def sized(self, image_size: int) -> dict[str, Any]:
        """The processor's arguments for a size."""
        size = {"height": image_size, "width": image_size}
        return {"size": size, "crop_size": size}

    def image_side(self, processor: Any, image_size: int) -> int:
        """The nearest whole number of patches."""
        return max(1, round(image_size / self.patch_size)) * self.patch_size

    def source_image(self, image: Any, image_size: int) -> Any:
        """The source image at the size that was asked for, resampled as for the tower's own size."""
        return source_image(image, image_size)


def special_ids(config: Any) -> dict[str, int]:
    """Ids of the special tokens that the bundled tokenizer shares with the checkpoint's."""
    return {"<image>": config.image_token_index, "<pad>": config.pad_token_id}


def adapt(processor: Any, config: Any) -> None:
    """Give the stand-in the image side of a geometry: CLIP's preprocessing at the tower's size."""
    side = int(config.vision_config.image_size)
    processor.patch_size = int(config.vision_config.patch_size)
    processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    processor.image_processor.size = {"height": side, "width": side}
    processor.image_processor.crop_size = {"height": side, "width": side}
